#!/usr/bin/env python3
"""An include points down the layers of core/, never up; and nothing below include/ or core/ includes a shim.

usage: layers.py DIRECTORY
"""
import pathlib
import re
import sys

# What each folder of core/ may include besides itself.
BELOW = {
    "base": set(),
    "loop": {"base"},
    "runtime": {"base", "loop"},
    "blocking": {"base", "loop", "runtime"},
    "net": {"base", "loop", "runtime", "blocking"},
    "takeover": {"base", "runtime", "net"},
    "process": {"base", "runtime", "net"},
    "protocol": {"base"},
    "node": {"base", "runtime", "net"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def wrong(root: pathlib.Path, path: pathlib.Path):
    parts = path.relative_to(root).parts
    for included in INCLUDE.findall(path.read_text(encoding="utf-8")):
        target = included.split("/")
        if parts[0] == "core":
            allowed = {parts[1]} | BELOW.get(parts[1], set())
            if target[0] != "core" or len(target) < 3 or target[1] not in allowed:
                yield included
        elif parts[0] == "shims" and target[0] != "shims":
            yield included
        elif parts[0] == "include":
            yield included  # a public header includes public headers only, as <onloop/...>


def main() -> int:
    root = pathlib.Path(sys.argv[1])
    files = [path for folder in ("core", "include", "shims") for path in sorted((root / folder).rglob("*.[hc]*"))]
    found = [(path.relative_to(root), included) for path in files for included in wrong(root, path)]
    for path, included in found:
        print(f'{path}: must not include "{included}"')
    folders = {path.name for path in (root / "core").iterdir() if path.is_dir()}
    for unknown in sorted(folders ^ BELOW.keys()):
        print(f"core/{unknown}: this folder and the layers in {pathlib.Path(__file__).name} differ")
    return 1 if found or folders != BELOW.keys() or not files else 0


if __name__ == "__main__":
    sys.exit(main())
