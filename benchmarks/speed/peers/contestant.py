"""What is measured: something that runs, and what it answers, so that answers can be compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Contestant:
    """One of those that do the same work.

    Attributes
    ----------
    run : callable
        Does the work once; this is what is timed.
    answer : callable
        Returns what came of it, or of a part of it, as JSON has it.
    """

    run: Callable[[], object]
    answer: Callable[[], Any]
