"""The requests that the seed answered, and what every model has to answer to them.

The demo's last request: the whole series to `/detect`, without a model.

The demo's last step: a fleet in the local CloudWatch, the watcher, and what it tells.

The main job on the laptop: data, training, publishing, serving, watching.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from local.events import PERIOD, put_fleet
from local.gateway import LocalContext, listen, serve
from local.stack import (
    BUCKET,
    CREDENTIALS,
    WatchStack,
    WrongAnswerError,
    forget_aws,
    local_bucket,
    make_watch_stack,
    use_local_bucket,
)
from ops_anomaly.api.schemas import MAX_POINTS
from training.errors import RunError
from training.fleet import read_watch_file
from training.publishing import publish_watch_file, s3_client
from training.run_folder import StoredRun, read_run
from training.sources.obtain import SourceOptions, obtain_series
from training.sources.series import Series

NORMAL = {"is_anomaly": False, "predicted_value": 1}
ANOMALY = {"is_anomaly": True, "predicted_value": -1}
TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Exchange:
    """A request and its expected answer; `None` as a body means that any will do."""

    method: str
    path: str
    sent: dict[str, Any] | None
    status: int
    body: dict[str, Any] | None

    def curl(self, url: str) -> str:
        """Return the request as a line for the shell."""
        if self.sent is None:
            return f"curl {url}{self.path}"
        return (
            f"curl {url}{self.path} -H 'Content-Type: application/json' "
            f"-d '{json.dumps(self.sent)}'"
        )

    def send(self, url: str) -> requests.Response:
        """Send the request and return the answer.

        Raises
        ------
        WrongAnswerError
            If it is not the expected one.
        """
        answer = requests.request(
            self.method, url + self.path, json=self.sent, timeout=TIMEOUT_SECONDS
        )
        wanted = self.body is None or answer.json() == self.body
        if answer.status_code != self.status or not wanted:
            raise WrongAnswerError(
                f"{self.method} {self.path} {self.sent or ''} answered {answer.status_code} "
                f"{answer.text}; expected {self.status} {self.body or ''}"
            )
        return answer


EXCHANGES = (
    Exchange("GET", "/", None, 200, {"status": "API is running"}),
    Exchange("POST", "/predict", {"value": 0.13}, 200, NORMAL),
    Exchange("POST", "/predict", {"value": 2.0}, 200, ANOMALY),
    Exchange("POST", "/predict", {"value": 95.0}, 200, ANOMALY),
    Exchange("POST", "/predict", {"wrong_key": 10.0}, 422, None),
    Exchange("GET", "/health", None, 200, None),
)


DETECT_TIMEOUT_SECONDS = 60


def show_detection(url: str, series: Series, console: Console) -> None:
    """Post a series and print the alerts that come back.

    Raises
    ------
    WrongAnswerError
        If it is not answered with 200.
    """
    last = slice(-MAX_POINTS, None)
    readings = [
        {"timestamp": f"{time}Z", "value": value}
        for time, value in zip(series.timestamps[last], series.values[last].tolist(), strict=True)
    ]
    answer = requests.post(
        f"{url}/detect", json={"series": readings}, timeout=DETECT_TIMEOUT_SECONDS
    )
    if answer.status_code != requests.codes.ok:
        raise WrongAnswerError(f"POST /detect answered {answer.status_code} {answer.text}")
    found = answer.json()
    console.print(
        f"$ curl {url}/detect -d '{{\"series\": [{len(readings):,} readings]}}'   # no model",
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        f"  200 confidence {found['confidence']:.2f}, {len(found['alerts'])} alerts "
        f"in {answer.elapsed.total_seconds():.2f} s",
        style="green",
        highlight=False,
    )
    for alert in found["alerts"]:
        console.print(
            f"  {alert['start'][:16]}  severity {alert['severity']:.2f}  {alert['reason']}",
            style="green",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


WATCH_FILE = Path(__file__).with_name("watch.yaml")
TICK = Path(__file__).parents[1] / "events" / "schedule.json"
MACHINES = 8


def show_watching(stack: WatchStack, bucket: str, console: Console) -> None:
    """Put a fleet's metrics, let the watcher look, and show what it tells.

    Raises
    ------
    WrongAnswerError
        If it is not exactly one alert, of the machine that runs away.
    """
    from ops_anomaly.watcher.handler import (
        lambda_handler,  # reads the environment when it is imported
    )

    until = int(time.time() - 60) // PERIOD * PERIOD
    put_fleet(stack.client("cloudwatch"), until, MACHINES)
    publish_watch_file(s3_client(stack.endpoint_url), bucket, read_watch_file(WATCH_FILE))
    console.print(
        f"{MACHINES} machines, two days of CPUUtilization every 5 minutes; one has just run away."
    )
    lambda_handler(json.loads(TICK.read_text(encoding="utf-8")), LocalContext())
    began = time.perf_counter()
    stack.run_shard_jobs(lambda_handler, LocalContext())
    seconds = time.perf_counter() - began
    events, messages = stack.drain_events(), stack.drain_messages()
    if [event["detail-type"] for event in events] != ["Anomaly Opened"] or len(messages) != 1:
        raise WrongAnswerError(
            f"the watcher told {len(events)} events and {len(messages)} messages; one of each was "
            "expected"
        )
    console.print(
        f"The watcher looked ({seconds:.1f} s, most of it the local CloudWatch), and told one "
        "event and one message:"
    )
    show_message(messages[0], console)


def show_message(message: dict[str, Any], console: Console) -> None:
    """Print a message of the topic as its reader would see it."""
    console.print(
        Panel(Text(message["Message"]), title=Text(message["Subject"]), title_align="left")
    )


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
        from ops_anomaly.api.handler import (
            lambda_handler,  # reads the environment when it is imported
        )

        url = started.enter_context(serve(lambda_handler, listener))
        show_answers(url, console)
        show_detection(url, series, console)

        step(console, 4, "The watcher")
        stack = make_watch_stack(endpoint_url, "ops-anomaly")
        os.environ.update(stack.environment())

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
    from training.publishing import publish_run, s3_client

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
