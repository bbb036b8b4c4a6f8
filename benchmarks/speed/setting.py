"""What every section is handed: machine, installation, bucket, and how thoroughly to measure."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.speed.bucket import Bucket
from benchmarks.speed.contest import Contest, Tell
from benchmarks.speed.figures import Growth, Row
from benchmarks.speed.installation import Installation
from benchmarks.speed.machine import Machine
from benchmarks.speed.process import ROOT

T = TypeVar("T")

OURS = "this project"
PREDICT_EVENT: dict[str, Any] = json.loads((ROOT / "events/predict-anomaly.json").read_text())


@dataclass(frozen=True)
class Setting:
    """Where and how thoroughly to measure.

    Attributes
    ----------
    installed : callable
        Returns what is installed for Python 3.13; raises `MissingError` where there is none.
    folder : Path
        For what is only needed while this runs.
    """

    machine: Machine
    installed: Callable[[], Installation]
    bucket: Bucket
    folder: Path
    tell: Tell
    quick: bool

    def pick(self, full: T, quick: T) -> T:
        """Return what fits how thorough this is."""
        return quick if self.quick else full

    def contest(self, rounds: int, budget: float, tolerance: float | None = 0.0) -> Contest:
        """Return how contestants are measured; quickly, a third of the rounds and the time."""
        if self.quick:
            rounds, budget = max(1, rounds // 3), budget / 3
        return Contest(self.machine.pin, rounds, budget, tolerance)


Section = Callable[[Setting], list[Row | Growth]]
