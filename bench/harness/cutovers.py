"""Measures how long a cutover keeps a context from serving, with few and with many idle connections. Also counts its
system calls. This number is exact: it is the difference of two runs with different numbers of moves."""
import dataclasses
import json
import pathlib
import statistics
import subprocess
import tempfile

KEY = "cutover"
CONNECTIONS = (10, 100, 1_000, 10_000)
COUNTED = (10, 10_000)  # the numbers of connections for which system calls are counted

# The pairs with True keep the native set. So their system calls must not grow with the connections.
PAIRS = (
    ("native", "glib aggregate", True),
    ("native", "libuv aggregate", True),
    ("libevent aggregate", "sdevent aggregate", True),
    ("native", "native-poll", False),
    ("native", "libuv direct", False),
    ("glib aggregate", "glib direct", False),
    ("libevent direct", "sdevent direct", False),
)


@dataclasses.dataclass
class Plan:
    build: pathlib.Path
    round_trips: int


def _run(plan: Plan, pair: tuple, connections: int, round_trips: int, wrapper: tuple = ()) -> list:
    command = [*wrapper, str(plan.build / "bench/cutover_stall"), pair[0], pair[1], str(connections), str(round_trips)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    return result["there_us"] + result["back_us"]


def _calls(plan: Plan, pair: tuple, connections: int) -> float:
    """The system calls of a cutover, including the wait on the next loop."""
    few, many = 4, 24

    def count(round_trips: int) -> int:
        with tempfile.NamedTemporaryFile("r") as summary:
            _run(plan, pair, connections, round_trips, ("strace", "-c", "-o", summary.name))
            rows = (line.split() for line in summary)
            return next(int(row[3]) for row in rows if row and row[-1] == "total")
    return (count(many) - count(few)) / (2 * (many - few))


def measure(plan: Plan) -> list:
    rows = []
    for pair in PAIRS:
        row = {"from": pair[0], "to": pair[1], "keeps_set": pair[2],
               "stall_us": {n: statistics.median(_run(plan, pair, n, plan.round_trips)) for n in CONNECTIONS},
               "calls": {n: _calls(plan, pair, n) for n in COUNTED}}
        few, many = (row["calls"][n] for n in COUNTED)
        row |= {"target": "no more calls", "met": many <= few + 0.5} if pair[2] else {"target": None, "met": None}
        rows.append(row)
    return rows
