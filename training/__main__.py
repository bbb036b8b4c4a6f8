"""Train models, publish the winner, list what is live, roll back.

A first round: train, look at runs/ec2-cpu/report.html, publish runs/ec2-cpu --bucket B.
"""

from __future__ import annotations

import math
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from registry.errors import InvalidModelNameError
from registry.keys import check_name
from training.errors import TrainingError
from training.sources.nab import SEED_FILE
from training.sources.obtain import SourceOptions, obtain_series

# Commands import what they need when they run: keras takes seconds, which --help, an unknown
# option or a listing should not wait for.

app = typer.Typer(
    help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
)
console = Console()

Bucket = Annotated[str, typer.Option(envvar="MODEL_BUCKET", help="The stack's versioned bucket.")]
EndpointUrl = Annotated[
    str | None,
    typer.Option(envvar="AWS_ENDPOINT_URL", help="S3 elsewhere than AWS: the laptop's bucket."),
]


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


@app.command()
def train(
    name: Annotated[str, typer.Option(help="The model's name in bucket and API.")] = "ec2-cpu",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run.  [default: runs/NAME]", show_default=False),
    ] = None,
    nab_root: Annotated[
        Path | None,
        typer.Option(envvar="NAB_ROOT", help="A copy of NAB: the folder of data/ and labels/."),
    ] = None,
    nab_file: Annotated[
        str, typer.Option(help="The series: a path below NAB's data/.")
    ] = SEED_FILE,
    csv: Annotated[
        Path | None, typer.Option(help="A series of your own: columns timestamp and value.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="With --csv: JSON list of anomalies: times, or pairs of first and last."),
    ] = None,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Take a simulated EC2 CPU series.")
    ] = False,
    train_share: Annotated[
        float, typer.Option(min=0.1, max=0.9, help="First part, fitted on; the rest judges.")
    ] = 0.5,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of random numbers.")] = 42,
) -> None:
    """Fit the candidates, compare them, write artifacts and report.

    The series is NAB's (from --nab-root, the cache or a download), or your own with --csv; where
    NAB can't be had, one is simulated.
    """
    folder = out or Path("runs") / check_name(name)
    series = obtain_series(SourceOptions(csv, labels, nab_root, nab_file, simulated), console)

    from training.job import Settings
    from training.train_run import train_run

    train_run(series, Settings(check_name(name), train_share, seed), folder, console)
    console.print(f"Next: python -m training publish {folder} --bucket BUCKET")


@app.command()
def publish(
    folder: Annotated[Path, typer.Argument(help="Folder of a run, as train wrote it.")],
    bucket: Bucket,
    candidate: Annotated[
        str | None,
        typer.Option(help="Publish this kind instead of the winner: value-forest, ..."),
    ] = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Make a run's winner the live model, unless somebody else publishes meanwhile."""
    from training.publishing.s3 import s3_client
    from training.publishing.show import publish_run
    from training.run_folder import read_run

    run = read_run(folder)
    publish_run(s3_client(endpoint_url), bucket, run, candidate, console)
    console.print("Warm functions serve it within their MODEL_TTL_SECONDS. To undo:")
    console.print(f"  python -m training rollback {run.record['name']} --to VERSION_ID")


@app.command()
def models(bucket: Bucket, endpoint_url: EndpointUrl = None) -> None:
    """List every model and version, with figures, and which is live."""
    from training.publishing.s3 import s3_client
    from training.publishing.show import versions_table
    from training.publishing.versions import list_models

    s3 = s3_client(endpoint_url)
    names = list_models(s3, bucket)
    for name in names:
        console.print(versions_table(s3, bucket, name))
    if not names:
        console.print(f"Bucket {bucket} holds no model yet. Next: python -m training train")


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="The model.")],
    to: Annotated[str, typer.Option(help="VersionId, as models lists it.")],
    bucket: Bucket,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Make an older version live again; every version stays."""
    from training.publishing.publish import roll_back
    from training.publishing.s3 import s3_client
    from training.publishing.show import describe

    live = roll_back(s3_client(endpoint_url), bucket, check_name(name), to)
    console.print(f"{name} is version {to} again: {describe(live)}")
    console.print(f"  its new VersionId  {live.version_id}")
    console.print("Warm functions serve it within their MODEL_TTL_SECONDS.")


@app.command()
def nab(
    root: Annotated[
        Path,
        typer.Option(envvar="NAB_ROOT", help="A copy of NAB: the folder of data/ and labels/."),
    ],
    detector: Annotated[
        list[DetectorName] | None,
        typer.Option(help="Run this one; may be given again.  [default: all]", show_default=False),
    ] = None,
    profile: Annotated[
        list[ProfileName] | None,
        typer.Option(help="Judge by this one; may be given again.  [default: all]"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("runs/nab"),
    threshold: Annotated[
        float | None,
        typer.Option(help="Of the anomaly score.  [default: the best over the files at hand]"),
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


def main() -> int:
    """Run the command line; what goes wrong is one message, not a traceback."""
    try:
        app()
    except (TrainingError, InvalidModelNameError) as error:
        # what a message quotes must not be taken for markup
        Console(stderr=True).print(f"Error: {error}", style="red", markup=False, highlight=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
