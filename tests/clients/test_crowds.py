"""Many clients at the same time, on the event loops of two other languages."""

import asyncio
import hashlib
import json
import os
import pathlib
import subprocess
import unittest

from server import DEADLINE, ClientTest, EchoServer, wait_until

CLIENTS = 500
SIZE = 200_000


async def exchange(port, everybody_is_here):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await everybody_is_here()
    data = os.urandom(SIZE)

    async def send():
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    _, answer = await asyncio.gather(send(), reader.read(-1))
    writer.close()
    await writer.wait_closed()
    return hashlib.sha256(answer).digest() == hashlib.sha256(data).digest()


async def crowd(port):
    missing = CLIENTS
    complete = asyncio.Event()

    async def everybody_is_here():
        nonlocal missing
        missing -= 1
        if missing == 0:
            complete.set()
        await complete.wait()

    return await asyncio.gather(*(exchange(port, everybody_is_here) for _ in range(CLIENTS)))


class Crowds(ClientTest):
    def test_500_asyncio_clients_get_their_own_bytes_back(self):
        with EchoServer() as server:
            answers = asyncio.run(asyncio.wait_for(crowd(server.port), 4 * DEADLINE))
        self.assertEqual(answers.count(True), CLIENTS)

    def test_500_node_clients_get_their_own_bytes_back(self):
        script = pathlib.Path(__file__).with_name("crowd.js")
        with EchoServer() as server:
            result = subprocess.run(["node", script, str(server.port), str(CLIENTS), str(SIZE)],
                                    stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=4 * DEADLINE)
        self.assertEqual((result.returncode, result.stderr), (0, ""), result.stdout)
        self.assertEqual(json.loads(result.stdout), {"equal": CLIENTS, "different": 0, "errors": []})

    def test_short_connections_leave_no_descriptor(self):
        with EchoServer() as server:
            before = server.open_descriptors()
            for index in range(2000):
                with server.connect() as client:
                    client.sendall(b"%d" % index)
                    if index % 3 == 0:
                        client.shutdown(1)
                        self.assertTrue(client.recv(16))
            # The server notices the end of the last connections a moment later.
            wait_until(lambda: server.open_descriptors() == before, "each connection's descriptor is closed")


if __name__ == "__main__":
    unittest.main()
