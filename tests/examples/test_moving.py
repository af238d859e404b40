"""An echo server moves between the native loop and a GLib main loop while clients are connected."""

import os
import signal
import threading
import unittest

from program import Program, start_load
from server import DEADLINE, ClientTest, echoes, ended, read_exactly

NAME = "echo_moves_to_glib_loop"
MOVES = 20


def program():
    return Program(NAME, "native")


class Moving(ClientTest):
    def move(self, server, loop):
        server.process.send_signal(signal.SIGUSR1)
        self.assertEqual(server.read_line(), f"now on {loop}")

    def test_connections_live_on_at_every_loop(self):
        with program() as server, server.connect() as first:
            echoes(first, b"on its own loop")
            for _ in range(MOVES // 2):
                self.move(server, "glib")
                echoes(first, b"on the main loop")
                with server.connect() as other:
                    echoes(other, b"and for new ones")
                    self.move(server, "native")
                    echoes(other, b"which come along as well")
                echoes(first, b"back")

    def test_no_byte_is_lost_under_load(self):
        payload = os.urandom(16 << 20)
        with program() as server, server.connect() as client, start_load(server.port, 1) as load:
            sender = threading.Thread(target=client.sendall, args=[payload])
            sender.start()
            received = b""
            for i in range(MOVES):
                self.move(server, "native" if i % 2 else "glib")
                received += read_exactly(client, len(payload) // MOVES)
            received += read_exactly(client, len(payload) - len(received))
            sender.join()
            self.assertEqual(received, payload)
            self.assertEqual(load.wait(DEADLINE), 0, load.stderr.read())

    def test_signals_end_it_on_either_loop(self):
        for moves in (0, 1, 2):
            with self.subTest(moves=moves), program() as server, server.connect() as client:
                for i in range(moves):
                    self.move(server, "native" if i % 2 else "glib")
                echoes(client)
                self.assertEqual(server.end(signal.SIGTERM), 0, server.stderr())
                self.assertTrue(ended(client))


if __name__ == "__main__":
    unittest.main()
