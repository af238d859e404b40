"""Starts onloop-echo for one test, watches it from outside, and ends it by its process id.

Environment variables say what is tested. ONLOOP_ECHO and ONLOOP_LOAD are the programs (default: build/release/tools/).
ONLOOP_LOOP is the loop (default: native), and ONLOOP_HOSTING is its hosting (direct or aggregate). ONLOOP_FULL=1 asks
for the full amounts of data. To run all tests by hand:

    ONLOOP_LOOP=glib ONLOOP_HOSTING=direct python3 -m unittest discover -s tests/clients
"""

import ctypes
import os
import pathlib
import re
import resource
import select
import signal
import socket
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
ECHO = os.environ.get("ONLOOP_ECHO", str(ROOT / "build/release/tools/onloop-echo"))
LOAD = os.environ.get("ONLOOP_LOAD", str(ROOT / "build/release/tools/onloop-load"))
LOOP = os.environ.get("ONLOOP_LOOP", "native")
HOSTING = os.environ.get("ONLOOP_HOSTING", "")  # empty: the default of the loop
FULL = os.environ.get("ONLOOP_FULL", "") == "1"
DEADLINE = 30.0  # seconds; everything comes at once unless something is wrong

for program in (ECHO, LOAD):
    if not os.access(program, os.X_OK):
        raise SystemExit(f"{program} is missing: build it, or name another in ONLOOP_ECHO and ONLOOP_LOAD")

LIBC = ctypes.CDLL(None)


