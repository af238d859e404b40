#!/usr/bin/env python3
"""Runs a program under Valgrind. The exit status is 1 after a failure of the program, a bad access, a leak, or a
descriptor that is still open at the end.

usage: memcheck.py PROGRAM [ARGUMENT]...
"""

import pathlib
import re
import subprocess
import sys
import tempfile

OPTIONS = ["--leak-check=full", "--show-leak-kinds=all", "--errors-for-leak-kinds=all", "--track-fds=yes",
           "--child-silent-after-fork=yes",
           "--error-exitcode=99", f"--suppressions={pathlib.Path(__file__).with_name('valgrind.supp')}"]


def command(log):
    """The command to put before a program."""
    return ["valgrind", *OPTIONS, f"--log-file={log}"]


def left_open(text):
    """The descriptors that a finished program left open, according to the log of Valgrind. Inherited descriptors do not
    count."""
    if "FILE DESCRIPTORS: " not in text:
        raise AssertionError(f"no end of the program in Valgrind's log: {text}")
    return re.findall(r"^==\d+== (Open (?:file descriptor|AF_).*)\n==\d+==    (?!<inherited from parent>)", text,
                      re.MULTILINE)


def main():
    with tempfile.TemporaryDirectory() as directory:
        log = pathlib.Path(directory) / "log"
        status = subprocess.run([*command(log), *sys.argv[1:]], stdin=subprocess.DEVNULL).returncode
        text = log.read_text()
    if status == 0 and not left_open(text):
        return 0
    print(text, file=sys.stderr)
    print(f"memcheck: exit status {status}, left open: {left_open(text)}: {' '.join(sys.argv[1:])}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
