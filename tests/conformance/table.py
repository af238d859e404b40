#!/usr/bin/env python3
"""Writes docs/conformance.md: which cases of the conformance kit run on which loop, and why some do not.

usage: table.py BUILD_DIRECTORY      runs its conformance programs; exit status 1 if a case fails
"""
import collections
import pathlib
import re
import subprocess
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOOPS = ("native", "native_poll", "libevent", "libuv", "glib", "sdevent", "scripted")
TITLES = ("native", "native-poll", "libevent", "libuv", "GLib", "sd-event", "scripted")


def loop_of(provider):
    """The loop of a provider: the longest loop name that begins the provider's name. The loop of
    native_poll_aggregate is native_poll."""
    return max((loop for loop in LOOPS if provider.startswith(loop)), key=len)


def run(program):
    """(case, behaviour, provider) of each test that passed, and (provider, case, reason) of each exception."""
    result = subprocess.run([program], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{program}: exit status {result.returncode}\n{result.stdout[-5000:]}{result.stderr[-5000:]}")
    passed = re.findall(r"^\[       OK \] Kit/\w+\.C(\d+[a-d]?)_(\w+)/(\w+)", result.stdout, re.MULTILINE)
    exceptions = []
    provider = None
    for line in result.stdout[result.stdout.rindex("\nprovider "):].splitlines()[2:]:
        if match := re.match(r"(\w+) +\d+ +\d+ +\d+  (.*)", line):
            provider, line = match.groups()
        if match := re.fullmatch(r" *((?:\d+[a-d]? )+)\((.*)\)", line):
            exceptions += [(provider, case, match[2]) for case in match[1].split()]
    return passed, exceptions


def order(case):
    number, letter = re.fullmatch(r"(\d+)([a-d]?)", case).groups()
    return int(number), letter


def item(text):
    """The text as an item of a Markdown list, in lines of at most 118 characters."""
    return textwrap.fill(text, 118, initial_indent="- ", subsequent_indent="  ", break_long_words=False,
                         break_on_hyphens=False)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    programs = sorted(pathlib.Path(sys.argv[1]).glob("tests/conformance/conformance*"))
    tests = collections.Counter()
    providers = collections.defaultdict(set)
    behaviours = {}
    reasons = collections.defaultdict(lambda: collections.defaultdict(set))
    for program in (p for p in programs if p.is_file() and "." not in p.name):
        passed, exceptions = run(program)
        for case, behaviour, provider in passed:
            tests[case, loop_of(provider)] += 1
            providers[loop_of(provider)].add(provider)
            behaviours.setdefault(case, behaviour.replace("_", " "))
        for provider, case, reason in exceptions:
            reasons[reason][case].add(provider)

    lines = ["# Conformance: the cases, and the loops that they run on", "",
             "Written by `tests/conformance/table.py BUILD_DIRECTORY`. A cell is the number of tests of that case that",
             "ran and passed on all ways of using the loop together: owned and foreign, direct and aggregate, back",
             "ends. No cell is empty without a reason, below. What one host alone can show (nesting on GLib, 65 and",
             "66; uv_loop_close(), 75; priorities, forks) is in its own file, `tests/conformance/shims/NAME.cpp`.", "",
             "| | case | " + " | ".join(TITLES) + " |", "|---|---|" + "---|" * len(TITLES)]
    for case in sorted(behaviours, key=order):
        cells = [str(tests[case, loop]) if tests[case, loop] else "–" for loop in LOOPS]
        lines.append(f"| {case} | {behaviours[case]} | " + " | ".join(cells) + " |")
    totals = [str(sum(count for (_, of), count in tests.items() if of == loop)) for loop in LOOPS]
    lines += ["| | **tests** | " + " | ".join(totals) + " |", "", "## Ways of using each loop", ""]
    lines += [item(f"{title}: {', '.join(sorted(providers[loop]))}")
              for loop, title in zip(LOOPS, TITLES) if providers[loop]]
    lines += ["", "## Exceptions", "", "A provider says for which cases its loop is not asked, and why:", ""]
    for reason in sorted(reasons):
        by_providers = collections.defaultdict(list)
        for case, of in reasons[reason].items():
            by_providers[tuple(sorted(of))].append(case)
        for of, cases in sorted(by_providers.items()):
            lines.append(item(f"{', '.join(sorted(cases, key=order))}: {reason}. ({', '.join(of)})"))
    (ROOT / "docs/conformance.md").write_text("\n".join(lines) + "\n")
    print(f"{sum(tests.values())} tests passed")


if __name__ == "__main__":
    main()
