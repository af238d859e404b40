"""Prints the results as tables on standard output."""
from . import cutovers, deterministic, http_files, io_models, throughput, workers


def _table(header: list, rows: list, texts: int = 2) -> None:
    """The first `texts` columns are text. The others are aligned as numbers."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, ["-" * width for width in widths], *rows]:
        print("  ".join(cell.ljust(width) if i < texts else cell.rjust(width)
                        for i, (cell, width) in enumerate(zip(row, widths))).rstrip())


def _verdict(row: dict) -> str:
    return {True: "pass", False: "MISSED", None: ""}[row.get("met")]


def _number(value, decimals: int) -> str:
    # + 0.0 turns "-0.0" into "0.0".
    return "" if value is None else f"{round(value, decimals) + 0.0:,.{decimals}f}"


def _throughput(result: dict) -> None:
    rows = []
    for scenario in (*throughput.SCENARIOS, workers.SCENARIO):
        title = scenario.title
        for row in (r for r in result["throughput"] if r["scenario"] == scenario.key):
            ratio = ["", "", "", ""]
            if row["baseline"]:
                ratio = [_number(row["median"], 3),
                         f"{row['lower_quartile']:.3f} … {row['upper_quartile']:.3f}",
                         f"{row['min']:.3f} … {row['max']:.3f}", _number(row["cpu_ratio"], 2)]
            rows.append([title, row["server"], _number(row["messages_per_second"], 0),
                         _number(row["p50_us"], 0), _number(row["p99_us"], 0), _number(row["server_cpu_us"], 2),
                         *ratio, row.get("target") or "", _verdict(row)])
            title = ""
    print(f"\nThroughput: median of {result['rounds']} interleaved rounds of {result['round_seconds']:g} s; "
          "the ratio is to the baseline's rounds right before and after")
    _table(["scenario", "server", "messages/s", "p50 µs", "p99 µs", "CPU µs", "ratio", "quartiles", "range",
            "CPU ratio", "target", ""], rows)
    others = max((row["others"], row["scenario"]) for row in result["throughput"])
    print(f"Other processes and the host used at most {others[0]:.2f} of a core (in {others[1]}).")


def _own_streams(result: dict) -> None:
    titles = {scenario.key: scenario.title for scenario in throughput.SCENARIOS}
    rows = []
    for server, streams in dict.fromkeys((row["server"], row["streams"]) for row in result["own_streams"]):
        title = f"{server} to {streams}"
        for row in (r for r in result["own_streams"] if r["server"] == server):
            rows.append([title, titles[row["scenario"]], _number(row["ratio"], 3), row["target"], _verdict(row)])
            title = ""
    print("\nonloop on a loop against the loop's own streams: the quotient of their ratios above")
    _table(["servers", "scenario", "ratio", "target", ""], rows)


def _http_files(result: dict) -> None:
    rows = []
    for row in result["http_files"]:
        first = row["baseline"] is None
        ratio = ["", ""] if first else [_number(row["ratio"], 3), f"{row['ratio_min']:.3f} … {row['ratio_max']:.3f}"]
        title = f"{http_files.TITLES[row['size']]}, {http_files.CONNECTED[row['connections']]}" if first else ""
        rows.append([title, row["server"], _number(row["requests_per_second"], 0), _number(row["p99_ms"], 2), *ratio])
    print(f"\nOne file by HTTP, repeatedly: median of interleaved rounds; the ratio is to {http_files.BASELINE}'s "
          "rounds right before and after")
    _table(["scenario", "server", "requests/s", "p99 ms", "ratio", "range"], rows)


def _figures(result: dict) -> None:
    rows = []
    for figure in deterministic.FIGURES:
        title = figure.title
        for row in (r for r in result["figures"] if r["figure"] == figure.key):
            rows.append([title, row["server"], _number(row["value"], figure.decimals), row["target"] or "",
                         _verdict(row)])
            title = ""
    print("\nExact figures: the difference of two runs with different numbers of messages")
    _table(["figure", "server", "value", "target", ""], rows)


def _cutovers(result: dict) -> None:
    rows = []
    for row in result["cutovers"]:
        rows.append([row["from"], row["to"], *(_number(row["stall_us"][n], 0) for n in cutovers.CONNECTIONS),
                     *(_number(row["calls"][n], 1) for n in cutovers.COUNTED), row["target"] or "", _verdict(row)])
    print("\nCutovers to and fro with idle connections: the median time without service, and system calls a cutover")
    _table(["between", "and", *(f"µs, {n:,}" for n in cutovers.CONNECTIONS),
            *(f"calls, {n:,}" for n in cutovers.COUNTED), "target", ""], rows)


def _io_models(result: dict) -> None:
    rows = []
    for row in result["io_models"]:
        trips = row["round_trip_us"].values()
        memory = row["connection_kib"] or dict.fromkeys(io_models.MEMORY)
        rows.append([row["server"], _number(row["idle"]["cpu_percent"], 2), _number(row["idle"]["wake_ups"], 0),
                     *(_number(trip[p], 0) if trip else "-" for trip in trips for p in ("p50", "p99")),
                     *(_number(memory[key], 2) or "-" for key in io_models.MEMORY),
                     *(cell for served in row["served"].values()
                       for cell in (_number(served["answered"], 0), _number(served["seconds"] * 1e3, 0)))])
    print(f"\nI/O models: CPU in percent of a core and wake-ups a second with {io_models.IDLE} idle connections; round "
          f"trips of one client,\nalone and beside idle ones; KiB a connection, of {io_models.MANY}; "
          "clients answered at "
          "once, and the time to the last. -: not answered")
    _table(["server", "CPU %", "wake-ups", *(f"{p} µs, {n}" for n in io_models.BYSTANDERS for p in ("p50", "p99")),
            *(key.replace("_", " ") for key in io_models.MEMORY),
            *(cell for n in io_models.CROWDS for cell in (f"of {n:,}", "ms"))], rows, texts=1)


def print_tables(result: dict) -> None:
    about = result["machine"]
    print(f"{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, load average {about['load_average']} "
          f"at the start, {result['date']}")
    if result["throughput"]:
        _throughput(result)
    if result["own_streams"]:
        _own_streams(result)
    if result.get("http_files"):
        _http_files(result)
    if result["figures"]:
        _figures(result)
    if result.get("cutovers"):
        _cutovers(result)
    if result.get("io_models"):
        _io_models(result)
