"""A client that sends and does not read costs the server a bounded amount of memory, and costs other clients
nothing."""

import hashlib
import os
import select
import socket
import struct
import unittest

from server import DEADLINE, FULL, ClientTest, EchoServer, echoes, ended, wait_until

SIZE = (1 << 30) if FULL else (256 << 20)
BLOCK = os.urandom(1 << 20)
HIGH_WATER = 64 << 10
READ_BUFFER = 64 << 10
# For the bookkeeping of the queue, the stack at the first use of a code path, and the partly used pages at both ends of
# an allocation.
ALLOWANCE = 32 << 10
STUCK = 1.0  # seconds without room in the socket


def send_until_stuck(client):
    """Sends the block again and again until the kernel accepts no more. Returns the number of bytes sent and their
    hash."""
    sent, digest = 0, hashlib.sha256()
    while sent < SIZE and select.select([], [client], [], STUCK)[1]:
        start = sent % len(BLOCK)
        count = client.send(BLOCK[start:start + (SIZE - sent)])
        digest.update(BLOCK[start:start + count])
        sent += count
    return sent, digest


class SlowReaders(ClientTest):
    def setUp(self):
        self.server = self.enterContext(EchoServer())
        with self.server.connect() as client:  # the server uses all its code once
            echoes(client, BLOCK)
            client.shutdown(socket.SHUT_WR)
            self.assertTrue(ended(client))
        self.client = self.enterContext(self.server.connect())
        self.other = self.enterContext(self.server.connect())
        echoes(self.client)
        echoes(self.other)
        self.before = self.server.anonymous_memory()

    def assert_memory_is_bounded(self):
        grown = self.server.anonymous_memory() - self.before
        self.assertLessEqual(grown, HIGH_WATER + READ_BUFFER + ALLOWANCE, "growth of resident memory")

    def test_memory_stays_bounded_others_are_served_and_every_byte_comes_in_the_end(self):
        client = self.client
        client.setblocking(False)
        sent, sent_digest = send_until_stuck(client)
        self.assertLess(sent, SIZE, "the server stops reading from a client that does not read")
        self.assert_memory_is_bounded()
        self.quiet_for(self.server, 1.0)
        echoes(self.other, b"meanwhile")

        received, received_digest, next_look = 0, hashlib.sha256(), 0
        while received < SIZE:
            readable, writable, _ = select.select([client], [client] if sent < SIZE else [], [], DEADLINE)
            self.assertTrue(readable or writable, f"stalled after {sent} bytes sent and {received} received")
            if writable:
                start = sent % len(BLOCK)
                count = client.send(BLOCK[start:start + min(SIZE - sent, 1 << 18)])
                sent_digest.update(BLOCK[start:start + count])
                sent += count
            if readable:
                chunk = client.recv(1 << 18)
                self.assertTrue(chunk, f"ended after {received} of {SIZE} bytes")
                received_digest.update(chunk)
                received += len(chunk)
            if received >= next_look:
                next_look = received + SIZE // 8
                self.assert_memory_is_bounded()
                echoes(self.other, b"meanwhile")
        self.assertEqual(received_digest.hexdigest(), sent_digest.hexdigest())
        client.setblocking(True)
        client.shutdown(socket.SHUT_WR)
        self.assertTrue(ended(client))
        self.assert_memory_is_bounded()

    def test_a_client_that_is_stuck_and_resets_is_forgotten(self):
        sockets = self.server.open_sockets()  # sd-event keeps the timerfd of its first timer open
        self.client.setblocking(False)
        send_until_stuck(self.client)
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.client.close()
        wait_until(lambda: self.server.open_sockets() == sockets - 1, "its descriptor is closed")
        self.quiet_for(self.server, 1.0)
        echoes(self.other)

    def test_fifty_stuck_clients_cost_what_they_may_and_no_cpu(self):
        clients = [self.enterContext(self.server.connect()) for _ in range(50)]
        for client in clients:
            echoes(client)
        before = self.server.anonymous_memory()
        for client in clients:
            client.setblocking(False)
        waiting = set(clients)
        while waiting:
            writable = select.select([], waiting, [], STUCK)[1]
            if not writable:
                break
            for client in writable:
                client.send(BLOCK)
        grown = self.server.anonymous_memory() - before
        self.assertLessEqual(grown, len(clients) * (HIGH_WATER + READ_BUFFER) + ALLOWANCE)
        self.quiet_for(self.server, 1.0)
        echoes(self.other)


if __name__ == "__main__":
    unittest.main()
