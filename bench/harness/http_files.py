"""Measures the HTTP server of the examples beside nginx and beside the two servers without an event loop. wrk requests
one small and one large file from each server, in interleaved rounds."""
import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

from . import machine
from .servers import Running, Server

KEY = "http-files"

SIZES = {"small": 1024, "large": 1024 * 1024}
TITLES = {"small": "1 KiB", "large": "1 MiB"}
CONNECTED = {1: "1 connection", 50: "50 connections", 500: "500 connections"}
BASELINE = "nginx"
CACHING = "nginx, files kept open"  # with open_file_cache: it does less than the others

_PROGRAM = "bin/http_file_server"
_SERVERS = (
    ("onloop native", _PROGRAM, "--loop", "native"),
    ("onloop glib", _PROGRAM, "--loop", "glib"),
    # It serves the first of the clients that stay connected. It serves the others only when that client has left.
    ("serial, for one client", "bin/http_serial"),
    ("thread per connection", "bin/http_thread_per_connection"),
)

# nginx has one worker, since the others have one loop. For each size it has the fastest settings: sendfile would be
# slower for small files, and large files would be slower without it. As root nginx would change to a user who may not
# read the files.
_NGINX_CONFIGURATION = """
{user}
daemon off;
worker_processes 1;
pid {directory}/pid;
error_log stderr;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  {more}
  keepalive_requests 1000000000;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    root {root};
    location /small {{ sendfile off; }}
    location /large {{ sendfile on; tcp_nopush on; }}
  }}
}}
"""


@dataclasses.dataclass
class Plan:
    build: pathlib.Path
    rounds: int
    seconds: int  # of a round; wrk accepts only whole seconds


class _Nginx:
    """Serves the files below a directory. stop() ends it by its process id."""

    def __init__(self, root: pathlib.Path, directory: pathlib.Path, cpu: int, more: str = ""):
        directory.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        configuration = directory / "nginx.conf"
        configuration.write_text(_NGINX_CONFIGURATION.format(
            user="user root;" if os.geteuid() == 0 else "", directory=directory, port=port, root=root,
            more=more))
        self._log = tempfile.TemporaryFile("w+")
        # Debian installs nginx in a directory that only the search path of root has.
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        self._process = subprocess.Popen(
            (program, "-p", str(directory), "-e", "stderr", "-c", str(configuration)), stdin=subprocess.DEVNULL,
            stderr=self._log, preexec_fn=lambda: machine.pin(cpu))
        self.pid = self._process.pid
        try:
            self._wait_until_ready(port)
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self, port: int) -> None:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self._log.seek(0)
                    raise RuntimeError(f"nginx does not listen\n{self._log.read()}".rstrip()) from None
                time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def settle(self) -> None:
        pass

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)


def obstacle(build: pathlib.Path) -> str | None:
    """The reason why this can't be measured here, as a text. None if it can."""
    if missing := [name for _, name, *_ in _SERVERS if not (build / name).exists()]:
        return f"{missing[0]} was not built (node-llhttp, ONLOOP_EXAMPLES)"
    for program in ("wrk", "nginx"):
        if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin"):
            return f"there is no {program}"
    return None


_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3}


def _round(plan: Plan, address: str, name: str, connections: int) -> dict:
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", str(plan.seconds),
               "--latency", f"http://{address}/{name}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
                          preexec_fn=lambda: machine.pin(machine.cores()[1]))
    latency = re.search(r"^\s*99%\s+([\d.]+)(us|ms|s|m)$", done.stdout, re.M)
    rate = re.search(r"^Requests/sec:\s+([\d.]+)$", done.stdout, re.M)
    if done.returncode != 0 or not latency or not rate or "Non-2xx" in done.stdout:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stdout}{done.stderr}".rstrip())
    return {"rate": float(rate[1]), "p99_ms": float(latency[1]) * _UNITS[latency[2]]}


def _summary(rounds: list) -> dict:
    return {"requests_per_second": statistics.median(r["rate"] for r in rounds),
            "p99_ms": statistics.median(r["p99_ms"] for r in rounds)}


def measure(plan: Plan) -> list:
    """As for throughput, a round of a server lies between two rounds of the baseline and is compared with their
    mean."""
    rows = []
    cpu = machine.cores()[0]
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        root = directory / "root"
        root.mkdir()
        for name, size in SIZES.items():
            (root / name).write_bytes(os.urandom(size))
        running = {
            BASELINE: stack.enter_context(_Nginx(root, directory / "nginx", cpu)),
            CACHING: stack.enter_context(_Nginx(root, directory / "caching", cpu, "open_file_cache max=100;")),
        }
        for name, *command in _SERVERS:
            server = Server(name, (*command, str(root)))
            running[name] = stack.enter_context(Running(server, plan.build, cpu))
        for size in SIZES:
            for connections in CONNECTED:
                machine.say(f"  HTTP: {TITLES[size]}, {CONNECTED[connections]}")
                rows += _measure_scenario(plan, running, size, connections)
    return rows


def _measure_scenario(plan: Plan, running: dict, size: str, connections: int) -> list:
    rounds = {name: [] for name in running}

    def turn(name: str) -> None:
        rounds[name].append(_round(plan, running[name].address, size, connections))
        running[name].settle()

    subjects = [name for name in running if name != BASELINE]
    for _ in range(plan.rounds):
        for name in subjects:
            turn(BASELINE)
            turn(name)
    turn(BASELINE)

    rows = [{"size": size, "connections": connections, "server": BASELINE, "baseline": None,
             **_summary(rounds[BASELINE])}]
    for place, name in enumerate(subjects):
        ratios = []
        for number, own in enumerate(rounds[name]):
            before = number * len(subjects) + place
            around = statistics.mean(r["rate"] for r in rounds[BASELINE][before:before + 2])
            ratios.append(own["rate"] / around)
        rows.append({"size": size, "connections": connections, "server": name, "baseline": BASELINE,
                     **_summary(rounds[name]), "ratio": statistics.median(ratios), "ratio_min": min(ratios),
                     "ratio_max": max(ratios)})
    return rows
