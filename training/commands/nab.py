"""The command that judges detectors by NAB."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import console


class DetectorName(StrEnum):
    """What NAB can be asked to judge."""

    CONTEXTUAL = "contextual"
    VALUE_FOREST = "value-forest"
    LSTM_AUTOENCODER = "lstm-autoencoder"
    WINDOWED_GAUSSIAN = "windowed-gaussian"
    RANDOM = "random"
    NULL = "null"


class ProfileName(StrEnum):
    """NAB's application profiles."""

    STANDARD = "standard"
    LOW_FP = "reward_low_FP_rate"
    LOW_FN = "reward_low_FN_rate"


def nab(
    root: Annotated[
        Path,
        typer.Option(envvar="NAB_ROOT", help="A copy of NAB: the folder of data/ and labels/."),
    ],
    detector: Annotated[
        list[DetectorName] | None,
        typer.Option(
            help=r"Run only this; may be given again.  \[default: all]", show_default=False
        ),
    ] = None,
    profile: Annotated[
        list[ProfileName] | None,
        typer.Option(help=r"Judge by this one; may be given again.  \[default: all]"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("runs/nab"),
    threshold: Annotated[
        float | None,
        typer.Option(help=r"Of the anomaly score.  \[default: the best over the files at hand]"),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Runs of each detector that uses random numbers.")
    ] = 1,
    plots: Annotated[bool, typer.Option("--plots", help="Draw a picture a file.")] = False,
    curve: Annotated[
        bool, typer.Option("--curve", help="Measure what a sensitivity means in false alerts.")
    ] = False,
) -> None:
    """Judge detectors by the Numenta Anomaly Benchmark's own rules.

    Every file below ROOT/data counts. Each detector learns from a file's first 15 % and is judged
    after it. The contextual forest takes a second a file; the LSTM autoencoder, half a minute.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise typer.BadParameter("a finite number is needed", param_hint="--threshold")

    from training.nab.command import judge_by_nab

    judge_by_nab(
        root,
        [each.value for each in dict.fromkeys(detector or DetectorName)],
        [each.value for each in dict.fromkeys(profile or ProfileName)],
        out,
        threshold,
        seeds,
        plots=plots,
        curve=curve,
        console=console,
    )
