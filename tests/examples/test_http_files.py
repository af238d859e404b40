"""Which files http_file_server opens, files that change while they are served, slow clients, and a busy worker pool."""

import os
import pathlib
import select
import signal
import socket
import subprocess
import unittest

from http_case import Client, HttpTest
from server import DEADLINE

SYSFS_FILE = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


class HttpFiles(HttpTest):
    def test_nothing_leads_out_of_the_root(self):
        secret = self.outside / "secret"
        secret.write_text("secret")
        self.file("dir/file", b"inside")
        for name, target in (("absolute", str(secret)), ("relative", "../secret"), ("deep", "dir/../../secret"),
                             ("back", f"{self.root}/dir/file"), ("up", ".."), ("proc", "/proc/self/root")):
            (self.root / name).symlink_to(target)
        with self.server() as server, Client(server.port) as client:
            for target in ("/../secret", "/%2e%2e/secret", "/%2E./secret", "/dir/../../secret", "/..", "/../", "/.%2e/",
                           "/../root/dir/file", "//../secret", "/..%5csecret", "/\\..\\secret", "/..\\secret",
                           "/dir/%2e%2e/%2e%2e/secret", "/absolute", "/relative", "/deep", "/back", "/up", "/up/secret",
                           f"/proc{secret}", f"/{secret}", f"/dir/..//../{secret}", "/./.././secret",
                           "/%252e%252e/secret", "/%c0%ae%c0%ae/secret", "http://test/../secret"):
                reply = client.ask(target)
                self.assertEqual(reply.status, 404, target)
                self.assertNotIn(b"secret", reply.body, target)
            for target in ("/..%2fsecret", "/%2e%2e%2fsecret", "/..%00/secret", "../secret"):
                self.assertEqual(self.ask(server, target).status, 400, target)

    def test_links_and_dots_within_the_root_are_followed(self):
        self.file("dir/file", b"inside")
        (self.root / "link").symlink_to("dir/file")
        (self.root / "dir/up").symlink_to("../dir")
        with self.server() as server, Client(server.port) as client:
            for target in ("/link", "/dir/../dir/file", "/dir/up/up/file", "/./dir/%2e%2e/link"):
                self.assertEqual(client.ask(target).body, b"inside", target)

    def test_only_files_are_served(self):
        os.mkfifo(self.root / "fifo")
        (self.root / "loop").symlink_to("loop")
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(str(self.root / "socket"))
        os.mkfifo(self.file("dir/file").with_name("index.html"))
        self.file("file")
        with self.server() as server, Client(server.port) as client:
            for target in ("/fifo", "/loop", "/socket", "/dir/", "/file/", "/file/x", "/" + "x" * 300):
                self.assertEqual(client.ask(target).status, 404, target)

    @unittest.skipIf(os.geteuid() != 0, "a user may only be changed by root")
    def test_file_that_may_not_be_read_is_forbidden(self):
        self.file("private").chmod(0)
        self.outside.chmod(0o755)
        as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        with self.server(prefix=as_nobody) as server:
            self.assertEqual(self.ask(server, "/private").status, 403)

    def test_file_that_is_removed_while_it_is_sent_comes_whole(self):
        path = self.file("large", bytes(20_000_000))
        with self.server() as server, Client(server.port) as client:
            client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n")
            self.assertEqual(client.source.read(10), b"HTTP/1.1 2")
            path.unlink()
            while client.source.readline() != b"\r\n":
                pass
            self.assertEqual(len(client.source.read(20_000_000)), 20_000_000)
            self.assertEqual(client.ask("/large").status, 404)

    def test_file_that_is_cut_short_while_it_is_sent_ends_the_connection(self):
        length = 100_000_000  # more than fits into the sockets
        path = self.file("large")
        os.truncate(path, length)
        with self.server() as server, Client(server.port) as client:
            client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n")
            self.assertEqual(client.source.read(10), b"HTTP/1.1 2")
            os.truncate(path, 1)
            with self.assertRaises(ConnectionResetError):
                while client.source.read(1_000_000):
                    pass

    @unittest.skipUnless(SYSFS_FILE.exists(), "no file that says to be longer than it is")
    def test_small_file_that_is_shorter_than_it_was_is_an_error(self):
        self.root = SYSFS_FILE.parent
        with self.server() as server, Client(server.port) as client:
            self.assertEqual(client.ask(f"/{SYSFS_FILE.name}").status, 500)
            self.assertEqual(client.ask("/nothing").status, 404)

    def test_request_that_does_not_get_whole_in_time_is_ended(self):
        with self.server("--timeout", "1") as server, Client(server.port) as client:
            client.send("GET / HTTP/1.1\r\nHost: test\r\n")
            sending = True
            while sending:  # one more header every 50 ms, so that the connection is never idle
                client.send("X: y\r\n")
                sending = not select.select([client.socket], [], [], 0.05)[0]
            self.assertEqual(client.reply().status, 408)
            self.assertTrue(client.at_end())

    def test_silent_client_is_ended(self):
        self.file("file")
        with self.server("--timeout", "1") as server, Client(server.port) as silent, Client(server.port) as client:
            self.assertEqual(client.ask("/file").status, 200)
            self.assertTrue(client.at_end())
            self.assertTrue(silent.at_end())

    def test_client_that_stops_reading_is_ended(self):
        os.truncate(self.file("large"), 100_000_000)
        with self.server("--timeout", "1") as server, Client(server.port) as client:
            client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n")
            waiting = select.poll()
            waiting.register(client.socket, 0)
            self.assertEqual(waiting.poll(DEADLINE * 1000), [(client.socket.fileno(), select.POLLHUP | select.POLLERR)])

    def test_requests_beyond_what_may_wait_are_told_to_come_back(self):
        self.file("file", b"file")
        with self.server("--workers", "1", "--queue", "1") as server:
            clients = [self.enterContext(Client(server.port)) for _ in range(200)]
            for client in clients:
                self.assertEqual(client.ask("/file").status, 200)
            # All requests come at once, in one turn of the loop.
            server.process.send_signal(signal.SIGSTOP)
            for client in clients:
                client.send("GET /file HTTP/1.1\r\nHost: test\r\n\r\n")
            server.process.send_signal(signal.SIGCONT)
            statuses = []
            for client in clients:
                reply = client.reply()
                statuses.append(reply.status)
                if reply.status == 503:
                    self.assertEqual((reply.headers["retry-after"], reply.headers["connection"]), ("1", "close"))
                    self.assertTrue(client.at_end())
            self.assertEqual(set(statuses), {200, 503})
            self.assertEqual(self.ask(server, "/file").status, 200)

    def test_what_can_not_be_done_is_said_in_one_line(self):
        file, root = str(self.file("file")), str(self.root)
        program = os.environ["ONLOOP_EXAMPLE_http_file_server"]
        for arguments, status, words in (([], 2, "ROOT is required"), (["/none"], 1, "open /none"),
                                         ([file], 1, f"open {file}: Not a directory"),
                                         (["--loop", "none", root], 1, "none"),
                                         (["--hosting", "none", root], 2, "--hosting"),
                                         (["--timeout", "0", root], 2, "--timeout"),
                                         (["--listen", "nowhere", root], 1, "nowhere")):
            done = subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=DEADLINE)
            self.assertEqual((done.returncode, done.stderr.count("\n")), (status, 1), (arguments, done.stderr))
            self.assertIn(words, done.stderr)


if __name__ == "__main__":
    unittest.main()
