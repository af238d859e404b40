"""Figures that a noisy machine doesn't change. For each figure the server runs twice, with different exact numbers of
messages. The difference of the two results is divided by the difference of the numbers. So the costs of the start, of
connecting and of the end cancel."""
import dataclasses
import pathlib
import re
import socket
import tempfile

from . import load, machine
from .servers import Running, Server

IDLE = 10_000
MESSAGE = b"x" * 64


@dataclasses.dataclass(frozen=True)
class Figure:
    key: str
    title: str
    unit: str
    decimals: int


FIGURES = (
    Figure("system-calls-1", "system calls a message, 1 connection", "calls", 3),
    Figure("system-calls-50", "system calls a message, 50 connections", "calls", 3),
    Figure("instructions-1", "user instructions a message, 1 connection", "instructions", 1),
    Figure("instructions-50", "user instructions a message, 50 connections", "instructions", 1),
    Figure("allocations-1", "allocations a message, 1 connection", "allocations", 4),
    Figure("allocations-50", "allocations a message, 50 connections", "allocations", 4),
    Figure("resident-idle", "resident bytes an idle connection, of 10,000", "bytes", 1),
    Figure("resident-growth", "growth once each has sent a message", "bytes", 1),
)


@dataclasses.dataclass
class Plan:
    build: pathlib.Path
    few: int                     # the messages of the shorter run
    many: int                    # the messages of the longer run
    keep: pathlib.Path | None    # where the profiles of callgrind stay


def _difference(plan: Plan, count) -> float:
    """`count(messages)` must return what one server counted for so many messages, from its start to its end."""
    return (count(plan.many) - count(plan.few)) / (plan.many - plan.few)


def _run(plan: Plan, server: Server, wrapper: tuple, connections: int, messages: int) -> None:
    # Server and client have a core each, and strace or valgrind slows the server down. While the server works through a
    # batch, the client answers nearly all of it. So a batch has as many messages as there are connections, as on a
    # server at full load.
    server_cpu, client_cpu = machine.cores()
    with Running(server, plan.build, server_cpu, wrapper) as running:
        load.run(plan.build, running.address, client_cpu, connections=connections, messages=messages)
        running.settle()


def system_calls(plan: Plan, server: Server, connections: int) -> float:
    def count(messages: int) -> int:
        with tempfile.NamedTemporaryFile("r") as summary:
            _run(plan, server, ("strace", "-f", "-c", "-o", summary.name), connections, messages)
            rows = (line.split() for line in summary)
            return next(int(row[3]) for row in rows if row and row[-1] == "total")
    return _difference(plan, count)


def instructions(plan: Plan, server: Server, connections: int) -> float:
    def count(messages: int) -> int:
        with tempfile.TemporaryDirectory() as directory:
            name = f"callgrind.{server.name.replace(' ', '-')}.{connections}-connections.{messages}-messages"
            profile = (plan.keep or pathlib.Path(directory)) / name
            _run(plan, server, ("valgrind", "--tool=callgrind", "--quiet", f"--callgrind-out-file={profile}"),
                 connections, messages)
            return int(re.search(r"^totals: (\d+)", profile.read_text(), re.M)[1])
    return _difference(plan, count)


def allocations(plan: Plan, server: Server, connections: int) -> float:
    def count(messages: int) -> int:
        with tempfile.NamedTemporaryFile("r") as log:
            _run(plan, server, ("valgrind", "--tool=memcheck", "--leak-check=no", "--undef-value-errors=no",
                                f"--log-file={log.name}"), connections, messages)
            return int(re.search(r"total heap usage: ([\d,]+) allocs", log.read())[1].replace(",", ""))
    return _difference(plan, count)


def _exchange(connections: list) -> None:
    for connection in connections:
        connection.sendall(MESSAGE)
    for connection in connections:
        received = b""
        while len(received) < len(MESSAGE):
            part = connection.recv(len(MESSAGE))
            if not part:
                raise RuntimeError("the server closed an idle connection")
            received += part
        if received != MESSAGE:
            raise RuntimeError("the server echoed something else")


def resident(plan: Plan, server: Server, count: int) -> tuple:
    """The bytes an idle connection, and what is added when all connections have sent a message at once."""
    connections = []
    with Running(server, plan.build, machine.cores()[0]) as running:
        host, port = running.address.rsplit(":", 1)

        def connect() -> None:
            connections.append(socket.create_connection((host, int(port))))

        try:
            # The first connection causes what a server allocates only once: the buffer, the table, the first pages.
            connect()
            _exchange(connections)
            before = running.anonymous_bytes()
            for _ in range(count):
                connect()
            _exchange(connections[-1:])  # clients are accepted in order: if the last one is served, all are open
            idle = running.anonymous_bytes()
            _exchange(connections)
            active = running.anonymous_bytes()
        finally:
            for connection in connections:
                connection.close()
        running.settle()
    return (idle - before) / count, (active - idle) / count


def measure(plan: Plan, server: Server, chosen: set) -> dict:
    """Measures each figure in `chosen` (keys of FIGURES) of one server, except the figures that the server skips."""
    chosen = chosen - server.skip
    results = {}
    for name, function in (("system-calls", system_calls), ("instructions", instructions),
                           ("allocations", allocations)):
        for connections in (1, 50):
            key = f"{name}-{connections}"
            if key in chosen:
                machine.say(f"  {server.name}: {key}")
                results[key] = function(plan, server, connections)
    if {"resident-idle", "resident-growth"} & chosen:
        machine.say(f"  {server.name}: resident bytes of {IDLE:,} connections")
        results["resident-idle"], results["resident-growth"] = resident(plan, server, IDLE)
    return {key: value for key, value in results.items() if key in chosen}
