"""Measures throughput as ratios to a baseline that runs in the same minute. The rounds are short and interleaved, and
each round is paired with rounds of the baseline."""
import contextlib
import dataclasses
import os
import pathlib
import statistics
import time

from . import load, machine
from .servers import Running, Server


@dataclasses.dataclass(frozen=True)
class Scenario:
    key: str
    title: str
    connections: int
    size: int = 64
    idle: int = 0
    one_core: bool = False  # server and client share one core
    any_core: bool = False  # the kernel chooses the cores of their threads


SCENARIOS = (
    # With two cores, waking the other core takes most of the time of a single ping-pong and hides what the server
    # costs.
    Scenario("ping-pong-1", "64 B, 1 connection", 1, one_core=True),
    Scenario("ping-pong-50", "64 B, 50 connections", 50),
    Scenario("ping-pong-1000", "64 B, 1,000 connections", 1000),
    Scenario("active-50-of-10000", "64 B, 50 active, 10,000 idle", 50, idle=10_000),
    Scenario("bulk-8", "64 KiB, 8 connections", 8, size=64 * 1024),
)


@dataclasses.dataclass(frozen=True)
class Round:
    rate: float        # messages a second
    cpu: float | None  # the CPU seconds of the server for a message, if they can be known
    p50: float | None  # microseconds
    p99: float | None
    others: float      # how much of the cores neither the server nor the client used


@dataclasses.dataclass
class Plan:
    build: pathlib.Path
    rounds: int
    duration: float
    warmup: float


def _round(plan: Plan, scenario: Scenario, running: Running) -> Round:
    server_cpu, client_cpu = machine.cores()
    if scenario.one_core:
        client_cpu = server_cpu
    cpus = {server_cpu, client_cpu}
    if scenario.any_core:
        client_cpu, cpus = None, os.sched_getaffinity(0)
    before, busy, client = running.cpu_seconds(), machine.busy_seconds(cpus), machine.children_seconds()
    started = time.monotonic()
    report = load.run(plan.build, running.address, client_cpu, connections=scenario.connections, size=scenario.size,
                      idle=scenario.idle, duration=plan.duration, warmup=plan.warmup)
    ours = machine.children_seconds() - client + running.cpu_seconds() - before
    others = max(0.0, machine.busy_seconds(cpus) - busy - ours) / (time.monotonic() - started)
    running.settle()
    server_seconds = running.cpu_seconds() - before
    # The CPU time is that of the whole round. So the messages must be those of the whole round too. Those of the
    # warm-up are estimated from the rate. With thousands of idle connections, most of the CPU time is for accepting
    # them, and the figure would mean nothing.
    messages = report["messages"] + report["messages_per_second"] * plan.warmup
    cpu = None if scenario.idle else server_seconds / messages
    return Round(report["messages_per_second"], cpu, report["latency_us_p50"], report["latency_us_p99"], others)


def _compare(pairs: list) -> dict:
    """`pairs` has tuples: a round of the subject, and the rounds of the baseline before and after it."""
    def paired(field):
        return sorted(getattr(subject, field) / statistics.mean(getattr(other, field) for other in around)
                      for subject, around in pairs)
    ratios = paired("rate")
    cpu = paired("cpu") if pairs[0][0].cpu is not None else [None]
    quartiles = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return {"ratios": [round(ratio, 4) for ratio in ratios], "median": statistics.median(ratios),
            "lower_quartile": quartiles[0], "upper_quartile": quartiles[2],
            "min": ratios[0], "max": ratios[-1], "cpu_ratio": cpu[0] if cpu[0] is None else statistics.median(cpu)}


def _summary(rounds: list) -> dict:
    def median(field):
        values = [getattr(round, field) for round in rounds]
        return statistics.median(values) if None not in values else None
    cpu = median("cpu")
    return {"messages_per_second": median("rate"), "server_cpu_us": None if cpu is None else cpu * 1e6,
            "p50_us": median("p50"), "p99_us": median("p99"), "others": statistics.mean(r.others for r in rounds),
            "rounds": [round(r.rate, 1) for r in rounds]}


def measure(plan: Plan, scenario: Scenario, servers: list) -> list:
    """One result for each server. The servers of a baseline run as b s1 b s2 b s1 … b. So each round of a subject has a
    round of the baseline right before and right after it, and slow changes (frequency, neighbours on the host) cancel.
    A server that takes part in every third round is in the first round, the fourth round, …"""
    results = []
    server_cpu = None if scenario.any_core else machine.cores()[0]
    for baseline in (server for server in servers if server.baseline is None):
        subjects = [s for s in servers if s.baseline == baseline.name and scenario.key not in s.skip]
        with contextlib.ExitStack() as stack:
            running = {server.name: stack.enter_context(Running(server, plan.build, server_cpu))
                       for server in (baseline, *subjects)}
            rounds = {name: [] for name in running}
            before = {name: [] for name in running}

            def turn(server: Server) -> None:
                before[server.name].append(len(rounds[baseline.name]) - 1)
                rounds[server.name].append(_round(plan, scenario, running[server.name]))

            for number in range(plan.rounds):
                for subject in (s for s in subjects if number % s.every == 0):
                    turn(baseline)
                    turn(subject)
                if not subjects:
                    turn(baseline)
                machine.say(f"  {scenario.title}: round {number + 1} of {plan.rounds}")
            turn(baseline)
        results.append({"scenario": scenario.key, "server": baseline.name, "baseline": None,
                        **_summary(rounds[baseline.name])})
        for subject in subjects:
            pairs = [(own, rounds[baseline.name][index:index + 2])
                     for own, index in zip(rounds[subject.name], before[subject.name])]
            results.append({"scenario": scenario.key, "server": subject.name, "baseline": baseline.name,
                            **_summary(rounds[subject.name]), **_compare(pairs)})
    return results
