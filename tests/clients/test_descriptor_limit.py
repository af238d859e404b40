"""A server without free descriptors serves the clients that it has, turns the others away, and does not spin."""

import select
import socket
import subprocess
import time
import unittest

from server import DEADLINE, LOOP, ClientTest, EchoServer, echoes, wait_until

LIMIT = 64
CLIENTS = 200
# The server itself needs at most this many descriptors of the limit: for the standard streams, the loop, the waker, the
# signals, the listener and the reserve. On the loop of another library it also needs the native set, a timer, and the
# descriptors of that loop (libuv has five).
OWN_AT_MOST = 14 if LOOP.startswith("native") else 20


def decide(clients):
    """Sends a byte on each connection, and waits until each client got the byte back or was turned away. Returns the
    clients of both kinds."""
    for client in clients:
        try:
            client.send(b"x")
        except (BrokenPipeError, ConnectionResetError):
            pass  # turned away already; recv() reports it below
    served, rejected, undecided = [], [], set(clients)
    end = time.monotonic() + DEADLINE
    while undecided:
        ready = select.select(undecided, [], [], max(0.0, end - time.monotonic()))[0]
        if not ready:
            raise AssertionError(f"{len(undecided)} clients got neither an answer nor an end")
        for client in ready:
            undecided.remove(client)
            try:
                (served if client.recv(1) == b"x" else rejected).append(client)
            except ConnectionResetError:
                rejected.append(client)
    return served, rejected


class DescriptorLimit(ClientTest):
    def setUp(self):
        self.server = self.enterContext(EchoServer("--quiet", prefix=["prlimit", f"--nofile={LIMIT}:{LIMIT}"]))

    def client(self):
        return self.enterContext(self.server.connect())

    def test_those_that_fit_are_served_and_the_rest_turned_away_without_spinning(self):
        served, rejected = decide([self.client() for _ in range(CLIENTS)])
        self.assertGreaterEqual(len(served), LIMIT - OWN_AT_MOST)
        self.assertEqual(len(served) + len(rejected), CLIENTS)
        for client in served:
            echoes(client, b"still here")

        before = self.server.cpu_ticks()
        with self.assertRaises(subprocess.TimeoutExpired):
            self.server.process.wait(2.0)
        self.assertLessEqual(self.server.cpu_ticks() - before, 4, "CPU ticks in 2 s of a full server")

        # Some clients leave, and the same number of clients comes in their place.
        leaving, staying = served[:20], served[20:]
        for client in leaving:
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(client.recv(1), b"")
            client.close()
        newcomers = []

        def twenty_came():
            newcomers.extend(decide([self.client()])[0])
            return len(newcomers) == len(leaving)

        wait_until(twenty_came, "a client is accepted for each that left")
        for client in staying + newcomers:
            echoes(client, b"all together")

    def test_a_full_server_ends_in_order(self):
        served, _ = decide([self.client() for _ in range(CLIENTS)])
        for client in served:
            client.close()
        self.assertEqual(self.server.stop(), 0, self.server.stderr())


if __name__ == "__main__":
    unittest.main()
