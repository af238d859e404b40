"""Signals that end the server, and signals that make it print statistics."""

import contextlib
import json
import signal
import socket
import time
import unittest

from server import DEADLINE, ClientTest, EchoServer, echoes, ended, listens, read_exactly, wait_until


class Signals(ClientTest):
    def test_without_clients_it_ends_at_once(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=number.name), EchoServer("--drain-timeout", "600") as server:
                server.signal(number)
                self.assertEqual(server.wait(), 0, server.stderr())

    def test_it_drains_while_a_client_is_connected(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=number.name), EchoServer("--drain-timeout", "600") as server:
                with server.connect() as client:
                    echoes(client)
                    server.signal(number)
                    wait_until(lambda: not listens(server.pid, server.port), "the listener is closed")
                    echoes(client, b"served to its end")
                    self.assertIsNone(server.process.poll(), "it waits for its client")
                    client.shutdown(socket.SHUT_WR)
                    self.assertTrue(ended(client))
                self.assertEqual(server.wait(), 0, server.stderr())

    def test_those_who_wait_to_be_accepted_are_served_to_their_end(self):
        # These are more clients than the server accepts in one turn, and in the same turn it gets the signal.
        with EchoServer("--drain-timeout", "600") as server, contextlib.ExitStack() as stack:
            server.signal(signal.SIGSTOP)
            clients = [stack.enter_context(server.connect()) for _ in range(200)]
            for client in clients:
                client.sendall(b"x")
                client.shutdown(socket.SHUT_WR)
            server.signal(signal.SIGTERM)
            server.signal(signal.SIGCONT)
            for client in clients:
                self.assertEqual(read_exactly(client, 1), b"x")
                self.assertEqual(client.recv(1), b"", "a FIN, no reset")
            self.assertEqual(server.wait(), 0, server.stderr())

    def test_it_gives_up_at_the_limit(self):
        for limit in (0, 1):
            with self.subTest(limit=limit), EchoServer("--drain-timeout", str(limit)) as server:
                with server.connect() as client:
                    echoes(client)
                    start = time.monotonic()
                    server.signal(signal.SIGTERM)
                    self.assertTrue(ended(client))
                    self.assertEqual(server.wait(), 0, server.stderr())
                    self.assertGreaterEqual(time.monotonic() - start, limit)

    def test_a_second_signal_stops_it_now(self):
        for second in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(second=second.name):
                with EchoServer("--drain-timeout", "600") as server, server.connect() as client:
                    echoes(client)
                    server.signal(signal.SIGTERM)
                    wait_until(lambda: not listens(server.pid, server.port), "the listener is closed")
                    server.signal(second)
                    self.assertTrue(ended(client))
                    self.assertEqual(server.wait(), 0, server.stderr())

    def test_statistics_on_request_are_one_json_object(self):
        with EchoServer() as server, server.connect() as client:
            echoes(client, b"x" * 1000)
            before = server.stderr()
            server.signal(signal.SIGUSR1)
            line = wait_until(lambda: server.stderr()[len(before):], "statistics on standard error")
            self.assertEqual((line.count("\n"), line[-1]), (1, "\n"), "one line, written at once")
            statistics = json.loads(line)
            counts = {name: statistics[name] for name in ("connections", "accepted", "bytes_received", "bytes_sent")}
            self.assertEqual(counts, {"connections": 1, "accepted": 1, "bytes_received": 1000, "bytes_sent": 1000})
            echoes(client, b"goes on")

    def test_regular_statistics_come_by_themselves(self):
        with EchoServer("--stats", "1") as server, server.connect() as client:
            echoes(client)
            wait_until(lambda: server.stderr().count("\n") >= 2, "two statistics", 2 * DEADLINE)
            for line in server.stderr().splitlines()[:2]:
                self.assertIsInstance(json.loads(line), dict)

    def test_a_storm_of_signals_is_survived(self):
        with EchoServer() as server, server.connect() as client:
            for index in range(200):
                server.signal(signal.SIGUSR1)
                echoes(client, b"%d" % index)


if __name__ == "__main__":
    unittest.main()
