"""How http_file_server answers requests: headers, conditions, connections that stay or end, and malformed requests."""

import email.utils
import os
import unittest

from http_case import Client, HttpTest
from server import wait_until

HEADER_LIMIT = 8 * 1024
OTHER_LIMIT = 72 * 1024  # RequestParser::kMostOtherBytes
BODY_LIMIT = 64 * 1024


class HttpRequests(HttpTest):
    def setUp(self):
        super().setUp()
        self.page = self.file("page.html", b"0123456789")
        os.utime(self.page, (1_700_000_000, 1_700_000_000))
        self.running = self.enterContext(self.server())
        self.client = self.enterContext(Client(self.running.port))

    def refused(self, text, status):
        """Asserts that these bytes are answered by this status, and that the connection then ends."""
        with Client(self.running.port) as client:
            client.send(text)
            reply = client.reply()
            self.assertEqual(reply.status, status, text[:200])
            self.assertEqual(reply.headers["connection"], "close", text[:200])
            self.assertTrue(client.at_end())

    def test_headers_of_a_file(self):
        headers = self.client.ask("/page.html").headers
        self.assertEqual(headers["content-type"], "text/html; charset=utf-8")
        self.assertEqual(headers["content-length"], "10")
        self.assertEqual(headers["last-modified"], "Tue, 14 Nov 2023 22:13:20 GMT")
        self.assertEqual(headers["accept-ranges"], "bytes")
        self.assertIsNotNone(email.utils.parsedate_to_datetime(headers["date"]))
        self.assertNotIn("connection", headers)

    def test_types_by_name(self):
        for name, kind in (("a.css", "text/css; charset=utf-8"), ("a.b.JS", "text/javascript; charset=utf-8"),
                           ("a.png", "image/png"), ("png", "application/octet-stream"),
                           ("dir.png/none", "application/octet-stream")):
            self.file(name)
            self.assertEqual(self.client.ask(f"/{name}").headers["content-type"], kind, name)

    def test_conditions(self):
        date = "Tue, 14 Nov 2023 22:13:20 GMT"
        later = "Wednesday, 15-Nov-23 22:13:20 GMT"
        earlier = "Mon Nov 13 22:13:20 2023"
        tag = self.client.ask("/page.html").headers["etag"]
        for headers, status in (([f"If-Modified-Since: {date}"], 304),
                                ([f"If-Modified-Since: {later}"], 304),
                                ([f"If-Modified-Since: {earlier}"], 200),
                                (["If-Modified-Since: yesterday"], 200),
                                ([f"If-None-Match: {tag}"], 304),
                                ([f'If-None-Match: "x", W/{tag}'], 304),
                                (["If-None-Match: *"], 304),
                                (['If-None-Match: "x"', f"If-Modified-Since: {date}"], 200),
                                ([f"If-Match: {tag}"], 200),
                                (['If-Match: "x"'], 412),
                                ([f"If-Unmodified-Since: {earlier}"], 412),
                                ([f"If-Unmodified-Since: {date}"], 200),
                                ([f"If-None-Match: {tag}", "Range: bytes=99-"], 304)):
            reply = self.client.ask("/page.html", *headers)
            self.assertEqual((reply.status, len(reply.body) == 10), (status, status == 200), headers)

    def test_range_counts_only_for_the_version_it_is_for(self):
        tag = self.client.ask("/page.html").headers["etag"]
        for version, status in ((tag, 206), ("Tue, 14 Nov 2023 22:13:20 GMT", 206), ('"x"', 200),
                                ("Tue, 14 Nov 2023 22:13:21 GMT", 200)):
            reply = self.client.ask("/page.html", "Range: bytes=2-3", f"If-Range: {version}")
            self.assertEqual(reply.status, status, version)

    def test_several_ranges_and_none_that_makes_sense_get_the_whole(self):
        for asked in ("bytes=0-1,3-4", "bytes=5-3", "bytes=-", "bytes=", "lines=1-2", "bytes=1-2-3", "bytes=a-b"):
            reply = self.client.ask("/page.html", f"Range: {asked}")
            self.assertEqual((reply.status, reply.body), (200, b"0123456789"), asked)
        reply = self.client.ask("/page.html", "Range: bytes=2-3", method="HEAD")
        self.assertEqual((reply.status, reply.headers["content-length"]), (200, "10"))

    def test_connection_stays_or_ends_as_it_was_asked(self):
        self.assertNotIn("connection", self.client.ask("/page.html").headers)
        self.assertEqual(self.client.ask("/nothing").status, 404)
        self.assertEqual(self.client.ask("/page.html", method="DELETE").headers["allow"], "GET, HEAD")
        stays = self.client.ask("/page.html", "Connection: keep-alive", version="HTTP/1.0")
        self.assertEqual(stays.headers["connection"], "keep-alive")
        ends = self.client.ask("/page.html", "Connection: close")
        self.assertEqual(ends.headers["connection"], "close")
        self.assertTrue(self.client.at_end())
        with Client(self.running.port) as client:
            reply = client.ask("/page.html", version="HTTP/1.0")
            self.assertEqual((reply.body, reply.headers["connection"]), (b"0123456789", "close"))
            self.assertTrue(client.at_end())

    def test_forms_of_a_target(self):
        self.file("ein baum/ä%.txt", b"found")
        for target in ("/ein%20baum/%c3%a4%25.txt", "/ein%20baum/%C3%A4%25.txt?query=/x#y",
                       "http://test/ein%20baum/%C3%A4%25.txt", "//ein%20baum//%C3%A4%25.txt"):
            self.assertEqual(self.client.ask(target).body, b"found", target)
        for target in ("/%", "/%2", "/%zz", "/%00", "/page.html%00", "/ein%20baum%2f%c3%a4%25.txt", "*"):
            self.assertEqual(self.client.ask(target).status, 400, target)

    def test_directory_without_a_slash_leads_to_itself_and_nowhere_else(self):
        (self.root / "dir").mkdir()
        (self.root / "dir\r\nSet-Cookie: x").mkdir()
        (self.root / "\\evil").mkdir()
        for target, location in (("/dir?a=b", "/dir/?a=b"), ("//dir", "/dir/"), ("/\\evil", "/%5Cevil/"),
                                 ("/dir%0d%0aSet-Cookie:%20x", "/dir%0D%0ASet-Cookie%3A%20x/")):
            reply = self.client.ask(target)
            self.assertEqual((reply.status, reply.headers["location"]), (301, location), target)
            self.assertNotIn("set-cookie", reply.headers)
        self.assertEqual(self.client.ask("/dir/").status, 404)  # no index file, and directories are not listed

    def test_body_is_thrown_away(self):
        self.client.send(b"GET /page.html HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % BODY_LIMIT
                         + bytes(BODY_LIMIT))
        self.assertEqual(self.client.reply().body, b"0123456789")
        self.client.send("GET /page.html HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
                         "5\r\nGET /\r\n0\r\nRange: bytes=0-0\r\n\r\n")
        self.assertEqual(self.client.reply().body, b"0123456789")
        self.assertEqual(self.client.ask("/page.html", "Upgrade: h2c", "Connection: Upgrade").body, b"0123456789")
        self.assertEqual(self.client.ask("/page.html").body, b"0123456789")

    def test_too_much_is_refused(self):
        start = "GET /page.html HTTP/1.1\r\nHost: test\r\n"
        self.refused(f"{start}Content-Length: {BODY_LIMIT + 1}\r\n\r\n", 413)
        self.refused(f"{start}Transfer-Encoding: chunked\r\n\r\n{BODY_LIMIT + 1:x}\r\n" + "x" * (BODY_LIMIT + 1), 413)
        self.refused(start + "X: y\r\n" * (HEADER_LIMIT // 6 + 1) + "\r\n", 431)
        self.refused(start + "X: " + "y" * HEADER_LIMIT + "\r\n\r\n", 431)
        self.refused("GET /" + "x" * HEADER_LIMIT + " HTTP/1.1\r\nHost: test\r\n\r\n", 414)
        self.assertEqual(self.client.ask("/page.html", "X: " + "y" * (HEADER_LIMIT - 1000)).status, 200)

    def test_bytes_that_belong_to_no_body_are_counted(self):
        """Without a limit, only a time-out would end such a request, and a client may send these bytes as fast as it
        can."""
        start = "GET /page.html HTTP/1.1\r\nHost: test\r\n"
        chunked = start + "Transfer-Encoding: chunked\r\n\r\n"
        self.refused(chunked + "1;" + "x" * OTHER_LIMIT, 413)
        self.refused(chunked + "1;x=y\r\nz\r\n" * (OTHER_LIMIT // 8 + 1), 413)
        self.refused("\r\n" * (OTHER_LIMIT // 2 + 1), 431)
        self.refused(start + "X:" + " " * OTHER_LIMIT, 431)
        self.client.send(chunked + "1;x=y\r\nz\r\n" * 1000 + "0\r\n\r\n")
        self.assertEqual(self.client.reply().body, b"0123456789")

    def test_host_is_a_host(self):
        for host in ("a b", "a/b", "a@b", "a:b", "a:1:2", "[::1", "[]", "[::1]x", "::1", "a\tb", "[::g]", "a\"b", "ä"):
            self.refused(f"GET /page.html HTTP/1.1\r\nHost: {host}\r\n\r\n", 400)
            self.refused(f"GET /page.html HTTP/1.0\r\nHost: {host}\r\n\r\n", 400)
        for host in ("a", "a.example:80", "a:", "127.0.0.1:8080", "[::1]", "[::1]:8080", "", "%41-._~!$&'()*+,;="):
            self.client.send(f"GET /page.html HTTP/1.1\r\nHost: {host}\r\n\r\n")
            self.assertEqual(self.client.reply().status, 200, host)

    def test_transfer_encoding_in_http_1_0_ends_the_connection(self):
        with Client(self.running.port) as client:
            client.send("GET /page.html HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
                        "0\r\n\r\nGET /page.html HTTP/1.0\r\n\r\n")
            reply = client.reply()
            self.assertEqual((reply.body, reply.headers["connection"]), (b"0123456789", "close"))
            self.assertTrue(client.at_end())

    def test_what_is_no_request_is_refused(self):
        for text in ("\0\0\0\0", "hello\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\nHost: a\r\n\r\n",
                     "GET /page.html HTTP/1.1\r\n\r\n",                                 # no Host
                     "GET /page.html HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",           # two Hosts
                     "GET / HTTP/1.1\r\nHost: a\r\nX y: z\r\n\r\n",
                     "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
                     "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
                     "GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
                     "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
                     "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                     "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
                     # The request says in two ways where it ends. Attackers use this to smuggle requests past a proxy.
                     "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
                     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                     "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",                    # TLS
                     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
            self.refused(text, 400)
        self.refused("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505)
        self.refused("CONNECT test:80 HTTP/1.1\r\nHost: test:80\r\nConnection: close\r\n\r\n", 405)

    def test_what_follows_a_refused_request_is_not_served(self):
        with Client(self.running.port) as client:
            client.send("GET /page.html HTTP/1.1\r\n\r\nGET /page.html HTTP/1.1\r\nHost: test\r\n\r\n")
            self.assertEqual(client.reply().status, 400)
            self.assertTrue(client.at_end())

    def test_client_that_asks_before_it_sends_a_body(self):
        start = "GET /page.html HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\n"
        self.client.send(f"{start}Content-Length: 3\r\n\r\n")
        self.assertEqual(self.client.reply().status, 100)
        self.client.send("abc")
        self.assertEqual(self.client.reply().body, b"0123456789")
        self.client.send(f"{start}Content-Length: 3\r\n\r\nabc")  # the client does not wait for the 100
        self.assertEqual(self.client.reply().status, 200)
        self.client.send(f"{start}\r\n")  # the request has no body
        self.assertEqual(self.client.reply().status, 200)
        self.refused(f"{start}Content-Length: {BODY_LIMIT + 1}\r\n\r\n", 413)
        self.refused(start.replace("GET", "PUT") + "Content-Length: 3\r\n\r\n", 405)
        self.refused(start.replace("100-continue", "more") + "\r\n", 417)

    def test_requests_that_come_byte_by_byte(self):
        for byte in b"GET /page.html HTTP/1.1\r\nHost: test\r\nRange: bytes=1-2\r\n\r\n":
            self.client.send(bytes([byte]))
        self.assertEqual(self.client.reply().body, b"12")

    def test_client_that_reads_nothing_is_not_answered_without_end(self):
        """When the client reads no more answers, its further requests stay in the kernel."""
        self.file("large", bytes(1_000_000))
        request = b"GET /large HTTP/1.1\r\nHost: test\r\n\r\n" * 1000
        self.client.socket.setblocking(False)
        sent = [0]

        def stuck():
            try:
                sent[0] += self.client.socket.send(request)
                return False
            except BlockingIOError:
                return True
        wait_until(stuck, "no more is taken")
        self.assertLess(sent[0], 100_000_000)


if __name__ == "__main__":
    unittest.main()
