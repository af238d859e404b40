"""Starts one of the examples for a test, talks to it over its standard input and output, and ends it by its process id.

Environment variables name the programs: ONLOOP_EXAMPLE_NAME names the example NAME, and is empty or unset if the
example was not built. ONLOOP_LOAD names the load generator. tests/clients has the code that the tests of the commands
share.
"""

import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "clients"))
from server import DEADLINE, LOAD, clean_environment, die_with_parent, read_exactly  # noqa: E402


class Program:
    """A running example. A context manager, which ends the example by SIGTERM. The exit status must then be 0."""

    def __init__(self, name, loop, *arguments, env=None, stdin=subprocess.PIPE, pass_fds=(), prefix=()):
        path = os.environ.get(f"ONLOOP_EXAMPLE_{name}", "")
        if not path:
            raise unittest.SkipTest(f"{name} was not built")
        self.loop = loop
        self.stderr_file = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [*prefix, path, *arguments], stdin=stdin, stdout=subprocess.PIPE, stderr=self.stderr_file, bufsize=0,
            env={**clean_environment(), **(env or {})}, preexec_fn=die_with_parent, pass_fds=pass_fds)
        self.port = 0
        self.worst_lateness_us = 0  # the worst lateness in a status line since this was last set
        try:
            self.read_ready_line()
        except BaseException:
            self.kill()
            raise

    def read_ready_line(self):
        line = self.read_line()
        match = re.fullmatch(r"listening on 127\.0\.0\.1:(\d+) \(([\w-]+)\)", line)
        if not match or match[2] != self.loop:
            raise AssertionError(f"no ready line for {self.loop}: {line!r}, standard error: {self.stderr()!r}")
        self.port = int(match[1])

    def read_line(self):
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([self.process.stdout], [], [], DEADLINE)[0]:
                raise AssertionError(f"no whole line on standard output: {line!r}, standard error: {self.stderr()!r}")
            byte = self.process.stdout.read(1)
            if not byte:
                raise AssertionError(f"standard output ended: {line!r}, standard error: {self.stderr()!r}")
            line += byte
        return line.decode().rstrip("\n")

    def command(self, text):
        """Sends a command. Returns the next line, which is the answer."""
        self.process.stdin.write(text.encode() + b"\n")
        return self.read_line()

    def start(self):
        self.process.stdin.write(b"start\n")
        self.read_ready_line()

    def stop_service(self):
        answer = self.command("stop")
        if answer != "stopped":
            raise AssertionError(f"the answer to stop is {answer!r}")

    def status(self):
        """The content of the status line of the four applications, with numbers as int."""
        line = self.command("status")
        match = re.fullmatch(r"ticks=(\d+) worst_lateness_us=(\d+) service=(on|off) connections=(\d+) "
                             r"idle_callbacks=(\d+)", line)
        if not match:
            raise AssertionError(f"no status line: {line!r}")
        self.worst_lateness_us = max(self.worst_lateness_us, int(match[2]))
        return {"ticks": int(match[1]), "worst_lateness_us": int(match[2]), "service": match[3],
                "connections": int(match[4]), "idle_callbacks": int(match[5])}

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), DEADLINE)

    def descriptors(self):
        """The file of each open descriptor, with the inode numbers of pipes and sockets."""
        directory = f"/proc/{self.process.pid}/fd"
        return {int(name): os.readlink(f"{directory}/{name}") for name in os.listdir(directory)}

    def stderr(self):
        return os.pread(self.stderr_file.fileno(), 1 << 20, 0).decode(errors="replace")

    def end(self, number=signal.SIGTERM):
        """Sends a signal, unless the program has ended already. Returns the exit status. May be called again."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(DEADLINE)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.stderr_file):
            if stream:
                stream.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        try:
            if kind is None:
                status = self.end()
                if status != 0:
                    raise AssertionError(f"exit status {status}, standard error: {self.stderr()!r}")
            else:
                print(f"standard error of the program: {self.stderr()!r}")
        finally:
            self.kill()


def a_mebibyte_comes_back(client):
    """Sends one and receives as much meanwhile: whether each byte came back as it went."""
    payload = os.urandom(1 << 20)
    sender = threading.Thread(target=client.sendall, args=[payload])
    sender.start()
    received = read_exactly(client, len(payload))
    sender.join()
    return received == payload


def start_load(port, seconds):
    """Starts onloop-load with 50 connections that always have a message in flight."""
    return subprocess.Popen([LOAD, "--loop", "native", f"127.0.0.1:{port}", "--connections", "50", "--duration",
                             str(seconds), "--json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env=clean_environment(), preexec_fn=die_with_parent)
