"""An echo server in coroutines, with real clients."""

import unittest

from program import Program, a_mebibyte_comes_back
from server import ClientTest, echoes


def program():
    return Program("echo_in_coroutines", "native")


class Coroutines(ClientTest):
    def test_one_mebibyte_comes_back_intact(self):
        with program() as server, server.connect() as client:
            self.assertTrue(a_mebibyte_comes_back(client))

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
