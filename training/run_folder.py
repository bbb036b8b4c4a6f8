"""A run on disk, as it is read back for publishing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.artifact import digest, unpack
from detector.errors import ArtifactError
from training.errors import RunError

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
            If the run has no such candidate, the file is not what the run wrote, or no code of
            this version could serve it.
        """
        digests = self.record["artifacts"]
        if kind not in digests:
            raise RunError(f"{self.folder} has no candidate {kind!r}, but {', '.join(digests)}")
        data = (self.folder / f"{kind}{SUFFIX}").read_bytes()
        if digest(data) != digests[kind]:
            raise RunError(f"{self.folder / kind}{SUFFIX} was changed after the run: train again")
        try:
            unpack(data, digest(data))
        except ArtifactError as error:
            raise RunError(f"{self.folder / kind}{SUFFIX} can't be served: {error}") from error
        return data


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
