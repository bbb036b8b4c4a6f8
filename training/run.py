"""A run: what training found, and the folder that holds it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops_anomaly import detection
from ops_anomaly.aws.objects import NAME_PATTERN
from ops_anomaly.detection.artifact import digest, pack, unpack
from ops_anomaly.detection.timeline import utc
from ops_anomaly.detection.types import ArtifactError
from training import RunError
from training.alerts import RaisedAlert, raised_alerts
from training.backtest import (
    FAULT_KINDS,
    GRACE,
    MAX_PLACES,
    Backtest,
    Plan,
    median_delay,
    share_found,
)
from training.candidates import KINDS, MAX_EPOCHS, libraries_of
from training.comparison import BaselineRow, Evaluation, Figures
from training.sources.series import LabelledSeries

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Integers

METRICS = "metrics.json"
ARTIFACT = ".safetensors"
SUFFIXES = {".html", ".joblib", ".json", ".keras", ".png", ARTIFACT}

NEEDED = 32 * 2**20
"""Free bytes that a run should find: it took 5 MB at the most that was measured."""


@dataclass(frozen=True)
class Settings:
    """What decides a run besides its data.

    Attributes
    ----------
    name : str
        The model's name in the bucket.
    train_share : float
        The first part of the series, which is fitted on; the rest is the test part.
    seed : int
        Of the candidates' random numbers.
    max_epochs : int
        Of candidates that are trained by epochs.
    max_places : int
        Where each fault of the backtest is tried.
    kinds : tuple of str
        Of the candidates that compete.
    """

    name: str
    train_share: float = 0.5
    seed: int = 42
    max_epochs: int = MAX_EPOCHS
    max_places: int = MAX_PLACES
    kinds: tuple[str, ...] = KINDS


@dataclass(frozen=True)
class Run:
    """What a run found.

    Attributes
    ----------
    created : str
        ISO 8601, UTC.
    test_part : LabelledSeries
        The readings that the figures are of.
    plan : Plan
        The faults of the backtests.
    backtests : dict of str to Backtest
        One a candidate, by kind.
    winner, rule : Evaluation, str
        Which candidate won, and by what.
    sensitivities : list of Backtest
        What the winner would do at each.
    proposals : list of RaisedAlert
        What looks like an incident in the training part.
    artifacts : dict of str to bytes
        One artifact a candidate, by kind.
    """

    settings: Settings
    created: str
    series: LabelledSeries
    test_part: LabelledSeries
    evaluations: list[Evaluation]
    baseline: list[BaselineRow]
    plan: Plan
    backtests: dict[str, Backtest]
    winner: Evaluation
    rule: str
    sensitivities: list[Backtest]
    proposals: list[RaisedAlert]
    artifacts: dict[str, bytes]

    @property
    def alerts(self) -> list[RaisedAlert]:
        """What the winner would have raised on the test part, in order of time."""
        return raised_alerts(self.test_part, self.winner.detection)

    @property
    def alerts_a_week(self) -> float:
        """How many alerts of the winner to expect, by those on the test part."""
        return 7 * len(self.winner.detection.alerts) / self.test_part.days

    @property
    def run_id(self) -> str:
        """Name of the run's folder in the bucket: when, and which artifact."""
        artifact = self.artifacts[self.winner.candidate.kind]
        return f"{self.created.replace(':', '').replace('+0000', 'Z')}-{digest(artifact)[:8]}"


@dataclass(frozen=True)
class StoredRun:
    """A run's folder and its record."""

    folder: Path
    record: dict[str, Any]

    @property
    def winner(self) -> str:
        """Kind of the candidate that won."""
        return str(self.record["winner"])

    def as_json(self) -> dict[str, Any]:
        """Return the record and where it is, as a command prints it."""
        return {"folder": str(self.folder), **self.record}

    def artifact(self, kind: str) -> bytes:
        """Return the artifact of a candidate.

        Raises
        ------
        RunError
            If the run has no such candidate, the file is not what the run wrote, or this code
            can't serve it.
        """
        digests = self.record["artifacts"]
        if kind not in digests:
            raise RunError(f"{self.folder} has no candidate {kind!r}, but {', '.join(digests)}")
        path = self.folder / f"{kind}{ARTIFACT}"
        try:
            data = path.read_bytes()
        except OSError as error:
            raise RunError(f"{self.folder} lacks an artifact ({error}): train again") from error
        if digest(data) != digests[kind]:
            raise RunError(f"{path} was changed after the run: train again")
        try:
            unpack(data, digest(data))
        except ArtifactError as error:
            raise RunError(f"{path} can't be served: {error}") from error
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
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as parent:
            new = Path(parent) / "new"
            record = write_files(run, new, write_report)
            replace_folder(folder, new, backup=Path(parent) / "old")
    except OSError as error:
        raise RunError(f"{folder} can't be written: {error}") from error
    return StoredRun(folder, record)


