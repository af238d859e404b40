#!/usr/bin/env python3
"""Each file that a Markdown page names or links to exists.

usage: paths.py DIRECTORY
"""
import pathlib
import re
import sys

FOLDERS = "bench|cmake|conformance|core|docs|examples|include|shims|tests|tools"
NAMED = re.compile(rf"(?<!\[)`((?:{FOLDERS})/[\w./-]+)`")  # the text of a link may be a shorter form of its address
LINKED = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def missing(root: pathlib.Path, page: pathlib.Path):
    text = page.read_text(encoding="utf-8")
    for path in NAMED.findall(text):
        if "NAME" not in path and not (root / path).exists():
            yield path
    for path in LINKED.findall(text):
        if "://" not in path and not (page.parent / path).exists():
            yield path


def main() -> int:
    root = pathlib.Path(sys.argv[1])
    pages = [page for page in sorted(root.rglob("*.md"))
             if not page.relative_to(root).parts[0].startswith(("build", "."))]
    found = [(page.relative_to(root), path) for page in pages for path in missing(root, page)]
    for page, path in found:
        print(f"{page}: there is no {path}")
    return 1 if found or not pages else 0


if __name__ == "__main__":
    sys.exit(main())
