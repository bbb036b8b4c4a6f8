"""A run on disk, as it is read back for publishing."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.artifact import KINDS, digest, unpack
from detector.errors import ArtifactError
from registry.keys import NAME_PATTERN
from training.errors import RunError

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
