"""Common client programs use http_file_server. A last test runs the server under Valgrind."""

import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import unittest
import zlib

from http_case import Client, HttpTest
import memcheck  # http_case makes this module available, so it must come first
from server import DEADLINE, clean_environment, die_with_parent, wait_until

PAGE = b"""<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>page</title><link rel="stylesheet" href="style.css"></head>
<body><p id="result">no script ran</p><img id="image" src="images/dot.png" alt=""><script src="script.js"></script>
</body></html>"""
STYLE = b"#result { color: rgb(1, 2, 3); }"
SCRIPT = b"""addEventListener("load", async () => {
  const image = document.getElementById("image");
  const result = document.getElementById("result");
  result.textContent = `${image.naturalWidth}x${image.naturalHeight} ${getComputedStyle(result).color}`;
});"""


def png(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = (b"\0" + bytes(width)) * height
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


class HttpClients(HttpTest):
    @unittest.skipUnless(shutil.which("chromium"), "there is no chromium")
    def test_browser_shows_a_page_with_style_image_and_script(self):
        for name, contents in (("index.html", PAGE), ("style.css", STYLE), ("script.js", SCRIPT),
                               ("images/dot.png", png(3, 2))):
            self.file(name, contents)
        profile = self.enterContext(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        with self.server() as server:
            browser = subprocess.run(
                ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync",
                 "--disable-dev-shm-usage", f"--user-data-dir={profile}", "--dump-dom",
                 f"http://127.0.0.1:{server.port}/"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=4 * DEADLINE, env={**clean_environment(), "HOME": profile}, preexec_fn=die_with_parent)
        self.assertIn('<p id="result">3x2 rgb(1, 2, 3)</p>', browser.stdout, browser.stderr)

    @unittest.skipUnless(shutil.which("wrk"), "there is no wrk")
    def test_wrk_sees_no_error(self):
        for size in (1024, 1_000_000):
            self.file("data", os.urandom(size))
            with self.subTest(size=size), self.server() as server:
                report = subprocess.run(["wrk", "--threads", "1", "--connections", "50", "--duration", "1",
                                         f"http://127.0.0.1:{server.port}/data"], stdin=subprocess.DEVNULL,
                                        capture_output=True, text=True, timeout=2 * DEADLINE).stdout
                self.assertGreater(int(re.search(r"(\d+) requests in", report)[1]), 0, report)
                self.assertNotRegex(report, "Non-2xx|Socket errors")

    @unittest.skipUnless(shutil.which("valgrind"), "there is no valgrind")
    def test_life_with_all_kinds_of_clients_leaves_nothing(self):
        self.file("small", b"small")
        self.file("large", bytes(3_000_000))
        self.file("dir/index.html", b"index")
        os.truncate(self.file("stuck"), 100_000_000)
        log = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / "valgrind.log"
        with self.server("--timeout", "600", prefix=memcheck.command(log)) as server:
            clients = [self.enterContext(Client(server.port)) for _ in range(10)]
            # Valgrind has no openat2(2), so the kernel does not check paths here. No path may lead out of the root
            # nevertheless.
            (self.outside / "secret").write_text("secret")
            (self.root / "link").symlink_to("../secret")
            for target in ("/../secret", "/link", "/dir/../../secret", "/small/x", "/small/"):
                self.assertEqual(self.ask(server, target).status, 404, target)
            for client in clients:
                self.assertEqual(client.ask("/dir/./index.html").body, b"index")
                self.assertEqual(client.ask("/dir").status, 301)
                self.assertEqual(client.ask("/small").body, b"small")
                self.assertEqual(len(client.ask("/large").body), 3_000_000)
                self.assertEqual(client.ask("/nothing").status, 404)
            clients[0].send("hello\r\n\r\n")
            self.assertEqual(clients[0].reply().status, 400)
            clients[1].send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n" * 10)
            clients[2].send("GET /small HTTP/1.1\r\nHo")
            clients[3].socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            clients[3].send("GET /stuck HTTP/1.1\r\nHost: test\r\n\r\n")
            clients[3].close()
            clients[4].send("GET /stuck HTTP/1.1\r\nHost: test\r\n\r\n")
            wait_until(lambda: clients[4].socket.recv(1, socket.MSG_PEEK), "headers")
            # The other clients are still connected when the server ends.
            status = server.end()
        text = log.read_text()
        self.assertEqual(status, 0, text)
        self.assertEqual(memcheck.left_open(text), [], text)


if __name__ == "__main__":
    unittest.main()
