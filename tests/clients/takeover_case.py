"""The code that the takeover tests share: servers that take over from each other, and what the tests ask them."""

import os
import pathlib
import re
import socket
import subprocess
import tempfile

from raw_takeover_channel import Relay
from server import DEADLINE, ECHO, LOOP, ClientTest, EchoServer, clean_environment, ctl, echoes, on_loop, wait_until


class Server(EchoServer):
    """A server with a control socket at the path `control`. The socket is its own, or came from its predecessor."""

    def __init__(self, control, *arguments, **options):
        self.control = control
        super().__init__("--drain-timeout", "0", *arguments, **options)

    @property
    def stall(self):
        """The stall in microseconds, from the line that a successor logs."""
        line = self.lines(r"onloop-echo: took over \d+ connections?, served again after (\d+) us")
        assert len(line) == 1, self.stderr()
        return int(line[0])

    @property
    def taken(self):
        return int(self.lines(r"onloop-echo: took over (\d+) connections?, served again after \d+ us")[0])

    def lines(self, pattern):
        return re.findall(rf"^{pattern}$", self.stderr(), re.MULTILINE)

    def wait_for_line(self, pattern, count=1):
        return wait_until(lambda: len(self.lines(pattern)) >= count, f"{count} times {pattern!r} in the log")

    def ctl(self, *command):
        result = ctl(self.control, *command)
        assert result.returncode == 0, result
        return result.stdout


def take_over(path, *arguments, program=ECHO, loop=LOOP, **options):
    """Runs a successor that must end by itself. Returns its status and output."""
    return subprocess.run([program, *on_loop(loop), "--takeover", path, *arguments], capture_output=True,
                          text=True, timeout=DEADLINE, env=clean_environment(),
                          **{"stdin": subprocess.DEVNULL, **options})


def pass_signal(pid, number):
    """Sends a signal to a process that reads signals from a descriptor, and waits until the process has read it."""
    os.kill(pid, number)
    status = pathlib.Path(f"/proc/{pid}/status")
    mask = 1 << (number - 1)
    wait_until(lambda: int(re.search(r"^ShdPnd:\s+(\S+)", status.read_text(), re.MULTILINE)[1], 16) & mask == 0,
               "the signal is taken")


def is_served(client):
    """Makes one round trip. False if the connection has ended."""
    try:
        client.sendall(b"who serves")
        answer = client.recv(10, socket.MSG_WAITALL)
    except ConnectionError:
        return False
    if answer not in (b"", b"who serves"):
        raise AssertionError(f"not what was sent: {answer!r}")
    return answer != b""


class TakeoverTest(ClientTest):
    """A test with a directory for sockets. It ends every server that it has started."""

    def setUp(self):
        self.directory = self.enterContext(tempfile.TemporaryDirectory())
        self.control = f"{self.directory}/control"

    def serve(self, *arguments, **options):
        server = Server(self.control, "--control", self.control, *arguments, **options)
        self.addCleanup(server.kill)
        return server

    def successor(self, old, *arguments, addresses=None, control=None, loop=LOOP, **options):
        """Starts a process that takes over from this server, and waits until it serves. It must listen on `addresses`
        addresses, by default as many as the old server."""
        server = Server(control or old.control, "--takeover", old.control, *arguments, listen=(), loop=loop, **options)
        self.addCleanup(server.kill)
        for _ in range(addresses or len(old.addresses)):
            server.addresses.append(server.next_ready_line(loop))
        return server

    def begin(self, path, *arguments, **options):
        """Starts a successor and does not wait for it."""
        server = Server(path, "--takeover", path, *arguments, listen=(), **options)
        self.addCleanup(server.kill)
        return server

    def relay(self, hook):
        """A Relay, at a path of its own, in front of the server."""
        return Relay(f"{self.directory}/relay", self.control, hook)

    def assert_ended(self, server):
        """Asserts that the server ends by itself with status 0."""
        self.assertEqual(server.wait(), 0, server.stderr())

    def connect(self, server, count=1):
        """Connects `count` clients and makes one round trip with each, so that the server has accepted all of them."""
        clients = [self.enterContext(server.connect()) for _ in range(count)]
        for index, client in enumerate(clients):
            echoes(client, b"client %d" % index)
        return clients

    def assert_served(self, clients):
        for index, client in enumerate(clients):
            echoes(client, b"still client %d" % index)

    def assert_fails(self, result, *words):
        """Asserts status 1, and one line on standard error that has these words."""
        self.assertEqual((result.returncode, result.stdout), (1, ""), result)
        self.assertRegex(result.stderr, r"\Aonloop-echo: take over [^\n]+\n\Z", "one line")
        for word in words:
            self.assertIn(word, result.stderr)
