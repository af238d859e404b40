"""The server runs under Valgrind from start to end: no bad access, no leak, and no descriptor left open."""

import os
import pathlib
import signal
import socket
import struct
import tempfile
import unittest

import memcheck
from server import ClientTest, EchoServer, ctl, echoes, ended, wait_until


def reset(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def send_until_full(client):
    client.setblocking(False)
    try:
        while True:
            client.send(bytes(1 << 20))
    except BlockingIOError:
        pass


class Memcheck(ClientTest):
    def test_a_life_with_all_kinds_of_clients_leaves_nothing(self):
        log = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / "valgrind.log"
        directory = self.enterContext(tempfile.TemporaryDirectory())
        listen = ["127.0.0.1:0", "[::1]:0", f"unix:{directory}/echo", f"unix:@onloop-memcheck-{os.getpid()}"]
        control = f"{directory}/control"
        with EchoServer("--control", control, "--max-connections", "40", "--idle-timeout", "600", "--drain-timeout",
                        "1", listen=listen, prefix=memcheck.command(log)) as server:
            clients = [server.connect() for _ in range(30)]
            for client in clients:
                echoes(client, os.urandom(100_000))
            for client in clients[:10]:
                client.shutdown(socket.SHUT_WR)
                self.assertTrue(ended(client))
                client.close()
            for client in clients[10:20]:
                send_until_full(client)
                reset(client)
            stuck = server.connect()
            send_until_full(stuck)
            server.signal(signal.SIGUSR1)
            wait_until(lambda: "{" in server.stderr(), "statistics")
            idle = socket.socket(socket.AF_UNIX)
            idle.connect(control)
            for words in (["stats"], ["no-such"], ["cutover", "native", "aggregate"],
                          ["cutover", "native-poll", "aggregate"]):
                self.assertEqual(ctl(control, *words).returncode, int(words == ["no-such"]))
            server.signal(signal.SIGUSR2)
            wait_until(lambda: server.stderr().count("moved to") == 3, "three moves")
            echoes(clients[20])
            # The other clients are still connected when the server drains. They are cut off at the limit.
            status = server.stop()
            for client in [*clients[20:], stuck, idle]:
                client.close()
        text = log.read_text()
        self.assertEqual(status, 0, text)
        self.assertEqual(memcheck.left_open(text), [], text)


if __name__ == "__main__":
    unittest.main()
