"""The servers that are measured, one table entry each, and how to start and stop one."""
import dataclasses
import functools
import os
import pathlib
import re
import select
import signal
import subprocess
import tempfile
import time

from . import machine


@dataclasses.dataclass(frozen=True)
class Server:
    """A row of the tables. Must print `listening on HOST:PORT` when it is ready and end on SIGTERM."""
    name: str
    command: tuple                 # the first word is relative to the build directory; a script says by #! what runs it
    baseline: str | None = None    # the server that its rounds are paired with; None: it is a baseline itself
    targets: bool = False          # False: measured for information, nothing is demanded of it
    optional: bool = False         # left out with a remark if it was not built
    on_request: bool = False       # only measured when --servers names it
    peer: bool = False             # another library's; --no-peers leaves it out
    every: int = 1                 # takes part in every so many-th round only
    needs_loop: str | None = None  # left out with a remark if its program's --list-loops has no such loop to use
    # What is not asked of it, say a poll that walks 10,000 idle connections for each message.
    skip: frozenset = frozenset()


_ECHO = ("tools/onloop-echo", "--listen", "127.0.0.1:0", "--quiet", "--loop")


def _guest(loop: str, hosting: str, **more) -> Server:
    name = f"onloop {loop}" + ("" if hosting == "aggregate" else f" {hosting}")
    return Server(name, (*_ECHO, loop, "--hosting", hosting), baseline="raw epoll", needs_loop=loop, **more)


def _peer(name: str, program: str, *arguments: str, every: int = 3, skip: tuple = (), **more) -> Server:
    """Peers are there to be compared with, not judged: fewer rounds, and no figure that takes long and says little."""
    return Server(name, (f"bench/peers/{program}", "0", *arguments), baseline="raw epoll", optional=True, peer=True,
                  every=every, skip=frozenset({"allocations-1", "allocations-50", *skip}), **more)


# A further server, guest or peer, is one more entry here (and its targets, if any, in run.py).
SERVERS = (
    Server("raw epoll", ("bench/raw_epoll_echo", "0")),
    Server("onloop native", (*_ECHO, "native"), baseline="raw epoll", targets=True),
    Server("onloop native-poll", (*_ECHO, "native-poll"), baseline="raw epoll",
           skip=frozenset({"active-50-of-10000"})),
    *(_guest(loop, "aggregate", targets=True) for loop in ("libevent", "libuv", "glib", "sdevent")),
    _guest("libevent", "direct", targets=True),
    _guest("libuv", "direct", targets=True),
    _guest("glib", "direct", every=3),
    _guest("sdevent", "direct", every=3),
    # The same program as the baseline: how far its ratios are from 1 is what the machine's noise makes of nothing.
    Server("raw epoll again", ("bench/raw_epoll_echo", "0"), baseline="raw epoll", on_request=True),

    # Those that run.py compares onloop with take part in every round.
    _peer("libevent bufferevents", "libevent_bufferevent_echo", every=1),
    _peer("libuv streams", "libuv_stream_echo", every=1),
    _peer("libuv uv_try_write", "libuv_stream_echo", "try"),
    # It accepts one connection a turn, and a turn polls all: while it accepts 10,000, none is served for seconds.
    _peer("GIO streams", "gio_service_echo", every=1, skip=("active-50-of-10000",)),
    _peer("libevent events", "libevent_event_echo"),
    _peer("libuv poll handles", "libuv_poll_echo"),
    _peer("GLib sources", "glib_watch_echo"),
    _peer("sd-event sources", "sdevent_io_echo"),
    _peer("libwebsockets", "libwebsockets_echo", "poll"),
    _peer("libwebsockets libuv", "libwebsockets_echo", "libuv", needs_loop="libuv"),
    _peer("libwebsockets GLib", "libwebsockets_echo", "glib", needs_loop="glib"),
    _peer("Asio", "asio_echo"),
    # Under valgrind a compiler at run time takes minutes, and what it counts is mostly the compiler.
    _peer("Node", "node_echo.js", skip=("instructions-1", "instructions-50")),
)


