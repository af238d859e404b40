"""64 MiB of random bytes go through the usual relay programs. These end their side first and then wait for the rest of
the bytes."""

import hashlib
import os
import subprocess
import tempfile
import unittest

from server import DEADLINE, ClientTest, EchoServer

SIZE = 64 << 20


class Relays(ClientTest):
    @classmethod
    def setUpClass(cls):
        cls.payload = tempfile.TemporaryFile()
        digest = hashlib.sha256()
        for _ in range(SIZE >> 20):
            block = os.urandom(1 << 20)
            digest.update(block)
            cls.payload.write(block)
        cls.payload.flush()
        cls.digest = digest.hexdigest()
        cls.addClassCleanup(cls.payload.close)

    def relay(self, *command):
        self.payload.seek(0)
        digest, received = hashlib.sha256(), 0
        with subprocess.Popen(command, stdin=self.payload, stdout=subprocess.PIPE) as process:
            while block := process.stdout.read(1 << 18):
                digest.update(block)
                received += len(block)
            status = process.wait(DEADLINE)
        self.assertEqual((status, received, digest.hexdigest()), (0, SIZE, self.digest))

    def test_socat_gets_every_byte_back(self):
        with EchoServer() as server:
            self.relay("socat", "-t", "30", "STDIO", f"TCP:127.0.0.1:{server.port}")

    def test_ncat_gets_every_byte_back(self):
        with EchoServer() as server:
            self.relay("ncat", "127.0.0.1", str(server.port))

    def test_nc_gets_every_byte_back(self):
        with EchoServer() as server:
            self.relay("nc", "-N", "127.0.0.1", str(server.port))

    def test_socat_over_ipv6_gets_every_byte_back(self):
        with EchoServer(listen=["[::1]:0"]) as server:
            self.relay("socat", "-t", "30", "STDIO", f"TCP6:{server.addresses[0]}")

    def test_socat_over_a_unix_socket_gets_every_byte_back(self):
        with tempfile.TemporaryDirectory() as directory, EchoServer(listen=[f"unix:{directory}/echo"]):
            self.relay("socat", "-t", "30", "STDIO", f"UNIX-CONNECT:{directory}/echo")

    def test_nc_over_a_unix_socket_gets_every_byte_back(self):
        with tempfile.TemporaryDirectory() as directory, EchoServer(listen=[f"unix:{directory}/echo"]):
            self.relay("nc", "-N", "-U", f"{directory}/echo")


if __name__ == "__main__":
    unittest.main()
