#!/usr/bin/env python3
"""Checks with readelf that a program or shared library has the properties of a hardened one.

usage: properties.py PROGRAM-OR-LIBRARY...
"""
import os
import re
import subprocess
import sys


def readelf(option: str, path: str) -> str:
    return subprocess.run(["readelf", "--wide", option, path], check=True, stdout=subprocess.PIPE, text=True).stdout


def faults(path: str):
    if not re.search(r"Type:\s+DYN", readelf("--file-header", path)):
        yield "not position-independent"
    segments = readelf("--program-headers", path)
    if "GNU_RELRO" not in segments:
        yield "no RELRO"
    if not re.search(r"GNU_STACK.* RW ", segments):
        yield "executable stack"
    if not re.search(r"FLAGS.*(BIND_NOW|NOW)", readelf("--dynamic", path)):
        yield "no BIND_NOW"
    symbols = readelf("--dyn-syms", path)
    if ".so" not in os.path.basename(path):  # hardly any function of a shim needs these
        if "__stack_chk_fail" not in symbols:
            yield "no stack protector"
        if os.environ.get("ONLOOP_FORTIFY") and not re.search(r"\b__\w+_chk\b", symbols):
            yield "no FORTIFY"
    if os.environ.get("ONLOOP_SHADOW_STACK") and "SHSTK" not in readelf("--notes", path):
        yield "no shadow stack"


def main() -> int:
    found = [f"{path}: {fault}" for path in sys.argv[1:] for fault in faults(path)]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