class Running:
    """A started server. `wrapper` is what it runs under: strace or valgrind with their options."""

    def __init__(self, server: Server, build: pathlib.Path, cpu: int | None, wrapper: tuple = ()):
        self.server = server
        self._log = tempfile.TemporaryFile("w+")
        program = (str(build / server.command[0]), *server.command[1:])
        self._process = subprocess.Popen(
            (*wrapper, *program), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log, text=True,
            preexec_fn=lambda: machine.pin(cpu))
        try:
            self.address = self._read_address()
            self.pid = self._server_pid(wrapper)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        self._idle_descriptors = self._descriptors()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _read_address(self) -> str:
        if not select.select([self._process.stdout], [], [], 60)[0]:
            raise self._failure("printed nothing within a minute")
        line = self._process.stdout.readline()
        match = re.match(r"listening on (\S+:\d+)", line)
        if not match:
            raise self._failure(f"printed {line!r} in place of where it listens")
        return match[1]

    def _server_pid(self, wrapper: tuple) -> int:
        """strace's child; valgrind and a bare server are the process itself."""
        if not wrapper or wrapper[0] != "strace":
            return self._process.pid
        path = f"/proc/{self._process.pid}/task/{self._process.pid}/children"
        return int(pathlib.Path(path).read_text().split()[0])

    def _descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def _failure(self, what: str) -> RuntimeError:
        self._log.seek(0)
        return RuntimeError(f"{self.server.name}: {what}\n{self._log.read()}".rstrip())

    def settle(self) -> None:
        """Returns when the server has closed the connections of the last client, so that this is not measured next."""
        deadline = time.monotonic() + 60
        while self._descriptors() > self._idle_descriptors:
            if time.monotonic() > deadline:
                raise self._failure("still has connections a minute after its client left")
            time.sleep(0.005)

    def cpu_seconds(self) -> float:
        """CPU time that its threads have used, to the nanosecond (/proc/PID/stat counts in hundredths of a second)."""
        threads = pathlib.Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) * 1e-9

    def anonymous_bytes(self) -> int:
        """Resident memory of its own: heap, stacks, written data; nothing of what is mapped from files."""
        with open(f"/proc/{self.pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Anonymous:")) * 1024

    def stop(self) -> None:
        """Ends it gracefully, so that what it runs under writes its totals."""
        if self._process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                os.kill(self.pid, signal.SIGKILL)
                self._process.wait()
                raise self._failure("did not end on SIGTERM within a minute") from None
        self._process.stdout.close()


@functools.cache
def _loops(program: pathlib.Path) -> dict:
    """What a program's --list-loops prints: a loop a line, its name first, and what there is to say of it."""
    listed = subprocess.run((program, "--list-loops"), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    lines = (line.partition(" ") for line in listed.stdout.splitlines() if line)
    return {name: about.strip() for name, _, about in lines}


_UNUSABLE = re.compile(r"\b(unusable|unavailable|not (usable|available|installed|found|built)|can(no|')t be used)\b")


def _obstacle(server: Server, build: pathlib.Path) -> str | None:
    """Why it can't be measured here, in words."""
    program = build / server.command[0]
    if not program.exists():
        return f"{program} was not built"
    if server.needs_loop:
        loops = _loops(program)
        if server.needs_loop not in loops:
            return f"{program.name} has no loop {server.needs_loop}"
        if _UNUSABLE.search(loops[server.needs_loop]):
            return f"{program.name}: {server.needs_loop}: {loops[server.needs_loop]}"
    return None


def choose(names: list | None, build: pathlib.Path, peers: bool) -> list:
    """The servers to measure: those named, or all that are not on request, with or without peers; and their
    baselines."""
    known = {server.name: server for server in SERVERS}
    if unknown := set(names or ()) - known.keys():
        raise SystemExit(f"run.py: no such server: {', '.join(sorted(unknown))}. There are: {', '.join(known)}")
    wanted = set(names or (s.name for s in SERVERS if not s.on_request and (peers or not s.peer)))
    wanted |= {known[name].baseline for name in wanted if known[name].baseline}
    chosen = []
    for server in SERVERS:
        if server.name not in wanted:
            continue
        obstacle = _obstacle(server, build)
        if obstacle is None:
            chosen.append(server)
        elif server.optional or (server.needs_loop and (build / server.command[0]).exists()):
            machine.say(f"{server.name}: left out, {obstacle}")
        else:
            raise SystemExit(f"run.py: {obstacle}: build it first (./dev bench does)")
    return chosen
