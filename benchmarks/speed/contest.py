"""Contestants in processes of their own, run in turn."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.speed.errors import DisagreementError
from benchmarks.speed.figures import Figure
from benchmarks.speed.process import Entry, Worker, started

Tell = Callable[[str], None]

Times = dict[str, list[list[float]]]
"""The seconds of each call, by contestant and round."""


@dataclass(frozen=True)
class Contest:
    """How contestants are measured.

    Attributes
    ----------
    rounds : int
        In each, all run in turn; every other one in reverse order.
    budget : float
        Seconds that each has in a round; a call that takes longer is made once.
    tolerance : float or None
        How far numbers in their answers may differ; None does not compare them.
    """

    pin: Sequence[str]
    rounds: int
    budget: float
    tolerance: float | None = 0.0

    def hold(self, entries: Sequence[Entry], tell: Tell) -> Times:
        """Return the seconds of each call.

        Raises
        ------
        WorkerError
            If a contestant fails.
        DisagreementError
            If they answer differently.
        """
        with self._started(entries, tell) as workers:
            return self._measure(workers, tell, {})

    def grow(
        self, entries: Sequence[Entry], variants: Sequence[Mapping[str, int]], tell: Tell
    ) -> list[Times]:
        """Return the seconds of each call for each of these arguments of the factories."""
        with self._started(entries, tell) as workers:
            return [self._measure(workers, tell, variant) for variant in variants]

    @contextmanager
    def _started(self, entries: Sequence[Entry], tell: Tell) -> Iterator[list[Worker]]:
        tell(f"starting {', '.join(entry.who for entry in entries)}")
        with ExitStack() as running:
            yield [running.enter_context(started(entry, self.pin)) for entry in entries]

    def _measure(self, workers: Sequence[Worker], tell: Tell, more: Mapping[str, int]) -> Times:
        size = "".join(f"{count:,} {axis}: " for axis, count in more.items())
        answers = []
        for worker in workers:
            tell(f"{size}making {worker.entry.who}")
            worker.make(**more)
            answers.append(worker.answer())
        self._compare([worker.entry for worker in workers], answers)
        times: Times = {worker.entry.who: [] for worker in workers}
        for number in range(self.rounds):
            for worker in reversed(workers) if number % 2 else workers:
                tell(f"{size}round {number + 1} of {self.rounds}, {worker.entry.who}")
                times[worker.entry.who].append(worker.seconds(self.budget))
        return times

    def _compare(self, entries: Sequence[Entry], answers: Sequence[Any]) -> None:
        for entry, answer in zip(entries[1:], answers[1:], strict=True):
            if self.tolerance is not None and not is_same(answers[0], answer, self.tolerance):
                raise DisagreementError(f"{entry.who} does not answer what {entries[0].who} does")


def is_same(one: Any, other: Any, tolerance: float) -> bool:
    """Tell whether two answers are the same, but for so much in each number."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(
            is_same(a, b, tolerance) for a, b in zip(one, other, strict=True)
        )
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=0.0, abs_tol=tolerance)
    return bool(one == other)


def medians(times: Times) -> list[Figure]:
    """Return the median call of each round, by contestant."""
    return [Figure.of(who, map(statistics.median, rounds)) for who, rounds in times.items()]
