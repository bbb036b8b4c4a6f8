"""A run on disk: written whole or not at all, and read back for publishing."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from detector.artifact import digest
from training.errors import RunError
from training.job import Run, figures_record, fingerprint

METRICS = "metrics.json"
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class StoredRun:
    """A run's folder and its record."""

    folder: Path
    record: dict[str, Any]

    @property
    def winner(self) -> str:
        """Kind of the candidate that won."""
        return str(self.record["winner"])

    def artifact(self, kind: str) -> bytes:
        """Return the artifact of a candidate.

        Raises
        ------
        RunError
            If the run has no such candidate, or the file is not what the run wrote.
        """
        digests = self.record["artifacts"]
        if kind not in digests:
            raise RunError(f"{self.folder} has no candidate {kind!r}, but {', '.join(digests)}")
        data = (self.folder / f"{kind}{SUFFIX}").read_bytes()
        if digest(data) != digests[kind]:
            raise RunError(f"{self.folder / kind}{SUFFIX} was changed after the run: train again")
        return data


def write_run(run: Run, folder: Path, write_report: Callable[[Run, Path], None]) -> StoredRun:
    """Write a run into `folder`, replacing an earlier run there.

    Everything is written beside it first and moved at the end, so that the folder never holds
    half a run.

    Raises
    ------
    RunError
        If the folder holds something else than a run, or can't be written.
    """
    check_replaceable(folder)
    record = run_record(run)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as parent:
            new, old = Path(parent) / "new", Path(parent) / "old"
            new.mkdir()
            for kind, data in run.artifacts.items():
                (new / f"{kind}{SUFFIX}").write_bytes(data)
            for each in run.judged:
                each.candidate.save_estimator(new)
            write_report(run, new)
            (new / METRICS).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
    except OSError as error:
        raise RunError(f"{folder} can't be written: {error}") from error
    return StoredRun(folder, record)


def check_replaceable(folder: Path) -> None:
    """Raise `RunError` if `folder` holds anything but an earlier run."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; give a folder with --out")
    if folder.exists() and any(folder.iterdir()) and not (folder / METRICS).is_file():
        raise RunError(f"{folder} holds something that is not a training run; give another --out")


def read_run(folder: Path) -> StoredRun:
    """Read a run's folder.

    Raises
    ------
    RunError
        If it is none.
    """
    try:
        record = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"{folder} holds no training run ({error}); make one with: python -m training train"
        ) from error
    missing = {"name", "run", "created", "winner", "artifacts"} - record.keys()
    if missing:
        raise RunError(f"{folder / METRICS} lacks {', '.join(sorted(missing))}: train again")
    return StoredRun(folder, record)


def run_record(run: Run) -> dict[str, Any]:
    """Return what metrics.json says: everything measured, and what it was measured on."""
    return {
        "name": run.settings.name,
        "run": run.run_id,
        "created": run.created,
        "winner": run.winner.candidate.kind,
        "settings": asdict(run.settings),
        "fingerprint": fingerprint(run.series, run.settings),
        "data": {"origin": run.series.origin, "sha256": run.series.digest},
        "artifacts": {kind: digest(data) for kind, data in run.artifacts.items()},
        "seed_experiment": [
            {
                "kind": row.kind,
                **asdict(row.confusion),
                "precision": row.confusion.precision,
                "recall": row.confusion.recall,
                "f1": row.confusion.f1,
            }
            for row in run.seed_rows
        ],
        "honest": [
            {
                "kind": each.candidate.kind,
                "threshold": each.candidate.detector.threshold,
                **figures_record(each.figures),
                "readings": asdict(each.readings),
            }
            for each in run.judged
        ],
    }
