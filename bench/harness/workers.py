"""Measures what a second worker of onloop-echo brings: the same program with one and with two workers, side by side."""
from . import throughput
from .servers import Server

KEY = "workers"
SCENARIO = throughput.Scenario(KEY, "64 B, 50 connections, any core", 50, any_core=True)


def _server(workers: int, baseline: str | None = None) -> Server:
    command = ("tools/onloop-echo", "--listen", "127.0.0.1:0", "--quiet", "--workers", str(workers))
    return Server(f"onloop native, --workers {workers}", command, baseline=baseline)


ONE = _server(1)
TWO = _server(2, baseline=ONE.name)


def measure(plan: throughput.Plan) -> list:
    return throughput.measure(plan, SCENARIO, [ONE, TWO])
