"""What was measured, as JSON holds it: for a model's manifest, and for a run's metrics.json.

A run on disk, as it is read back for publishing.

Writing a run to disk: whole or not at all.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ops_anomaly.aws.objects import NAME_PATTERN
from ops_anomaly.detection.artifact import KINDS, digest, unpack
from ops_anomaly.detection.types import ArtifactError
from training.errors import RunError
from training.job import Run, fingerprint
from training.records import (
    backtest_record,
    figures_record,
    range_record,
)

METRICS = "metrics.json"
SUFFIX = ".safetensors"
SUFFIXES = {".html", ".joblib", ".json", ".keras", ".png", SUFFIX}

RECORD = {
    # what publishing relies on -> what it looks like
    "name": NAME_PATTERN,
    "run": r"[0-9TZ-]+-[0-9a-f]{8}",
    "created": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00",
    "winner": r"[a-z-]+",
}


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
            If the run has no such candidate, the file is not what the run wrote, or no code of
            this version could serve it.
        """
        digests = self.record["artifacts"]
        if kind not in digests:
            raise RunError(f"{self.folder} has no candidate {kind!r}, but {', '.join(digests)}")
        try:
            data = (self.folder / f"{kind}{SUFFIX}").read_bytes()
        except OSError as error:
            raise RunError(f"{self.folder} lacks an artifact ({error}): train again") from error
        if digest(data) != digests[kind]:
            raise RunError(f"{self.folder / kind}{SUFFIX} was changed after the run: train again")
        try:
            unpack(data, digest(data))
        except ArtifactError as error:
            raise RunError(f"{self.folder / kind}{SUFFIX} can't be served: {error}") from error
        return data


def check_replaceable(folder: Path) -> None:
    """Raise `RunError` if `folder` holds anything but an earlier run: it would be lost."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; give a folder with --out")
    entries = list(folder.iterdir()) if folder.exists() else []
    if not entries:
        return
    foreign = [entry.name for entry in entries if not is_of_a_run(entry)]
    if foreign:
        raise RunError(
            f"{folder} holds {foreign[0]}, which is not of a training run; give another --out"
        )
    try:
        read_run(folder)
    except RunError as error:
        raise RunError(f"{error}; delete {folder} or give another --out") from error


def is_of_a_run(path: Path) -> bool:
    """Tell whether a path is a file as a run writes them."""
    return path.is_file() and path.suffix in SUFFIXES


def read_run(folder: Path) -> StoredRun:
    """Read a run's folder.

    Raises
    ------
    RunError
        If it is none.
    """
    try:
        record = json.loads((folder / METRICS).read_text(encoding="utf-8"))
        check_record(record)
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(
            f"{folder} holds no training run ({error}); make one with: python -m training train"
        ) from error
    return StoredRun(folder, record)


def check_record(record: Any) -> None:
    """Raise `ValueError` unless a run's record has what publishing relies on."""
    if not isinstance(record, dict):
        raise ValueError(f"{METRICS} is no object")
    wrong = [
        key
        for key, pattern in RECORD.items()
        if not (isinstance(record.get(key), str) and re.fullmatch(pattern, record[key]))
    ]
    artifacts = record.get("artifacts")
    if not isinstance(artifacts, dict) or not KINDS.keys() >= artifacts.keys():
        wrong.append("artifacts")
    if wrong:
        raise ValueError(f"{METRICS} has no valid {', '.join(wrong)}")


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
            try:
                new.rename(folder)
            except OSError:
                if old.exists():
                    old.rename(folder)
                raise
    except OSError as error:
        raise RunError(f"{folder} can't be written: {error}") from error
    return StoredRun(folder, record)


def run_record(run: Run) -> dict[str, Any]:
    """Return what metrics.json says: everything measured, and what it was measured on."""
    return {
        "name": run.settings.name,
        "run": run.run_id,
        "created": run.created,
        "winner": run.winner.candidate.kind,
        "rule": run.rule,
        "settings": asdict(run.settings),
        "fingerprint": fingerprint(run.series, run.settings),
        "data": {
            "origin": run.series.origin,
            "sha256": run.series.digest,
            "left_out": range_record(run.series.left_out),
        },
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
        "backtest": backtest_record(run.plan, run.backtests, run.sensitivities),
        "proposed_exclusions": [
            {
                "first": str(each.first),
                "last": str(each.last),
                "severity": each.severity,
                "reason": each.reason,
            }
            for each in run.proposals
        ],
    }