def write_files(
    run: Run, folder: Path, write_report: Callable[[Run, Path], None]
) -> dict[str, Any]:
    """Write a run's files into a new folder, and return its record."""
    folder.mkdir()
    for kind, data in run.artifacts.items():
        (folder / f"{kind}{ARTIFACT}").write_bytes(data)
    for each in run.evaluations:
        each.candidate.save_estimator(folder)
    write_report(run, folder)
    record = run_record(run)
    (folder / METRICS).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return record


def replace_folder(folder: Path, new: Path, backup: Path) -> None:
    """Move `new` to `folder`; an earlier run there goes to `backup`, and comes back on failure."""
    if folder.exists():
        folder.rename(backup)
    try:
        new.rename(folder)
    except OSError:
        if backup.exists():
            backup.rename(folder)
        raise


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


def check_target(folder: Path, needed: int = NEEDED) -> None:
    """Check that a run can be written to `folder`, before the time of a training is spent.

    Parameters
    ----------
    needed
        Free bytes that there must be.

    Raises
    ------
    RunError
        If it holds something else than a run, is a mount point or not writable, or has too
        little space.
    """
    if os.path.ismount(folder):
        raise RunError(
            f"{folder} is a mount point, which a run can't replace; give a folder in it: "
            f"--out {folder / 'run'}"
        )
    check_replaceable(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as probe:
            (Path(probe) / "probe").write_bytes(bytes(4096))
        free = shutil.disk_usage(folder.parent).free
    except OSError as error:
        raise RunError(
            f"{folder} can't be written ({error.strerror}); give another --out"
        ) from error
    if free < needed:
        raise RunError(
            f"{folder} has too little space: {free / 2**20:,.0f} MB free, a run may take "
            f"{needed / 2**20:,.0f} MB; free some, or give another --out"
        )


def is_of_a_run(path: Path) -> bool:
    """Return whether a path is a file as a run writes them."""
    return path.is_file() and path.suffix in SUFFIXES


def read_run(folder: Path) -> StoredRun:
    """Read a run's folder.

    Raises
    ------
    RunError
        If it doesn't hold a run.
    """
    try:
        record = json.loads((folder / METRICS).read_text(encoding="utf-8"))
        check_record(record)
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(
            f"{folder} holds no training run ({error}); make one with: ops-anomaly train"
        ) from error
    return StoredRun(folder, record)


REQUIRED = {
    # what publishing relies on -> its pattern
    "name": NAME_PATTERN,
    "run": r"[0-9TZ-]+-[0-9a-f]{8}",
    "created": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00",
    "winner": r"[a-z-]+",
}


def check_record(record: Any) -> None:
    """Raise `ValueError` unless a run's record has what publishing relies on."""
    if not isinstance(record, dict):
        raise ValueError(f"{METRICS}: expected an object")
    wrong = [
        key
        for key, pattern in REQUIRED.items()
        if not (isinstance(record.get(key), str) and re.fullmatch(pattern, record[key]))
    ]
    artifacts = record.get("artifacts")
    if not isinstance(artifacts, dict) or not set(KINDS) >= artifacts.keys():
        wrong.append("artifacts")
    if wrong:
        raise ValueError(f"{METRICS} has no valid {', '.join(wrong)}")


def run_record(run: Run) -> dict[str, Any]:
    """Return the content of metrics.json: everything measured, and what it was measured on."""
    return {
        "name": run.settings.name,
        "run": run.run_id,
        "created": run.created,
        "winner": run.winner.candidate.kind,
        "rule": run.rule,
        "settings": asdict(run.settings) | {"kinds": list(run.settings.kinds)},
        "fingerprint": fingerprint(run.series, run.settings),
        "data": {
            "origin": run.series.origin,
            "sha256": run.series.digest,
            "left_out": range_record(run.series.left_out),
        },
        "artifacts": {kind: digest(data) for kind, data in run.artifacts.items()},
        "alerts_a_week": run.alerts_a_week,
        "alerts": [alert_record(each) for each in run.alerts],
        "baseline_experiment": [
            {
                "kind": row.kind,
                **asdict(row.confusion),
                "precision": row.confusion.precision,
                "recall": row.confusion.recall,
                "f1": row.confusion.f1,
            }
            for row in run.baseline
        ],
        "out_of_sample": [
            {
                "kind": each.candidate.kind,
                "threshold": each.candidate.detector.threshold,
                **figures_record(each.figures),
                "readings": asdict(each.readings),
            }
            for each in run.evaluations
        ],
        "backtest": backtest_record(run.plan, run.backtests, run.sensitivities),
        "proposed_exclusions": [alert_record(each) for each in run.proposals],
    }


def alert_record(alert: RaisedAlert) -> dict[str, Any]:
    """Return an alert as JSON holds it."""
    return {
        "first": utc(alert.first),
        "last": utc(alert.last),
        "value": alert.value,
        "expected": None if math.isnan(alert.expected) else alert.expected,
        "severity": alert.severity,
        "reason": alert.reason,
        "known": alert.is_known,
    }


def fingerprint(series: LabelledSeries, settings: Settings) -> str:
    """Return a digest of all that decides a run: data, settings, library versions, source code."""
    parts = [series.digest, repr(settings), repr(library_versions())]
    for package in (Path(__file__).parent, Path(detection.__file__).parent):
        parts += [path.read_text("utf-8") for path in sorted(package.rglob("*.py"))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def library_versions(kinds: Collection[str] = KINDS) -> dict[str, str]:
    """Return the versions of the libraries that decide the artifacts' bytes of some kinds."""
    return {name: importlib.metadata.version(name) for name in libraries_of(kinds)}


def artifact(
    each: Evaluation,
    backtest: Backtest,
    series: LabelledSeries,
    cut: int,
    name: str,
    kinds: Collection[str] = KINDS,
) -> bytes:
    """Return a candidate's artifact: its detector at the end of the series, incidents left out.

    Parameters
    ----------
    kinds
        Of the candidates that competed: the versions of their libraries are recorded.
    """
    after_training = series.part(cut, len(series)).normal
    _, detector = each.candidate.detector.update(after_training)
    return pack(
        detector,
        name,
        libraries=library_versions(kinds),
        training_data=data_record(series, cut),
        figures=figures_record(each.figures) | {"backtest": backtest_summary(backtest)},
    )


def data_record(series: LabelledSeries, cut: int) -> dict[str, Any]:
    """Return what a model's manifest says of the training data."""
    return {
        "origin": series.origin,
        "sha256": series.digest,
        "first": utc(int(series.times[0])),
        "last": utc(int(series.times[-1])),
        "readings": len(series),
        "step_ms": series.series.step,
        "readings_fitted_on": cut,
        "left_out": range_record(series.left_out),
    }


def range_record(ranges: Integers) -> list[list[str]]:
    """Return ranges of time, (c, 2), as pairs of ISO 8601."""
    return [[utc(first), utc(last)] for first, last in ranges.tolist()]


def figures_record(figures: Figures) -> dict[str, Any]:
    """Return figures as JSON holds them, in a manifest too."""
    return {
        "evaluated_on": "the readings after those it was fitted on, by anomaly windows",
        "windows": figures.windows,
        "windows_found": figures.windows_found,
        "window_recall": figures.window_recall,
        "precision": figures.precision,
        "f1": figures.f1,
        "alerts": figures.alerts,
        "false_alarms": figures.false_alarms,
        "false_alarms_a_day": figures.false_alarms_a_day,
        "mean_delay_minutes": figures.mean_delay_minutes,
    }


def backtest_record(
    plan: Plan, backtests: Mapping[str, Backtest], sensitivities: Sequence[Backtest]
) -> dict[str, Any]:
    """Return all that the backtests measured."""
    return {
        "seed": plan.seed,
        "spread": plan.spread,
        "grace_readings": GRACE,
        "places": [utc(int(plan.part.times[start])) for start in plan.places],
        "candidates": [
            {
                "kind": kind,
                "sensitivity": backtest.sensitivity,
                **backtest_summary(backtest),
                "faults": fault_records(backtest),
            }
            for kind, backtest in backtests.items()
        ],
        "sensitivities_of_the_winner": [
            {"sensitivity": each.sensitivity, **backtest_summary(each)} for each in sensitivities
        ],
    }


def backtest_summary(backtest: Backtest) -> dict[str, Any]:
    """Return a backtest in a few figures, in a manifest too."""
    return {
        "faults_tried": len(backtest.trials),
        "share_found": backtest.mean_share,
        "share_found_by_kind": backtest.shares,
        "alerts_a_week": backtest.alerts_a_week,
    }


def fault_records(backtest: Backtest) -> list[dict[str, Any]]:
    """Return the figures of each kind of fault at each size."""
    trials = {
        (kind, size): backtest.of(kind.name, size) for kind in FAULT_KINDS for size in kind.sizes
    }
    return [
        {
            "kind": kind.name,
            "size": size,
            "unit": "readings" if kind.length is None else "spreads",
            "tried": len(tried),
            "share_found": share_found(tried),
            "median_delay_minutes": median_delay(tried),
        }
        for (kind, size), tried in trials.items()
    ]
