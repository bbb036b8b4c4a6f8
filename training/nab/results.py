"""Writing results: NAB's own layout, and everything in one JSON file."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from training.errors import RunError
from training.nab.corpus import NabFile
from training.nab.judgement import Judgement
from training.nab.run import Scored

COLUMNS = ("timestamp", "value", "anomaly_score", "label")
SCORES_JSON = "scores.json"


def check_writable(out: Path) -> None:
    """Make the folder of the results, or raise `RunError` before anything is computed."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{out} can't be written: {error}; give another --out") from error


def folder_name(scored: Scored) -> str:
    """Return what a run is called in the results: seeds after the first are named."""
    return scored.detector if scored.seed == 0 else f"{scored.detector}.seed{scored.seed}"


def write_results(
    files: Sequence[NabFile],
    runs: Sequence[Scored],
    judgements: Sequence[Judgement],
    out: Path,
) -> None:
    """Write OUT/DETECTOR/CATEGORY/DETECTOR_FILE.csv for each run and file, and scores.json.

    Each file is written beside its place and moved there whole.

    Raises
    ------
    RunError
        If the folder can't be written.
    """
    try:
        for scored in runs:
            name = folder_name(scored)
            for file, scores in zip(files, scored.scores, strict=True):
                category, csv_name = file.name.split("/")
                rows = zip(
                    file.texts, file.values.tolist(), scores.tolist(), file.label, strict=True
                )
                write_csv(out / name / category / f"{name}_{csv_name}", rows)
        record = {
            "files": [file.name for file in files],
            "windows": sum(len(file.windows) for file in files),
            "judgements": [asdict(judgement) for judgement in judgements],
        }
        write_whole(out / SCORES_JSON, json.dumps(record, indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise RunError(f"{out} can't be written: {error}") from error


def write_csv(path: Path, rows: zip[tuple[str, float, float, int]]) -> None:
    """Write one file of results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, newline="", encoding="utf-8", delete=False
    ) as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    Path(file.name).replace(path)


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, encoding="utf-8", delete=False) as file:
        file.write(text)
    Path(file.name).replace(path)
