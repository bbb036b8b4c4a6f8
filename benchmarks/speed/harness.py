"""How contestants are measured: each in a process of its own on one core, all in turn."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

from benchmarks.speed import DisagreementError, WorkerError
from benchmarks.speed.installation import ROOT, Bucket, Installation
from benchmarks.speed.report import Curve, Figure, Growth, Row

T = TypeVar("T")

OnProgress = Callable[[str], None]
"""Called with what is being done."""

Times = dict[str, list[list[float]]]
"""The seconds of each call, by contestant and round."""

OURS = "this project"
PREDICT_EVENT: dict[str, Any] = json.loads((ROOT / "events/predict-anomaly.json").read_text())

LIBRARIES = ("OPENBLAS", "OMP", "MKL", "NUMEXPR")
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in LIBRARIES}

ALIKE = ONE_THREAD | {"PYTHONWARNINGS": "ignore"}
"""The environment of everything that is measured; a warning that is printed costs time, too."""


@dataclass(frozen=True)
class Setting:
    """Where and how thoroughly to measure.

    Attributes
    ----------
    installed : callable
        Returns what is installed for Python 3.13; raises `MissingError` where there is none.
    folder : Path
        For temporary files.
    """

    machine: Machine
    installed: Callable[[], Installation]
    bucket: Bucket
    folder: Path
    progress: OnProgress
    quick: bool

    def pick(self, full: T, quick: T) -> T:
        """Return the value for a full or a quick run."""
        return quick if self.quick else full

    def comparison(self, rounds: int, budget: float, tolerance: float | None = 0.0) -> Comparison:
        """Return how contestants are measured; quickly, a third of the rounds and the time."""
        if self.quick:
            rounds, budget = max(1, rounds // 3), budget / 3
        return Comparison(self.machine.pin, rounds, budget, tolerance)


@dataclass(frozen=True)
class Comparison:
    """How contestants are measured.

    Attributes
    ----------
    rounds : int
        In each, all run in turn; every other one in reverse order.
    budget : float
        Seconds that each has in a round; a call that takes longer is made once.
    tolerance : float or None
        How far numbers in their results may differ; None does not compare them.
    """

    pin: Sequence[str]
    rounds: int
    budget: float
    tolerance: float | None = 0.0

    def run(self, entries: Sequence[Entry], progress: OnProgress) -> Times:
        """Return the seconds of each call.

        Raises
        ------
        WorkerError
            If a contestant fails.
        DisagreementError
            If they return different results.
        """
        with self._started(entries, progress) as workers:
            return self._measure(workers, progress, {})

    def over_sizes(
        self,
        entries: Sequence[Entry],
        variants: Sequence[Mapping[str, int]],
        progress: OnProgress,
    ) -> list[Times]:
        """Return the seconds of each call for each of these arguments of the factories."""
        with self._started(entries, progress) as workers:
            return [self._measure(workers, progress, variant) for variant in variants]

    @contextmanager
    def _started(self, entries: Sequence[Entry], progress: OnProgress) -> Iterator[list[Worker]]:
        progress(f"starting {', '.join(entry.who for entry in entries)}")
        with ExitStack() as running:
            yield [running.enter_context(started(entry, self.pin)) for entry in entries]

    def _measure(
        self, workers: Sequence[Worker], progress: OnProgress, more: Mapping[str, int]
    ) -> Times:
        size = "".join(f"{count:,} {axis}: " for axis, count in more.items())
        outputs = []
        for worker in workers:
            progress(f"{size}making {worker.entry.who}")
            worker.make(**more)
            outputs.append(worker.output())
        self._compare([worker.entry for worker in workers], outputs)
        times: Times = {worker.entry.who: [] for worker in workers}
        for number in range(self.rounds):
            for worker in reversed(workers) if number % 2 else workers:
                progress(f"{size}round {number + 1} of {self.rounds}, {worker.entry.who}")
                times[worker.entry.who].append(worker.seconds(self.budget))
        return times

    def _compare(self, entries: Sequence[Entry], outputs: Sequence[Any]) -> None:
        for entry, output in zip(entries[1:], outputs[1:], strict=True):
            if self.tolerance is not None and not is_same(outputs[0], output, self.tolerance):
                raise DisagreementError(f"{entry.who} does not return what {entries[0].who} does")


def is_same(one: Any, other: Any, tolerance: float) -> bool:
    """Return whether two outputs are the same, but for so much in each number."""
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


def curves(measured: Sequence[Times]) -> tuple[Curve, ...]:
    """Return a curve for each contestant from what was measured at each size."""
    by_size = [medians(times) for times in measured]
    return tuple(Curve(each[0].who, each) for each in zip(*by_size, strict=True))


@dataclass(frozen=True)
class Entry:
    """One contestant: its name, and what makes it, in which Python and with which path.

    Attributes
    ----------
    factory : str
        A function of `contestants.py`.
    path : sequence of Path
        What it imports before the repository.
    """

    who: str
    factory: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    python: str | Path = sys.executable
    path: Sequence[Path] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Worker:
    """A contestant's process; `contestants.py` is the other end."""

    entry: Entry
    process: subprocess.Popen[str]
    errors: IO[str]

    def make(self, **more: Any) -> None:
        """Make the contestant, or another one by the same factory, with more arguments."""
        self._request({"make": {**self.entry.arguments, **more}})

    def seconds(self, budget: float) -> list[float]:
        """Return how long each call took, within a budget of seconds."""
        seconds: list[float] = self._request({"seconds": budget})
        return seconds

    def output(self) -> Any:
        """Return the contestant's output."""
        return self._request("output")

    def memory(self) -> int:
        """Return the bytes that the process holds."""
        held: int = self._request("memory")
        return held

    def _request(self, what: object) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write(json.dumps(what) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError) as error:
            code = self.process.wait()
            self.errors.seek(0)
            said = self.errors.read().strip()[-2000:]
            raise WorkerError(f"{self.entry.who} ended with {code}: {said}") from error


