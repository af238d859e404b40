"""The table of the servers that are measured, and the class that starts and stops one."""
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
    """A server, which is a row of the tables. Its program must print `listening on HOST:PORT` when it is ready, and
    must end on SIGTERM."""
    name: str
    command: tuple                 # the first word is relative to the build directory; a script has a #! line
    baseline: str | None = None    # its rounds are paired with this server; None: it is a baseline itself
    targets: bool = False          # False: it is measured only for information
    optional: bool = False         # it is left out with a remark if it was not built
    on_request: bool = False       # it is measured only if --servers names it
    peer: bool = False             # it is a server on another library; --no-peers leaves it out
    every: int = 1                 # it takes part only in every `every`-th round
    needs_loop: str | None = None  # left out with a remark if its --list-loops has no such usable loop
    # The keys that are not measured for it. For example, a poll would walk 10,000 idle connections for each message.
    skip: frozenset = frozenset()


_ECHO = ("tools/onloop-echo", "--listen", "127.0.0.1:0", "--quiet", "--loop")


def _guest(loop: str, hosting: str, **more) -> Server:
    name = f"onloop {loop}" + ("" if hosting == "aggregate" else f" {hosting}")
    return Server(name, (*_ECHO, loop, "--hosting", hosting), baseline="raw epoll", needs_loop=loop, **more)


def _peer(name: str, program: str, *arguments: str, every: int = 3, skip: tuple = (), **more) -> Server:
    """A server on another library. It is compared with and has no targets. So it has fewer rounds, and no figures that
    take long and say little."""
    return Server(name, (f"bench/peers/{program}", "0", *arguments), baseline="raw epoll", optional=True, peer=True,
                  every=every, skip=frozenset({"allocations-1", "allocations-50", *skip}), **more)


# To add a server, a guest or a peer, add an entry here. If it has targets, add them to run.py.
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
    # This is the same program as the baseline. So only the noise of the machine makes its ratios differ from 1.
    Server("raw epoll again", ("bench/raw_epoll_echo", "0"), baseline="raw epoll", on_request=True),

    # The peers that run.py compares with onloop take part in every round.
    _peer("libevent bufferevents", "libevent_bufferevent_echo", every=1),
    _peer("libuv streams", "libuv_stream_echo", every=1),
    _peer("libuv uv_try_write", "libuv_stream_echo", "try"),
    # It accepts one connection a turn, and each turn polls all. While it accepts 10,000 connections, it serves none for
    # seconds.
    _peer("GIO streams", "gio_service_echo", every=1, skip=("active-50-of-10000",)),
    _peer("libevent events", "libevent_event_echo"),
    _peer("libuv poll handles", "libuv_poll_echo"),
    _peer("GLib sources", "glib_watch_echo"),
    _peer("sd-event sources", "sdevent_io_echo"),
    _peer("libwebsockets", "libwebsockets_echo", "poll"),
    _peer("libwebsockets libuv", "libwebsockets_echo", "libuv", needs_loop="libuv"),
    _peer("libwebsockets GLib", "libwebsockets_echo", "glib", needs_loop="glib"),
    _peer("Asio", "asio_echo"),
    # Under valgrind a just-in-time compiler takes minutes, and the count is mostly that of the compiler.
    _peer("Node", "node_echo.js", skip=("instructions-1", "instructions-50")),
)


class Running:
    """A started server. `wrapper` is the command under which it runs: strace or valgrind with their options."""

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
            raise self._failure(f"printed {line!r} instead of its address")
        return match[1]

    def _server_pid(self, wrapper: tuple) -> int:
        """The process of the server. Under strace it is the child of strace. Otherwise it is the started process
        itself."""
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
        """Waits until the server has closed the connections of the last client, so that the next round does not measure
        this."""
        deadline = time.monotonic() + 60
        while self._descriptors() > self._idle_descriptors:
            if time.monotonic() > deadline:
                raise self._failure("still has connections a minute after its client left")
            time.sleep(0.005)

    def cpu_seconds(self) -> float:
        """The CPU time that its threads have used, in nanosecond precision. /proc/PID/stat has only hundredths of a
        second."""
        threads = pathlib.Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) * 1e-9

    def anonymous_bytes(self) -> int:
        """The resident memory of its own: heap, stacks, written data. It does not include pages that are mapped from
        files."""
        with open(f"/proc/{self.pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Anonymous:")) * 1024

    def stop(self) -> None:
        """Ends it gracefully, so that strace or valgrind writes its totals."""
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
    """The loops that a program prints with --list-loops: from the name of a loop to the remark behind it. Each line has
    one loop, and begins with its name."""
    listed = subprocess.run((program, "--list-loops"), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    lines = (line.partition(" ") for line in listed.stdout.splitlines() if line)
    return {name: about.strip() for name, _, about in lines}


_UNUSABLE = re.compile(r"\b(unusable|unavailable|not (usable|available|installed|found|built)|can(no|')t be used)\b")


def _obstacle(server: Server, build: pathlib.Path) -> str | None:
    """The reason why it can't be measured here, as a text. None if it can."""
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
    """The servers to measure, and their baselines. These are the named servers. Without names they are all servers that
    are not on request, with or without peers."""
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
