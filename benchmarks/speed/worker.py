"""A process that is measured: it makes a contestant, and runs it, whenever it is told to.

Told and answered in lines of JSON, over standard input and what standard output was: what handlers
print goes nowhere.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from itertools import repeat
from math import ceil
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

GRAIN = 200e-6
"""Seconds of work that are timed at once, at least: the clock itself takes 50 ns."""


def seconds_a_call(run: Callable[[], object], budget: float) -> list[float]:
    """Return how long each call took, or the mean of some where a call is over before the clock.

    Parameters
    ----------
    budget
        Seconds to spend. A call that takes longer is made once.
    """
    began = perf_counter()
    run()
    first = perf_counter() - began
    if first >= budget:
        return [first]
    number = ceil(GRAIN / first) if first < GRAIN / 10 else 1
    times = []
    until = perf_counter() + budget
    while (began := perf_counter()) < until:
        for _ in repeat(None, number):
            run()
        times.append((perf_counter() - began) / number)
    return times


def resident_bytes() -> int:
    """Return the memory of this process, as Linux counts it."""
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Do as told with what the argument names, module:factory, until input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    module, _, factory = sys.argv[1].partition(":")
    make = getattr(import_module(module), factory)
    for line in sys.stdin:
        given: Any = None
        match json.loads(line):
            case {"make": dict(arguments)}:
                contestant = make(**arguments)
            case {"seconds": float(budget)}:
                given = seconds_a_call(contestant.run, budget)
            case "answer":
                given = contestant.answer()
            case "memory":
                given = resident_bytes()
            case _:
                raise ValueError(line)
        answers.write(json.dumps(given) + "\n")


if __name__ == "__main__":
    main()
