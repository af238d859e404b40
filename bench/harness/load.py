"""Runs the load generator onloop-load, which is the client of every server."""
import json
import pathlib
import subprocess

from . import machine


def run(build: pathlib.Path, address: str, cpu: int | None, *, connections: int, size: int = 64, window: int = 1,
        idle: int = 0, duration: float | None = None, warmup: float = 0.0, messages: int | None = None) -> dict:
    """Runs it for a duration, or for an exact number of messages in total. Returns what onloop-load reports."""
    command = [str(build / "tools/onloop-load"), address, "--json", "--connections", str(connections),
               "--size", str(size), "--window", str(window)]
    if idle:
        command += ["--idle", str(idle)]
    if messages is None:
        command += ["--duration", str(duration), "--warmup", str(warmup)]
    else:
        command += ["--messages", str(messages)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          preexec_fn=lambda: machine.pin(cpu))
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr.strip()}")
    return json.loads(done.stdout)