@contextmanager
def started(entry: Entry, pin: Sequence[str]) -> Iterator[Worker]:
    """Start a process for a contestant, bound by `pin` to a core; end it afterwards."""
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [
                *(*pin, str(entry.python), "-m", "benchmarks.speed.contestants"),
                entry.factory,
            ],
            cwd=ROOT,
            env={
                **os.environ,
                **ALIKE,
                "PYTHONPATH": os.pathsep.join(map(str, [*entry.path, ROOT])),
                **entry.environment,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            yield Worker(entry, process, errors)
        finally:
            process.kill()


@dataclass(frozen=True)
class Machine:
    """Where this runs.

    Attributes
    ----------
    core : int or None
        The core that everything measured is bound to; None where processes can't be bound.
    """

    cpu: str
    cores: int
    system: str
    core: int | None

    @property
    def pin(self) -> list[str]:
        """What is put before a command so that it runs on that core."""
        return [] if self.core is None else ["taskset", "--cpu-list", str(self.core)]

    def __str__(self) -> str:
        bound = "unbound" if self.core is None else "measured on one of them"
        return f"{self.cpu}, {self.cores} cores ({bound}), {self.system}"


def this_machine() -> Machine:
    """Return what this machine is; the last core is for what is measured."""
    can_bind = hasattr(os, "sched_getaffinity") and shutil.which("taskset")
    cores = sorted(os.sched_getaffinity(0)) if can_bind else []
    return Machine(
        cpu=processor(),
        cores=len(cores) or os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        core=cores[-1] if cores else None,
    )


def keep_off(machine: Machine) -> None:
    """Keep this process, and what it starts unbound, off the core that is measured on."""
    if machine.core is not None and machine.cores > 1:
        os.sched_setaffinity(0, os.sched_getaffinity(0) - {machine.core})


def processor() -> str:
    """Return the processor's name, where the system names it."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


Section = Callable[[Setting], Sequence[Row | Growth]]
"""Measures one part of the benchmark."""
