#!/usr/bin/env python3
"""A shared library of onloop exports its public classes and functions, and nothing else.

usage: exported_symbols.py LIBRARY...
"""
import pathlib
import re
import subprocess
import sys

# Templates and inline functions of the public headers call these symbols, so they must be exported although they are
# internal.
NEEDED_BY_TEMPLATES = [
    r"onloop::detail::Retire::operator\(\)\(onloop::detail::\w+\*\) const",  # Timer, Watch, Signal, Process
    r"onloop::detail::runtime_of\(onloop::Context&\)",
    r"onloop::detail::KeepAlive::.*",  # onloop::node::callback()
    r"onloop::detail::BlockingWork::.*",  # the base class of what run_blocking() makes
    r"(vtable|typeinfo|typeinfo name) for onloop::detail::BlockingWork",
]
# A shim exports its table and its two functions.
SHIM = r"onloop_shim_{name}|onloop::{name}\(.*\)"


def exported(library: str) -> list:
    listing = subprocess.run(["nm", "-D", "--defined-only", "-C", library], check=True, stdout=subprocess.PIPE,
                             text=True)
    return [line.split(None, 2)[2] for line in listing.stdout.splitlines()]


def is_allowed(name: str, symbol: str) -> bool:
    if name != "onloop":
        return re.fullmatch(SHIM.format(name=name.removeprefix("onloop-")), symbol) is not None
    if any(re.fullmatch(pattern, symbol) for pattern in NEEDED_BY_TEMPLATES):
        return True
    owner = re.sub(r"^(vtable|typeinfo|typeinfo name|guard variable|(non-)?virtual thunk) (for|to) ", "", symbol)
    # Each library has the instances of Function that it uses.
    return owner.startswith("onloop::") and not owner.startswith(("onloop::detail::", "onloop::Function<"))


def main() -> int:
    bad = 0
    for library in sys.argv[1:]:
        name = re.match(r"lib(.*)\.so", pathlib.Path(library).name)[1]
        symbols = exported(library)
        if not symbols:
            print(f"{library} exports nothing")
            bad += 1
        if name != "onloop" and f"onloop_shim_{name.removeprefix('onloop-')}" not in symbols:
            print(f"{library} does not export its table")
            bad += 1
        for symbol in symbols:
            if not is_allowed(name, symbol):
                print(f"{pathlib.Path(library).name} exports {symbol}")
                bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
