"""A contestant in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from benchmarks.speed.errors import WorkerError
from benchmarks.speed.machine import ALIKE

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Entry:
    """One contestant: who it is, and what makes it, in a process of which Python, with which path.

    Attributes
    ----------
    factory : str
        module:function under benchmarks.speed.peers.
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
    """A contestant's process: see `worker.py` for what it can be told."""

    entry: Entry
    process: subprocess.Popen[str]
    errors: IO[str]

    def make(self, **more: Any) -> None:
        """Make the contestant, or another one by the same factory, with more arguments."""
        self._tell({"make": {**self.entry.arguments, **more}})

    def seconds(self, budget: float) -> list[float]:
        """Return how long each call took, within a budget of seconds."""
        return self._tell({"seconds": budget})

    def answer(self) -> Any:
        """Return what the contestant answers."""
        return self._tell("answer")

    def memory(self) -> int:
        """Return the bytes that the process holds."""
        return self._tell("memory")

    def _tell(self, what: object) -> Any:
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
                *(*pin, str(entry.python), "-m", "benchmarks.speed.worker"),
                f"benchmarks.speed.peers.{entry.factory}",
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
