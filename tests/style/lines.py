#!/usr/bin/env python3
"""No line of code or Markdown is longer than 120 characters. Tables, and lines with a long address, may be longer.

usage: lines.py DIRECTORY
"""
import pathlib
import re
import sys

LIMIT = 120
ENDINGS = {".c", ".h", ".cpp", ".hpp", ".cmake", ".txt", ".py", ".js", ".json", ".md", ".in", ".yml"}
SCRIPTS = {"dev", ".ci/run", ".ci/newcomer", "tests/package/run"}
ADDRESS = re.compile(r"\S*\w+://\S+|\]\(\S+\)")


def too_long(name: str, line: str) -> bool:
    if len(line) <= LIMIT:
        return False
    if name.endswith(".md") and line.lstrip().startswith("|"):
        return False
    return len(ADDRESS.sub("", line)) > LIMIT


def sources(root: pathlib.Path):
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if name.startswith(("build", ".git/")) or path.is_symlink() or not path.is_file():
            continue
        if path.suffix in ENDINGS or name in SCRIPTS:
            yield name, path


def main() -> int:
    found = {}
    for name, path in sources(pathlib.Path(sys.argv[1])):
        lines = path.read_text(encoding="utf-8").splitlines()
        if numbers := [number for number, line in enumerate(lines, 1) if too_long(name, line)]:
            found[name] = numbers
    for name, numbers in sorted(found.items()):
        for number in numbers:
            print(f"{name}:{number}: longer than {LIMIT} characters")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
