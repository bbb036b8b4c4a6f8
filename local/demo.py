"""The main job on the laptop: data, training, publishing, serving, watching."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from local.bucket import BUCKET, local_bucket
from local.door import listen, serve
from local.environment import CREDENTIALS, forget_aws, use_local_bucket
from local.requests_of_the_seed import EXCHANGES
from local.watch_stack import make_watch_stack
from training.errors import RunError
from training.run_folder import StoredRun, read_run
from training.sources.obtain import SourceOptions, obtain_series
from training.sources.series import Series

MODEL = "ec2-cpu"
RUN_FOLDER = Path("runs") / MODEL
TTL_SECONDS = 2.0


def demo(port: int, nab_root: Path | None, *, once: bool, console: Console) -> None:
    """Run the whole line; serve until interrupted, or with `once` end after the answers.

    Raises
    ------
    LocalError
        If the port is in use, or an answer is wrong.
    TrainingError
        If the data or the run's folder can't be used.
    """
    with ExitStack() as started:
        # taken first: it would be a pity to train and only then find it in use
        listener = started.enter_context(listen(port))
        step(console, 1, "Data and training")
        series = obtain_series(SourceOptions(nab_root=nab_root), console)
        run = trained_run(series, console)

        step(console, 2, "A versioned bucket, and the winner in it")
        forget_aws()
        endpoint_url = started.enter_context(local_bucket())
        use_local_bucket(endpoint_url, BUCKET, MODEL, TTL_SECONDS)
        publish(run, endpoint_url, console)

        step(console, 3, "The API")
        from api.handler import lambda_handler  # reads the environment when it is imported
        from local.detection import show_detection

        url = started.enter_context(serve(lambda_handler, listener))
        show_answers(url, console)
        show_detection(url, series, console)

        step(console, 4, "The watcher")
        stack = make_watch_stack(endpoint_url, "ops-anomaly")
        os.environ.update(stack.environment())
        from local.watching import show_watching

        show_watching(stack, BUCKET, console)
        if once:
            console.print("All answers are as they should be.")
            return
        show_next_steps(url, endpoint_url, console)
        wait_for_interrupt()
        console.print("Stopped: API and bucket are gone; the run stays in " + str(RUN_FOLDER))


def step(console: Console, number: int, title: str) -> None:
    """Print the heading of a step."""
    console.print(f"\n[bold]{number}. {title}[/bold]")


def trained_run(series: Series, console: Console) -> StoredRun:
    """Return the run in `RUN_FOLDER` if it is of this data and code, else train one."""
    from training.job import Settings, fingerprint

    settings = Settings(MODEL)
    try:
        run = read_run(RUN_FOLDER)
        if run.record.get("fingerprint") == fingerprint(series, settings):
            run.artifact(run.winner)  # raises where it is not what the run wrote
            console.print(
                f"Reusing the run in {RUN_FOLDER}: same data, code and versions. "
                f"Winner: [bold green]{run.winner}[/bold green]. Report: {RUN_FOLDER}/report.html"
            )
            return run
    except RunError:
        pass  # there is none yet, or it can't be used
    from training.train_run import train_run

    return train_run(series, settings, RUN_FOLDER, console)


def publish(run: StoredRun, endpoint_url: str, console: Console) -> None:
    """Publish the run's winner into the local bucket."""
    from training.publishing.s3 import s3_client
    from training.publishing.show import publish_run

    publish_run(s3_client(endpoint_url), BUCKET, run, None, console)


def show_answers(url: str, console: Console) -> None:
    """Send the seed's requests and print each as a curl line with its answer."""
    for exchange in EXCHANGES:
        answer = exchange.send(url)
        console.print(f"$ {exchange.curl(url)}", highlight=False, soft_wrap=True)
        console.print(
            f"  {answer.status_code} {answer.text}", style="green", highlight=False, soft_wrap=True
        )


def show_next_steps(url: str, endpoint_url: str, console: Console) -> None:
    """Say what can be done while the API is up."""
    exports = " ".join(f"{name}={value}" for name, value in CREDENTIALS.items())
    console.print(
        f"\nServing on [bold]{url}[/bold] until Ctrl-C; docs at {url}/docs\n"
        "In another terminal, list the models, publish again, or roll back:\n"
        f"  export {exports} \\\n"
        f"    AWS_ENDPOINT_URL={endpoint_url} MODEL_BUCKET={BUCKET}\n"
        "  .venv/bin/python -m training models",
        highlight=False,
        soft_wrap=True,
    )


def wait_for_interrupt() -> None:
    """Return at Ctrl-C or SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    while not stop.wait(0.5):  # a wait without a limit would not let the signal through
        pass
