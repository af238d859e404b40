"""Echo servers on loops that are written by hand. The loop has a table of the required slots, in C++ or in C, or it
hosts the context by its descriptor.

ONLOOP_EXAMPLE names the example.
"""

import contextlib
import os
import resource
import signal
import unittest

from program import Program, a_mebibyte_comes_back, start_load
from server import DEADLINE, ClientTest, echoes, ended

NAME = os.environ.get("ONLOOP_EXAMPLE", "echo_on_own_poll_loop")
LOOPS = {"echo_on_own_poll_loop": "own-poll", "echo_on_own_poll_loop_in_c": "own-poll-in-c",
         "echo_by_descriptor": "native"}


def program():
    return Program(NAME, LOOPS[NAME])


class OwnLoops(ClientTest):
    def test_one_mebibyte_comes_back_intact(self):
        with program() as server, server.connect() as client:
            self.assertTrue(a_mebibyte_comes_back(client))

    def test_many_connections_come_and_go(self):
        with program() as server:
            for _ in range(3):
                clients = [server.connect() for _ in range(50)]
                for client in clients:
                    echoes(client, b"one of many")
                for client in clients:
                    client.close()

    def test_full_load(self):
        with program() as server, start_load(server.port, 1) as load:
            self.assertEqual(load.wait(DEADLINE), 0, load.stderr.read())

    def test_signals_end_it_with_a_client_connected(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=number.name), program() as server, server.connect() as client:
                echoes(client)
                self.assertEqual(server.end(number), 0, server.stderr())
                self.assertTrue(ended(client))

    @unittest.skipIf(NAME == "echo_by_descriptor", "its loop has no call that could be made to fail from outside")
    def test_a_loop_that_can_not_wait_any_more_ends_and_says_why(self):
        server = program()
        self.addCleanup(server.kill)
        _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (1, hard))  # poll(2) then fails with EINVAL
        # This client wakes the server. The server ends while the client is still in its backlog.
        with contextlib.suppress(ConnectionError), server.connect():
            pass
        self.assertEqual(server.process.wait(DEADLINE), 1)
        self.assertIn("poll: Invalid argument", server.stderr())


if __name__ == "__main__":
    unittest.main()
