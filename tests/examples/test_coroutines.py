"""An echo server in coroutines, with real clients."""

import os
import threading
import unittest

from program import Program
from server import ClientTest, echoes, read_exactly


def program():
    return Program("echo_in_coroutines", "native")


class Coroutines(ClientTest):
    def test_one_mebibyte_comes_back_intact(self):
        payload = os.urandom(1 << 20)
        with program() as server, server.connect() as client:
            sender = threading.Thread(target=client.sendall, args=[payload])
            sender.start()
            self.assertEqual(read_exactly(client, len(payload)), payload)
            sender.join()

    def test_clients_are_served_at_once_and_end_by_themselves(self):
        with program() as server:
            clients = [server.connect() for _ in range(50)]
            for client in reversed(clients):
                echoes(client, b"one of many")
            for client in clients[::2]:
                client.close()
            for client in clients[1::2]:
                echoes(client, b"still there")
                client.close()


if __name__ == "__main__":
    unittest.main()
