"""Starts a program with an onloop guest in it, uses both, and ends the program by its process id.

The environment says which library is the graft: ONLOOP_GRAFT. By hand, after `cmake --build build/release -t grafts`:

    cd tests/graft && ONLOOP_GRAFT=../../build/release/tests/graft/libuv/graft-libuv.so python3 -m unittest test_libuv
"""

import contextlib
import ctypes
import os
import pathlib
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

GRAFT = os.environ.get("ONLOOP_GRAFT", "")
DEADLINE = 60.0  # seconds; whatever is waited for comes at once unless something is wrong
LOOPBACK = "127.0.0.1:0"

if not os.access(GRAFT, os.R_OK):
    raise SystemExit("build the target `grafts`, and name the library to test in ONLOOP_GRAFT")

LIBC = ctypes.CDLL(None)


def die_with_parent():
    PR_SET_PDEATHSIG = 1
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until(condition, what):
    """Asks `condition` until it says something true, which is returned."""
    end = time.monotonic() + DEADLINE
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {DEADLINE} s: {what}")
        select.select([], [], [], 0.005)


def run(*command, **options):
    """A program that ends by itself, with status 0; what it prints."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=DEADLINE, **options)
    if done.returncode != 0:
        raise AssertionError(f"{command}: status {done.returncode}: {done.stdout!r}")
    return done.stdout


class Host:
    """A program that was given a guest by variables of its environment. Used as a context manager it is killed at the
    end, if a failure has left it running."""

    def __init__(self, *command, env, listen=LOOPBACK, stdin=subprocess.DEVNULL):
        self.output = tempfile.TemporaryFile()
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command, stdin=stdin, stdout=self.output, stderr=self.errors, preexec_fn=die_with_parent,
            env={**os.environ, "LC_ALL": "C.UTF-8", "ONLOOP_GRAFT_LISTEN": listen, **env})
        self.pid = self.process.pid

    def stdout(self):
        return os.pread(self.output.fileno(), 1 << 20, 0).decode(errors="replace")

    def stderr(self):
        return os.pread(self.errors.fileno(), 1 << 20, 0).decode(errors="replace")

    def _check(self, condition, what):
        """True if so; fails if it is not and the program has ended."""
        ended = self.process.poll() is not None
        if condition():
            return True
        if ended:
            raise AssertionError(f"the host ended with {self.process.returncode} before {what}; "
                                 f"its output: {self.stdout()!r}, {self.stderr()!r}")
        return False

    def wait_until(self, condition, what):
        wait_until(lambda: self._check(condition, what), what)

    def wait_for_output(self, text):
        self.wait_until(lambda: text in self.stdout(), f"{text!r} on standard output")

    def address(self, loop):
        """Where the guest says that it listens."""
        pattern = re.compile(rf"^listening on (\S+) \({loop}\)$", re.MULTILINE)
        self.wait_until(lambda: pattern.search(self.stderr()), "the guest listens")
        return pattern.search(self.stderr())[1]

    def mapped(self, name):
        """The files that are mapped into the program and whose names begin like this."""
        maps = pathlib.Path(f"/proc/{self.pid}/maps").read_text()
        files = {line.split(maxsplit=5)[5] for line in maps.splitlines() if len(line.split(maxsplit=5)) == 6}
        return {file for file in files if os.path.basename(file).startswith(name)}

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        """Its exit status; negative: the signal that ended it."""
        return self.process.wait(DEADLINE)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if kind is not None:
            print(f"output of the host: {self.stdout()!r}\nits standard error: {self.stderr()!r}")
        self.output.close()
        self.errors.close()


# ---- clients of the guest ----

def connect(address):
    if address.startswith("unix:"):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(DEADLINE)
        client.connect(re.sub("^@", "\0", address.removeprefix("unix:")))
        return client
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), DEADLINE)


def socat_address(address):
    if address.startswith("unix:@"):
        return "ABSTRACT-CONNECT:" + address.removeprefix("unix:@")
    if address.startswith("unix:"):
        return "UNIX-CONNECT:" + address.removeprefix("unix:")
    return "TCP:" + address


def echo(address, data):
    """Through a connection of this process, with bytes under way in both directions."""
    with connect(address) as client:
        def send():
            with contextlib.suppress(OSError):  # the reader sees what is wrong
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
        sender = threading.Thread(target=send)
        sender.start()
        answer = bytearray()
        try:
            while chunk := client.recv(1 << 18):
                answer += chunk
        finally:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            sender.join()
        return bytes(answer)


def socat_echo(address, data):
    return subprocess.run(["socat", f"-t{DEADLINE}", "-", socat_address(address)], input=data, timeout=DEADLINE,
                          stdout=subprocess.PIPE, check=True).stdout


class GraftTest(unittest.TestCase):
    maxDiff = None
    longMessage = True

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="onloop-graft-")
        self.addCleanup(shutil.rmtree, self.directory)

    def path(self, name):
        return os.path.join(self.directory, name)

    def assert_echoes(self, address, while_so, clients=6, size=4 << 20):
        """Clients send random bytes and get them back, all at a time: every second of them is socat. Until the last has
        ended, and at least ten times, `while_so` uses the host as what it is."""
        failures = []

        def one(index):
            data = random.Random(index).randbytes(size)
            try:
                if (socat_echo if index % 2 else echo)(address, data) != data:
                    failures.append(f"client {index} did not get back what it sent")
            except Exception as error:
                failures.append(f"client {index}: {error!r}")

        threads = [threading.Thread(target=one, args=(index,)) for index in range(clients)]
        for thread in threads:
            thread.start()
        try:
            uses = 0
            while uses < 10 or any(thread.is_alive() for thread in threads):
                while_so()
                uses += 1
        finally:
            for thread in threads:
                thread.join()
        self.assertEqual(failures, [])
