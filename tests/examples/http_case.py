"""Starts http_file_server, or one of the two HTTP servers without a loop, on a directory of the test.

ONLOOP_LOOP and ONLOOP_HOSTING name the loop, as for the tests of the commands. ONLOOP_HTTP may name another one of the
three programs.
"""

import os
import pathlib
import socket
import tempfile

from program import Program
from server import DEADLINE, HOSTING, LOOP, ClientTest, on_loop

NAME = os.environ.get("ONLOOP_HTTP", "http_file_server")
READY_NAMES = {"http_file_server": LOOP, "http_serial": "serial", "http_thread_per_connection": "threads"}


class Reply:
    """Reads one response from a connection. `source` is the file of the connection."""

    def __init__(self, source, head=False):
        version, status, *_ = source.readline().decode().split()
        if version != "HTTP/1.1":
            raise AssertionError(f"no status line: {version!r}")
        self.status = int(status)
        self.headers = {}
        while (line := source.readline()) != b"\r\n":
            if not line.endswith(b"\r\n"):
                raise AssertionError(f"headers end with {line!r}")
            name, _, value = line.decode().partition(":")
            self.headers[name.lower()] = value.strip()
        bodiless = head or self.status in (100, 304)
        length = 0 if bodiless else int(self.headers["content-length"])
        self.body = source.read(length)
        if len(self.body) != length:
            raise AssertionError(f"{len(self.body)} of {length} bytes have come")


class Client:
    """A connection that sends requests exactly as the test writes them."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE)
        self.source = self.socket.makefile("rb")

    def send(self, text):
        self.socket.sendall(text if isinstance(text, bytes) else text.encode("latin-1"))

    def reply(self, head=False):
        return Reply(self.source, head)

    def ask(self, target="/", *headers, method="GET", version="HTTP/1.1"):
        lines = [f"{method} {target} {version}", *(["Host: test"] if version == "HTTP/1.1" else []), *headers, "", ""]
        self.send("\r\n".join(lines))
        return self.reply(head=method == "HEAD")

    def at_end(self):
        """Waits for the end of the stream, which may be a reset. True if no byte came before it."""
        try:
            return self.source.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self):
        self.source.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class HttpTest(ClientTest):
    """A test with a directory `root` and a server for it."""

    def setUp(self):
        # `root` is one level down, so that the directory outside it also belongs to the test.
        self.outside = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.root = self.outside / "root"
        self.root.mkdir()

    def file(self, name, contents=b"contents"):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)
        return path

    def server(self, *arguments, prefix=()):
        loop = on_loop(LOOP, HOSTING) if NAME == "http_file_server" else []
        return Program(NAME, READY_NAMES[NAME], *loop, *arguments, str(self.root), prefix=prefix)

    def ask(self, server, target, *headers, **more):
        """Makes one request on a new connection."""
        with Client(server.port) as client:
            return client.ask(target, *headers, **more)
