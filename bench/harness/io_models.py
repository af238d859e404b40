"""Measures the I/O models of examples/io_models beside onloop: what they cost while nothing happens, how soon a message
is back, how much memory a connection takes, and how many clients they serve at once. None of these has a target."""
import dataclasses
import pathlib
import re
import select
import socket
import statistics
import time

from . import load, machine
from .servers import Running, Server

KEY = "io-models"
IDLE = 20               # the connections while nothing happens
BYSTANDERS = (0, 50)    # the idle connections beside the one that is timed
FEW, MANY = 100, 500    # the numbers of connections between which memory is compared
CROWDS = (200, 1_100)   # the clients at once; the second number is more than select() can watch
MESSAGE = b"x" * 64

MODELS = tuple(
    Server(name.replace("_", " "), (f"examples/io_models/io_model_{name}", "127.0.0.1:0"), optional=True)
    for name in ("blocking_serial", "nonblocking_spin", "select", "poll", "epoll", "process_per_connection",
                 "thread_per_connection", "poller_per_descriptor", "glued_loops"))
BESIDE = ("onloop native", "onloop glib")

# The names of the kinds of memory in our results, and in /proc/PID/smaps_rollup or /proc/PID/status. All are in KiB.
MEMORY = {"pss": "Pss", "rss": "Rss", "virtual": "VmSize", "page_tables": "VmPTE"}


@dataclasses.dataclass
class Plan:
    build: pathlib.Path
    rounds: int
    seconds: float   # of a measurement of idle connections, and of a ping-pong
    patience: float  # after so many seconds without any echo, clients without an echo are given up


class Crowd:
    """Clients that stay connected. Each has sent a message."""

    def __init__(self, address: str, count: int, patience: float):
        host, port = address.rsplit(":", 1)
        self._sockets = []
        self.answered = 0
        started = time.monotonic()
        self.seconds = 0.0  # from the start to the last echo
        try:
            for _ in range(count):
                self._sockets.append(socket.create_connection((host, int(port)), 60))
                self._sockets[-1].sendall(MESSAGE)
            waiting = {client.fileno(): [client, len(MESSAGE)] for client in self._sockets}
            with select.epoll() as poller:
                for number in waiting:
                    poller.register(number, select.EPOLLIN)
                while waiting and (ready := poller.poll(patience)):
                    for number, _ in ready:
                        if self._is_settled(waiting[number]):
                            del waiting[number]
                            poller.unregister(number)
                    self.seconds = time.monotonic() - started
        except BaseException:
            self.close()
            raise

    def _is_settled(self, entry: list) -> bool:
        """True if the echo of the client is whole, or if the client has been turned away."""
        try:
            received = entry[0].recv(entry[1])
        except ConnectionResetError:
            received = b""
        entry[1] -= len(received)
        self.answered += entry[1] == 0
        return not received or entry[1] == 0

    def all_answered(self) -> bool:
        return self.answered == len(self._sockets)

    def close(self) -> None:
        for client in self._sockets:
            client.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _processes(pid: int) -> list:
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pathlib.Path(f"/proc/{process}") for process in (pid, *children)]


def _threads(pid: int) -> list:
    return [task for process in _processes(pid) for task in (process / "task").iterdir()]


def _cpu_seconds(pid: int) -> float:
    return sum(int((task / "schedstat").read_text().split()[0]) for task in _threads(pid)) * 1e-9


def _sleeps(pid: int) -> int:
    """How often the threads have gone to sleep, which is also how often they have been woken up."""
    found = (re.search(r"^voluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text(), re.M)
             for task in _threads(pid))
    return sum(int(match[1]) for match in found)


def _memory(pid: int) -> dict:
    """The KiB of all processes of the server together."""
    total = dict.fromkeys(MEMORY, 0)
    for process in _processes(pid):
        text = (process / "smaps_rollup").read_text() + (process / "status").read_text()
        for key, name in MEMORY.items():
            total[key] += int(re.search(rf"^{name}:\s+(\d+) kB", text, re.M)[1])
    return total


def _idle(plan: Plan, running: Running) -> dict:
    with Crowd(running.address, IDLE, plan.patience):
        cpu, sleeps, started = _cpu_seconds(running.pid), _sleeps(running.pid), time.monotonic()
        time.sleep(plan.seconds)
        cpu, sleeps = _cpu_seconds(running.pid) - cpu, _sleeps(running.pid) - sleeps
        elapsed = time.monotonic() - started
    return {"cpu_percent": 100 * cpu / elapsed, "wake_ups": sleeps / elapsed}


def _round_trip(plan: Plan, running: Running, client_cpu: int, bystanders: int) -> dict | None:
    """None if the client is not answered beside the bystanders."""
    with Crowd(running.address, bystanders, plan.patience) as crowd:
        if not crowd.all_answered():
            return None
        report = load.run(plan.build, running.address, client_cpu, connections=1, duration=plan.seconds,
                          warmup=plan.seconds / 5)
    return {"p50": report["latency_us_p50"], "p99": report["latency_us_p99"]}


def _growth(plan: Plan, running: Running) -> dict | None:
    """The KiB a connection. None if clients were not answered, since they are then not yet connections of the
    server."""
    with Crowd(running.address, FEW, plan.patience) as few:
        before = _memory(running.pid)
        with Crowd(running.address, MANY - FEW, plan.patience) as more:
            after = _memory(running.pid)
            if not few.all_answered() or not more.all_answered():
                return None
    return {key: (after[key] - before[key]) / (MANY - FEW) for key in MEMORY}


def _served(plan: Plan, running: Running, clients: int) -> dict:
    with Crowd(running.address, clients, plan.patience) as crowd:
        return {"answered": crowd.answered, "seconds": crowd.seconds}


def _medians(rounds: list) -> dict | None:
    if None in rounds:
        return None
    return {key: statistics.median(values[key] for values in rounds) for key in rounds[0]}


def _subjects(plan: Plan, chosen: list) -> list:
    built = [model for model in MODELS if (plan.build / model.command[0]).exists()]
    for model in MODELS:
        if model not in built:
            machine.say(f"{model.name}: left out, {plan.build / model.command[0]} was not built")
    return [server for server in chosen if server.name in BESIDE] + built


def measure(plan: Plan, chosen: list) -> list:
    """A row for each model, and for each server of BESIDE that is chosen. Each measurement uses a server that was just
    started. Measurements of time are made in interleaved rounds, one for each server."""
    server_cpu, client_cpu = machine.cores()
    subjects = _subjects(plan, chosen)
    looks = {"idle": _idle}
    for bystanders in BYSTANDERS:
        looks[bystanders] = lambda plan, running, beside=bystanders: _round_trip(plan, running, client_cpu, beside)

    def look(server: Server, what):
        with Running(server, plan.build, server_cpu) as running:
            return what(plan, running)

    found = {server.name: {key: [] for key in looks} for server in subjects}
    for number in range(plan.rounds):
        for server in subjects:
            for key, what in looks.items():
                found[server.name][key].append(look(server, what))
        machine.say(f"  I/O models: round {number + 1} of {plan.rounds}")

    rows = []
    for server in subjects:
        taken = found[server.name]
        rows.append({
            "server": server.name, "idle": _medians(taken["idle"]),
            "round_trip_us": {beside: _medians(taken[beside]) for beside in BYSTANDERS},
            "connection_kib": look(server, _growth),
            "served": {clients: look(server, lambda plan, running, clients=clients: _served(plan, running, clients))
                       for clients in CROWDS}})
        machine.say(f"  I/O models: connections of {server.name}")
    return rows