def raise_descriptor_limit():
    """Raises the limit of descriptors as far as this process may. The servers that it starts inherit the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


raise_descriptor_limit()


def wait_until(condition, what, deadline=DEADLINE):
    """Calls `condition` until it returns a true value, and returns this value. Fails after `deadline` seconds."""
    end = time.monotonic() + deadline
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline} s: {what}")
        select.select([], [], [], 0.005)


def die_with_parent():
    PR_SET_PDEATHSIG = 1
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def clean_environment():
    dropped = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
    return {name: value for name, value in os.environ.items() if name not in dropped}


def on_loop(loop, hosting=HOSTING):
    return ["--loop", loop, *(["--hosting", hosting] if hosting else [])]


class EchoServer:
    """A running onloop-echo. A context manager, which ends the server by SIGTERM. The server must then exit with status
    0."""

    def __init__(self, *arguments, listen=("127.0.0.1:0",), prefix=(), env=None, loop=LOOP, hosting=HOSTING,
                 **popen):
        self.command = [*prefix, ECHO, *on_loop(loop, hosting)]
        for address in listen:
            self.command += ["--listen", address]
        self.command += arguments
        self.stderr_file = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.stderr_file,
            env={**clean_environment(), **(env or {})}, preexec_fn=die_with_parent, **popen)
        self.pid = self.process.pid
        self.addresses = []
        try:
            # Valgrind needs time to start, so this waits longer than DEADLINE.
            for _ in listen:
                self.addresses.append(self.next_ready_line(loop, 2 * DEADLINE))
        except BaseException:
            self.kill()
            raise

    def next_ready_line(self, loop=LOOP, deadline=DEADLINE):
        """The address of the next "listening on ADDRESS (LOOP)" line."""
        line = self.read_line(deadline)
        match = re.fullmatch(r"listening on (\S+) \(([\w-]+)\)\n", line)
        if not match or match[2] != loop:
            raise AssertionError(f"no ready line for {loop}: {line!r}, standard error: {self.stderr()!r}")
        return match[1]

    def read_line(self, deadline=DEADLINE):
        """One line of standard output. It is read without a buffer, so that the next poll() sees the next line."""
        descriptor = self.process.stdout.fileno()
        waiting = select.poll()  # not select(), which cannot handle descriptors above 1023
        waiting.register(descriptor, select.POLLIN)
        line = b""
        while not line.endswith(b"\n"):
            if not waiting.poll(deadline * 1000):
                raise AssertionError(f"no whole line on standard output: {line!r}, standard error: {self.stderr()!r}")
            byte = os.read(descriptor, 1)
            if not byte:
                status = self.process.wait(DEADLINE)
                raise AssertionError(f"standard output ended, status {status}, standard error: {self.stderr()!r}")
            line += byte
        return line.decode()

    @property
    def port(self):
        return int(self.addresses[0].rpartition(":")[2])

    def connect(self, timeout=DEADLINE):
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def stderr(self):
        return os.pread(self.stderr_file.fileno(), 1 << 20, 0).decode(errors="replace")

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, deadline=DEADLINE):
        return self.process.wait(deadline)

    def stop(self):
        """Sends SIGTERM and returns the exit status."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.stderr_file.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        try:
            if kind is None:
                status = self.stop()
                if status != 0:
                    raise AssertionError(f"exit status {status}, standard error: {self.stderr()!r}")
            else:
                print(f"standard error of the server: {self.stderr()!r}")
        finally:
            self.kill()

    # What the kernel says about the process.

    def threads(self):
        return sorted(int(name) for name in os.listdir(f"/proc/{self.pid}/task"))

    def status_field(self, name, thread=None):
        text = pathlib.Path(f"/proc/{self.pid}/task/{thread or self.pid}/status").read_text()
        return re.search(rf"^{name}:\s+(\S+)", text, re.MULTILINE)[1]

    def anonymous_memory(self):
        """Resident bytes that are not backed by a file. This number is exact. The kernel updates VmRSS only in
        batches."""
        text = pathlib.Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return int(re.search(r"^Anonymous:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024

    def cpu_ticks(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])  # utime, stime

    def wakeups_of(self, thread):
        return sum(int(self.status_field(name, thread)) for name in ("voluntary_ctxt_switches",
                                                                     "nonvoluntary_ctxt_switches"))

    def wakeups(self):
        return sum(self.wakeups_of(thread) for thread in self.threads())

    def open_descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def open_sockets(self):
        """How many of its descriptors are sockets."""
        count = 0
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                count += os.readlink(f"/proc/{self.pid}/fd/{fd}").startswith("socket:")
            except FileNotFoundError:
                pass  # closed meanwhile
        return count

    def wait_until_asleep(self):
        wait_until(lambda: all(self.status_field("State", thread) == "S" for thread in self.threads()),
                   "the server sleeps")


def run(*arguments, program=ECHO, prefix=(), **options):
    """Runs an onloop-echo that must end by itself. Returns its status and output."""
    return subprocess.run([*prefix, program, *on_loop(LOOP), *arguments], capture_output=True, text=True,
                          timeout=DEADLINE, env=clean_environment(), **{"stdin": subprocess.DEVNULL, **options})


def available_loops():
    """The names of the loops that can be had here."""
    listed = subprocess.run([ECHO, "--list-loops"], capture_output=True, text=True, check=True, timeout=DEADLINE).stdout
    lines = [line.split(maxsplit=1) for line in listed.splitlines()]
    return [name for name, description in lines if "not available" not in description]


def tour(places, to_itself=False):
    """Every ordered pair of two places once, and of one with itself if that is asked for. Each begins where the one
    before ends, and the last one ends where the first began: an Eulerian circuit, by Hierholzer."""
    left = {place: [other for other in places if to_itself or other != place] for place in places}
    path, circuit = [places[0]], []
    while path:
        if left[path[-1]]:
            path.append(left[path[-1]].pop())
        else:
            circuit.append(path.pop())
    return circuit[::-1]


def ctl(*arguments):
    """Runs onloop-echo ctl PATH COMMAND... Returns its status and output."""
    return subprocess.run([ECHO, "ctl", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=DEADLINE, env=clean_environment())


def read_exactly(client, count):
    data = bytearray()
    while len(data) < count:
        chunk = client.recv(min(count - len(data), 1 << 20))
        if not chunk:
            raise AssertionError(f"the connection ended after {len(data)} of {count} bytes")
        data += chunk
    return bytes(data)


def echoes(client, data=b"x"):
    """Makes one round trip. Fails unless the same bytes come back."""
    client.sendall(data)
    answer = read_exactly(client, len(data))
    if answer != data:
        raise AssertionError(f"sent {data[:64]!r}, got {answer[:64]!r}")


def ended(client):
    """Waits for the end of the stream. True after a FIN or a reset, false if data came."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def listens(pid, port):
    """True if the process has a socket that listens on this TCP port. Connecting to the port would not show this: as
    soon as the port is free, another process may listen there. Also, the server would count the client."""
    sockets = set()
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                sockets.add(os.readlink(f"/proc/{pid}/fd/{name}"))
            except FileNotFoundError:
                pass  # closed meanwhile
        rows = [row.split() for table in ("tcp", "tcp6")
                for row in pathlib.Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]]
    except (FileNotFoundError, ProcessLookupError):
        return False  # the process has ended
    LISTEN = "0A"
    return any(row[3] == LISTEN and int(row[1].rpartition(":")[2], 16) == port and f"socket:[{row[9]}]" in sockets
               for row in rows)


def port_of_nobody():
    """A socket that is bound to a port of 127.0.0.1 and does not listen. The port refuses clients until the socket is
    closed."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    return bound


class ClientTest(unittest.TestCase):
    """A test of the server. A failure shows whole values."""

    maxDiff = None
    longMessage = True

    def quiet_for(self, server, seconds):
        """Asserts that the server neither uses the CPU nor wakes up for this number of seconds."""
        server.wait_until_asleep()
        ticks, wakeups = server.cpu_ticks(), server.wakeups()
        with self.assertRaises(subprocess.TimeoutExpired, msg="the server ended"):
            server.process.wait(seconds)
        self.assertEqual(server.cpu_ticks() - ticks, 0, "CPU ticks of an idle server")
        self.assertEqual(server.wakeups() - wakeups, 0, "wake-ups of an idle server")
