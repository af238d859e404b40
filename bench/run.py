#!/usr/bin/env python3
"""Measures onloop-echo and other echo servers side by side, in one interleaved run. README.md says how and why.

    bench/run.py                  everything, about half an hour; exit status 1 if a target is missed
    bench/run.py --no-peers       without the servers on other libraries
    bench/run.py --quick          a few minutes, for CI: no peers; it reports throughput, but only exact figures decide
    bench/run.py --charts docs    also draws docs/throughput.svg, figures.svg, io_models.svg, http_files.svg, and PNGs
"""
import argparse
import datetime
import json
import operator
import pathlib
import sys

from harness import (charts, cutovers, deterministic, http_files, io_models, machine, report, servers, throughput,
                     workers)

AT_LEAST, AT_MOST, MORE_THAN = ">=", "<=", ">"
COMPARISONS = {AT_LEAST: operator.ge, AT_MOST: operator.le, MORE_THAN: operator.gt}

# Aggregate hosting has two waits for each batch: that of the loop, and that of the context.
AGGREGATE = {
    "ping-pong-1": (AT_LEAST, 0.92),
    "ping-pong-50": (AT_LEAST, 0.95),
    "ping-pong-1000": (AT_LEAST, 0.93),
    "active-50-of-10000": (AT_LEAST, 0.93),
    "system-calls-1": (AT_MOST, 4.0),
    "system-calls-50": (AT_MOST, 2.05),
}
DIRECT = {
    "ping-pong-50": (AT_LEAST, 0.95),
    "system-calls-1": (AT_MOST, 3.005),
    "system-calls-50": (AT_MOST, 2.03),
}

# The targets of each server whose entry has `targets`. For throughput the target is a ratio to the baseline of the
# server.
TARGETS = {
    "onloop native": {
        "ping-pong-1": (AT_LEAST, 0.95),
        "ping-pong-50": (AT_LEAST, 0.95),
        "ping-pong-1000": (AT_LEAST, 0.95),
        "active-50-of-10000": (AT_LEAST, 0.95),
        "bulk-8": (AT_LEAST, 0.90),
        "system-calls-1": (AT_MOST, 3.005),
        "system-calls-50": (AT_MOST, 2.03),
        "instructions-1": (AT_MOST, 200),
        "instructions-50": (AT_MOST, 138),
        "allocations-1": (AT_MOST, 0),
        "allocations-50": (AT_MOST, 0),
        "resident-idle": (AT_MOST, 208),
        "resident-growth": (AT_MOST, 1),  # a page of 4 KiB is the smallest unit, which is 0.4 bytes a connection
    },
    **{f"onloop {loop}": AGGREGATE for loop in ("libevent", "libuv", "glib", "sdevent")},
    **{f"onloop {loop} direct": DIRECT for loop in ("libevent", "libuv")},
}

# If a loop has streams of its own, onloop must be faster than these streams in every throughput scenario.
OWN_STREAMS = {
    "onloop libevent": "libevent bufferevents",
    "onloop libuv": "libuv streams",
    "onloop glib": "GIO streams",
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = pathlib.Path(__file__).resolve().parent.parent
    parser.add_argument("--build", type=pathlib.Path, default=root / "build/release", metavar="DIR",
                        help="the build to measure (default: build/release)")
    parser.add_argument("--quick", action="store_true", help="2 short rounds, small counts")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of each throughput scenario (default: 15)")
    parser.add_argument("--duration", type=float, metavar="SECONDS", help="length of a round (default: 0.5)")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=None,
                        help="also measure the servers on other libraries (default: yes, with --quick no)")
    parser.add_argument("--servers", metavar="NAME,…",
                        help=f"measure only these of: {', '.join(s.name for s in servers.SERVERS)}")
    parser.add_argument("--only", metavar="KEY,…",
                        help="measure only these figures and scenarios; the beginning of a name is enough. "
                        f"There are: {', '.join(every_key())}")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all results to this file")
    parser.add_argument("--charts", type=pathlib.Path, metavar="DIR",
                        help="draw the charts in this directory (needs gnuplot)")
    parser.add_argument("--keep-profiles", type=pathlib.Path, metavar="DIR",
                        help="keep the profiles of callgrind in this directory, for callgrind_annotate")
    return parser.parse_args()


def every_key() -> list:
    return [s.key for s in throughput.SCENARIOS] + [f.key for f in deterministic.FIGURES] + [
        cutovers.KEY, http_files.KEY, io_models.KEY, workers.KEY]


def choose_keys(only: str | None) -> set:
    keys = set()
    for prefix in only.split(",") if only else [""]:
        matching = {key for key in every_key() if key.startswith(prefix)}
        if not matching:
            raise SystemExit(f"run.py: --only: nothing is called {prefix}. There are: {', '.join(every_key())}")
        keys |= matching
    return keys


