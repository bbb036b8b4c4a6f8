"""Writing a run to disk: whole or not at all."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from detector.artifact import digest
from training.errors import RunError
from training.job import Run, fingerprint
from training.records import backtest_record, figures_record, range_record
from training.run_folder import METRICS, SUFFIX, StoredRun, check_replaceable


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
