"""onloop-load with the real server, and with a server that sends a wrong byte."""

import json
import socket
import subprocess
import threading
import unittest

from server import DEADLINE, LOAD, LOOP, ClientTest, EchoServer, clean_environment, port_of_nobody


def load(*arguments):
    return subprocess.run([LOAD, "--loop", LOOP, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=2 * DEADLINE, env=clean_environment())


class CorruptingServer:
    """An echo server for one client, which flips a bit of one byte after `good` bytes."""

    def __init__(self, good):
        self.good = good
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(DEADLINE)
        self.thread = threading.Thread(target=self.serve)

    def serve(self):
        client, _ = self.listener.accept()
        client.settimeout(DEADLINE)
        position = 0
        with client:
            while True:
                try:
                    data = bytearray(client.recv(65536))
                    if not data:
                        return
                    if position <= self.good < position + len(data):
                        data[self.good - position] ^= 1
                    position += len(data)
                    client.sendall(data)
                except ConnectionError:
                    return

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *unused):
        self.thread.join()
        self.listener.close()

    @property
    def address(self):
        return "127.0.0.1:%d" % self.listener.getsockname()[1]


class Load(ClientTest):
    def test_an_exact_count_as_json(self):
        with EchoServer() as server:
            result = load(server.addresses[0], "--connections", "20", "--size", "1000", "--window", "4", "--idle", "50",
                          "--messages", "20000", "--json")
        self.assertEqual(result.returncode, 0, result)
        report = json.loads(result.stdout)
        self.assertEqual((report["messages"], report["errors"], report["interrupted"]), (20000, 0, False), report)
        percentiles = [report[f"latency_us_{name}"] for name in ("p50", "p99", "p99_9", "max")]
        self.assertEqual(percentiles, sorted(percentiles))
        self.assertGreater(percentiles[0], 0)

    def test_a_duration_as_text(self):
        with EchoServer() as server:
            result = load(server.addresses[0], "--connections", "5", "--size", "64", "--duration", "1")
        self.assertEqual(result.returncode, 0, result)
        for word in ("messages", "MB/s", "p50", "p99", "p99.9"):
            self.assertIn(word, result.stdout)

    def test_over_a_unix_socket(self):
        with EchoServer(listen=[f"unix:@onloop-load-{id(self)}"]) as server:
            result = load(server.addresses[0], "--messages", "1000", "--json")
        self.assertEqual(result.returncode, 0, result)

    def test_one_wrong_byte_is_found(self):
        with CorruptingServer(good=100_000) as server:
            result = load(server.address, "--connections", "1", "--size", "1000", "--messages", "1000")
        self.assertEqual(result.returncode, 1, result)
        self.assertIn("onloop-load: ", result.stderr)

    def test_without_a_server_it_says_so(self):
        with port_of_nobody() as nobody:
            result = load("127.0.0.1:%d" % nobody.getsockname()[1], "--messages", "10")
        self.assertEqual(result.returncode, 1, result)
        self.assertIn("Connection refused", result.stderr)

    def test_bad_options(self):
        for arguments in (["--no-such-option"], ["nonsense"], ["--connections", "-1"], ["--size", "0"]):
            with self.subTest(arguments=arguments):
                result = load(*arguments)
                self.assertEqual(result.returncode, 2, result)
                self.assertRegex(result.stderr, r"\Aonloop-load: [^\n]+\n\Z")


if __name__ == "__main__":
    unittest.main()