def judge(server: servers.Server, key: str, value: float, decimals: int) -> dict:
    """The target of a figure, and whether it is met. The comparison is as precise as the printed value."""
    return verdict(TARGETS.get(server.name, {}).get(key) if server.targets else None, value, decimals)


def verdict(target: tuple | None, value: float, decimals: int) -> dict:
    if target is None:
        return {"target": None, "met": None}
    comparison, limit = target
    return {"target": f"{comparison} {limit:g}", "met": COMPARISONS[comparison](round(value, decimals), limit)}


def compare_with_own_streams(rows: list) -> list:
    """Divides the two ratios to the baseline. Both are from rounds in the same minutes."""
    medians = {(row["scenario"], row["server"]): row["median"] for row in rows if row["baseline"]}
    pairs = [(scenario.key, server, streams) for scenario in throughput.SCENARIOS
             for server, streams in OWN_STREAMS.items()
             if {(scenario.key, server), (scenario.key, streams)} <= medians.keys()]
    results = []
    for scenario, server, streams in pairs:
        ratio = medians[scenario, server] / medians[scenario, streams]
        results.append({"scenario": scenario, "server": server, "streams": streams, "ratio": ratio,
                        **verdict((MORE_THAN, 1), ratio, 3)})
    return results


def measure(options: argparse.Namespace, keys: set, chosen: list) -> dict:
    by_name = {server.name: server for server in chosen}
    result = {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
              "machine": machine.describe(), "quick": options.quick, "throughput": [], "figures": []}

    plan = deterministic.Plan(options.build, *((2_000, 12_000) if options.quick else (10_000, 60_000)),
                              keep=options.keep_profiles)
    for server in chosen:
        values = deterministic.measure(plan, server, keys)
        for figure in (f for f in deterministic.FIGURES if f.key in values):
            value = values[figure.key]
            result["figures"].append({"figure": figure.key, "server": server.name, "value": value,
                                      **judge(server, figure.key, value, figure.decimals)})

    rounds = options.rounds or (2 if options.quick else 15)
    duration = options.duration or (0.3 if options.quick else 0.5)
    plan = throughput.Plan(options.build, rounds, duration, warmup=duration / 5)
    result |= {"rounds": rounds, "round_seconds": duration}
    for scenario in (s for s in throughput.SCENARIOS if s.key in keys):
        for row in throughput.measure(plan, scenario, chosen):
            if row["baseline"]:
                row |= judge(by_name[row["server"]], scenario.key, row["median"], 3)
            result["throughput"].append(row)
    if workers.KEY in keys:
        result["throughput"] += workers.measure(plan)
    if cutovers.KEY in keys:
        result["cutovers"] = cutovers.measure(cutovers.Plan(options.build, 10 if options.quick else 50))
    if http_files.KEY in keys:
        if obstacle := http_files.obstacle(options.build):
            machine.say(f"{http_files.KEY}: left out, {obstacle}")
        else:
            result["http_files"] = http_files.measure(http_files.Plan(options.build, 2 if options.quick else 5, 1))
    if io_models.KEY in keys:
        plan = io_models.Plan(options.build, *((1, 0.3, 0.5) if options.quick else (11, 0.5, 2.0)))
        result["io_models"] = io_models.measure(plan, chosen)
    result["own_streams"] = compare_with_own_streams(result["throughput"])
    return result


def missed(result: dict) -> list:
    """The missed targets, which decide the exit status. In a quick run the rounds are too few and too short to judge
    throughput."""
    rows = [(row["figure"], row) for row in result["figures"]]
    rows += [(f"cutover from {row['from']} to {row['to']}", {"server": "onloop", **row})
             for row in result.get("cutovers", [])]
    if not result["quick"]:
        rows += [(row["scenario"], row) for row in result["throughput"]]
        rows += [(f"{row['scenario']} against {row['streams']}", row) for row in result["own_streams"]]
    return [f"{row['server']}: {key}" for key, row in rows if row.get("met") is False]


def main() -> int:
    options = arguments()
    keys = choose_keys(options.only)
    options.build = options.build.resolve()
    peers = not options.quick if options.peers is None else options.peers
    chosen = servers.choose(options.servers.split(",") if options.servers else None, options.build, peers)
    machine.raise_file_limit(deterministic.IDLE + 200)
    for directory in (options.charts, options.keep_profiles):
        if directory:
            directory.mkdir(parents=True, exist_ok=True)

    with machine.preferred():
        result = measure(options, keys, chosen)
    report.print_tables(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    if options.charts:
        charts.draw(result, options.charts)
    failures = missed(result)
    if failures:
        print(f"\nMissed: {'; '.join(failures)}")
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RuntimeError, FileNotFoundError) as error:
        sys.exit(f"run.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
