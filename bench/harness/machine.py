"""The machine on which the measurement runs: its cores, its limits, its description."""
import contextlib
import os
import pathlib
import platform
import re
import resource
import sys


def say(text: str) -> None:
    """Prints progress to standard error. Standard output is for results."""
    print(text, file=sys.stderr, flush=True)


def cores() -> tuple:
    """A core for the server and another core for the client. If there is only one core, it is returned twice."""
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[-1]


def pin(cpu: int | None) -> None:
    """Prepares a process that is measured, right before it starts. It runs on this core, or on any core if `cpu` is
    None. It has priority over other processes if we are allowed to set that."""
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    except PermissionError:
        pass  # not root: the other processes get their share


@contextlib.contextmanager
def preferred():
    """As root, gives our session priority over other sessions. The kernel first divides a core among sessions
    (sched_autogroup), and the priorities of processes count only within a session."""
    group = pathlib.Path("/proc/self/autogroup")
    try:
        before = group.read_text().split()[-1]
        group.write_text("-20")
    except OSError:  # not root, or the kernel has no autogroups
        before = None
    try:
        yield
    finally:
        if before is not None:
            group.write_text(before)


def raise_file_limit(needed: int) -> None:
    """Raises the soft limit of open files to the hard limit, for us and for all processes that we start."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SystemExit(f"run.py: {needed} open files are needed, the hard limit is {hard} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def busy_seconds(cpus: set) -> float:
    """The CPU time that these cores together have been busy since the machine started. It includes the time that the
    host of a virtual machine took."""
    ticks = 0
    with open("/proc/stat") as file:
        for line in file:
            name, *fields = line.split()
            if name in {f"cpu{cpu}" for cpu in cpus}:
                user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
                ticks += user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")


def children_seconds() -> float:
    """The CPU time of the processes that we have started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def describe() -> dict:
    model = re.search(r"^model name\s*:\s*(.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "load_average": round(os.getloadavg()[0], 2),
    }
