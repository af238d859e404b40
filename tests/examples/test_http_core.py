"""The main functions of http_file_server, on every loop, and of the two servers without a loop."""

import concurrent.futures
import http.client
import pathlib
import random
import re
import resource
import select
import socket
import subprocess
import unittest

from http_case import NAME, Client, HttpTest
from server import DEADLINE, wait_until

FEW_BYTES = 64 * 1024  # a file of at most this size comes in one piece with the headers


class HttpCore(HttpTest):
    def curl(self, server, target, *arguments):
        return subprocess.run(["curl", "--silent", "--show-error", "--path-as-is", *arguments,
                               f"http://127.0.0.1:{server.port}{target}"], capture_output=True, timeout=DEADLINE,
                              check=True).stdout

    def test_curl_gets_files_of_all_sizes(self):
        generator = random.Random(1)
        sizes = (0, 1, FEW_BYTES - 1, FEW_BYTES, FEW_BYTES + 1, 5_000_000)
        files = {f"/{size}.bin": generator.randbytes(size) for size in sizes}
        for name, contents in files.items():
            self.file(name[1:], contents)
        with self.server() as server:
            for name, contents in files.items():
                self.assertEqual(self.curl(server, name), contents, name)

    def test_thousand_files_come_intact_over_connections_that_stay(self):
        generator = random.Random(2)
        names = [f"d{number % 10}/f{number}.bin" for number in range(1000)]
        contents = {name: generator.randbytes(int(2 ** generator.uniform(0, 18))) for name in names}
        for name, data in contents.items():
            self.file(name, data)

        def fetch(port, order):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
            for name in order:
                connection.request("GET", f"/{name}")
                used = connection.sock
                response = connection.getresponse()
                if response.read() != contents[name]:
                    return f"{name} differs"
                if connection.sock is not used:
                    return f"the connection ended after {name}"
            connection.close()
            return None

        with self.server() as server, concurrent.futures.ThreadPoolExecutor(4) as pool:
            orders = [generator.sample(names, len(names)) for _ in range(4)]
            for verdict in pool.map(fetch, [server.port] * len(orders), orders):
                self.assertIsNone(verdict)

    def test_pipelined_requests_are_answered_in_their_order(self):
        files = [self.file(f"{number}", bytes([number]) * (1 + number * 3000)) for number in range(50)]
        with self.server() as server, Client(server.port) as client:
            client.send("".join(f"GET /{file.name} HTTP/1.1\r\nHost: test\r\n\r\n" for file in files))
            for file in files:
                self.assertEqual(client.reply().body, file.read_bytes())

    def test_last_request_is_answered_after_the_clients_end(self):
        self.file("a", bytes(300_000))
        with self.server() as server, Client(server.port) as client:
            client.send("GET /a HTTP/1.1\r\nHost: test\r\n\r\n" * 3)
            client.socket.shutdown(socket.SHUT_WR)
            for _ in range(3):
                self.assertEqual(len(client.reply().body), 300_000)
            self.assertTrue(client.at_end())

    def test_head_has_the_headers_of_get_and_no_body(self):
        self.file("page.html", b"<p>")
        with self.server() as server, Client(server.port) as client:
            got, head = client.ask("/page.html"), client.ask("/page.html", method="HEAD")
            self.assertEqual(head.headers | {"date": ""}, got.headers | {"date": ""})
            self.assertEqual(head.headers["content-length"], "3")
            self.assertEqual(client.ask("/nothing", method="HEAD").status, 404)
            self.assertEqual(client.ask("/page.html").body, b"<p>")

    def test_ranges(self):
        data = random.Random(3).randbytes(400_000)
        self.file("data", data)
        with self.server() as server:
            for asked, expected in (("0-0", data[:1]), ("399990-", data[399_990:]), ("-5", data[-5:]),
                                    ("100-300099", data[100:300_100])):
                self.assertEqual(self.curl(server, "/data", "--range", asked), expected, asked)
            with Client(server.port) as client:
                reply = client.ask("/data", "Range: bytes=10-19")
                self.assertEqual((reply.status, reply.headers["content-range"]), (206, "bytes 10-19/400000"))
                reply = client.ask("/data", "Range: bytes=400000-")
                self.assertEqual((reply.status, reply.headers["content-range"]), (416, "bytes */400000"))
                self.assertEqual(client.ask("/data").body, data)

    def test_statuses_for_what_can_not_be_had(self):
        self.file("directory/index.html", b"index")
        with self.server() as server:
            for target, method, status in (("/nothing", "GET", 404), ("/directory", "GET", 301),
                                           ("/directory/", "GET", 200), ("/%", "GET", 400), ("/", "PUT", 405)):
                self.assertEqual(self.ask(server, target, method=method).status, status, target)

    def test_client_that_stays_holds_up_nobody_but_the_serial_server(self):
        self.file("a", b"a")
        with self.server() as server, Client(server.port) as first, Client(server.port) as second:
            self.assertEqual(first.ask("/a").body, b"a")
            second.send("GET /a HTTP/1.1\r\nHost: test\r\n\r\n")
            if NAME != "http_serial":
                self.assertEqual(second.reply().body, b"a")
            self.assertEqual(first.ask("/a").body, b"a")
            if NAME == "http_serial":
                self.assertEqual(select.select([second.socket], [], [], 0)[0], [])
                first.socket.shutdown(socket.SHUT_RDWR)
                self.assertEqual(second.reply().body, b"a")

    @unittest.skipIf(NAME == "http_file_server", "onloop turns clients away, and tests/clients tests that")
    def test_out_of_descriptors_it_sleeps_says_so_once_and_can_be_stopped(self):
        self.file("a", b"a")
        for recovers in (True, False):
            with self.subTest(recovers=recovers), self.server() as server:
                pid = server.process.pid
                limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                lowest_free = next(n for n in range(1024) if n not in server.descriptors())
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
                request = "GET /a HTTP/1.1\r\nHost: test\r\n\r\n"
                with Client(server.port) as first, Client(server.port) as client:
                    first.send(request)  # this client may get the descriptor that accept() has already taken
                    first.socket.shutdown(socket.SHUT_WR)
                    client.send(request)
                    wait_until(lambda: server.stderr(), "it says why it accepts nobody")

                    def sleeps():  # a loop that spins never sleeps
                        status = pathlib.Path(f"/proc/{pid}/status").read_text()
                        return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.M)[1])

                    before = sleeps()
                    wait_until(lambda: sleeps() >= before + 3, "it has tried again, each time after a rest")
                    self.assertEqual(server.stderr(), "accept: Too many open files; trying again\n")
                    if recovers:
                        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
                        self.assertEqual(client.reply().body, b"a")
                        client.close()
                    self.assertEqual(server.end(), 0)

    def test_clients_that_leave_in_the_middle_take_nothing_along(self):
        self.file("large", bytes(10_000_000))
        self.file("small", b"small")
        with self.server() as server:
            for _ in range(30):
                with Client(server.port) as client:
                    client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n" * 2)
            self.assertEqual(self.ask(server, "/small", "Connection: close").body, b"small")


if __name__ == "__main__":
    unittest.main()
