"""The demo: data, training, publishing, the API and the watcher, all on this machine."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from threading import Lock
from typing import Any

import requests
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from local import UnexpectedResponseError
from local.console import PAGE, with_console
from local.events import FLEET_SIZE, MODEL, PERIOD, RUN_FOLDER, WATCH_FILE, put_fleet
from local.gateway import Handler, LocalContext, listen, serve, stop_signals
from local.shop import REPLAYED_DAYS, write_shop
from local.stack import (
    BUCKET,
    CREDENTIALS,
    WatchStack,
    isolate_from_aws,
    local_bucket,
    make_watch_stack,
    use_local_bucket,
)
from ops_anomaly.api.schemas import MAX_POINTS
from ops_anomaly.aws.objects import S3ObjectStore
from ops_anomaly.detection.timeline import utc
from replay.page import Commands, replay_to_page
from replay.sources import Folders, source_of_files
from replay.summary import headline, show_incidents
from training import RunError
from training.publishing import publish_run, publish_watch_file
from training.run import Settings, StoredRun, fingerprint, read_run
from training.sources import SourceOptions, obtain_series
from training.sources.files import DEFAULTS
from training.sources.series import LabelledSeries
from training.versions import s3_client
from training.watch_yaml import read_watch_file

SETTINGS = Settings(MODEL)
TTL_SECONDS = 2.0
TIMEOUT_SECONDS = 60
SHOP, REPLAY = RUN_FOLDER.with_name("shop"), RUN_FOLDER.with_name("replay")
TICK = Path(__file__).parents[1] / "events" / "schedule.json"


def demo(
    port: int,
    nab_root: Path | None,
    *,
    once: bool,
    console: Console,
    settings: Settings = SETTINGS,
    host: str = "127.0.0.1",
) -> None:
    """Run everything; then serve until interrupted, or with `once` end after the last response.

    Raises
    ------
    LocalError
        If the port is in use, or a response is wrong.
    TrainingError
        If the data or the run's folder can't be used.
    """
    with ExitStack() as started:
        # first of all: nobody wants to wait for training and then find the port in use
        listener = started.enter_context(listen(port, host))
        show_step(console, 1, "Data and training")
        series = obtain_series(SourceOptions(nab_root=nab_root), console)
        run = trained_run(series, settings, console)

        show_step(console, 2, "A versioned bucket with the winner in it")
        isolate_from_aws()
        endpoint_url = started.enter_context(local_bucket())
        use_local_bucket(endpoint_url, BUCKET, MODEL, TTL_SECONDS)
        publish_run(s3_client(endpoint_url), BUCKET, run, console)

        show_step(console, 3, "The API")
        stack = make_watch_stack(endpoint_url, "ops-anomaly")
        os.environ.update(stack.environment())
        url = started.enter_context(serve(local_handler(), listener))
        os.environ["INCIDENT_PAGE_URL"] = f"{url}{PAGE}"
        show_exchanges(url, console)
        show_detection(url, series, console)

        show_step(console, 4, "The watcher")
        show_watching(stack, console)
        show_console(url, console)

        show_step(console, 5, "A replay: what the watcher would have notified of")
        page = show_replay(console)
        if once:
            console.print("All responses are as they should be.")
        else:
            show_next_steps(url, endpoint_url, console)
        console.print(f"Open this in a browser: {page}", highlight=False, soft_wrap=True)
        if once:
            return
        with stop_signals() as wait:
            wait()
        console.print(f"Stopped: API and bucket are gone; the run stays in {RUN_FOLDER}")


def show_step(console: Console, number: int, title: str) -> None:
    """Print the heading of a step."""
    console.print(f"\n[bold]{number}. {title}[/bold]")


def trained_run(series: LabelledSeries, settings: Settings, console: Console) -> StoredRun:
    """Return the run in `RUN_FOLDER` if it is of this data and code, else train one."""
    try:
        run = read_run(RUN_FOLDER)
        if run.record.get("fingerprint") == fingerprint(series, settings):
            run.artifact(run.winner)  # raises if it is not what the run wrote
            console.print(
                f"Reusing the run in {RUN_FOLDER}: same data, code and versions. "
                f"Winner: [bold green]{run.winner}[/bold green]. Report: {RUN_FOLDER}/report.html"
            )
            return run
    except RunError:
        pass  # there is none yet, or it can't be used
    from training.job import train_run

    return train_run(series, settings, RUN_FOLDER, console)


def api_handler() -> Handler:
    """Return the API's handler, which keeps its metrics to itself.

    Powertools collects metrics even where they are disabled, and prints them all with the hundredth
    of a kind: so they are cleared after each request.
    """
    # reads the environment when it is imported
    from ops_anomaly.api.handler import lambda_handler, metrics

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        response: dict[str, Any] = lambda_handler(event, context)
        metrics.clear_metrics()
        return response

    return handler


def local_handler() -> Handler:
    """Return the API's handler, and beside it the page of incidents."""
    # reads the environment when it is imported
    from ops_anomaly.watcher.handler import console

    return with_console(api_handler(), console(), S3ObjectStore(BUCKET), update_incidents)


ONE_AT_A_TIME = Lock()


def update_incidents() -> None:
    """Bring the incidents up to date, as the schedule does on AWS every minute.

    A browser that shows the page may ask for it at any moment.
    """
    from ops_anomaly.watcher.handler import watch_handler

    with ONE_AT_A_TIME:
        watch_handler({"watch": "incidents"}, LocalContext())


@dataclass(frozen=True)
class Exchange:
    """A request and the expected response; any body will do where `body` is None."""

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
        """Send the request and return the response.

        Raises
        ------
        UnexpectedResponseError
            If it is not the expected one.
        """
        response = requests.request(
            self.method, url + self.path, json=self.sent, timeout=TIMEOUT_SECONDS
        )
        is_expected = self.body is None or response.json() == self.body
        if response.status_code != self.status or not is_expected:
            raise UnexpectedResponseError(
                f"{self.method} {self.path} {self.sent or ''} returned {response.status_code} "
                f"{response.text}; expected {self.status} {self.body or ''}"
            )
        return response


NORMAL = {"is_anomaly": False, "predicted_value": 1}
ANOMALY = {"is_anomaly": True, "predicted_value": -1}
EXCHANGES = (
    Exchange("GET", "/", None, 200, {"status": "API is running"}),
    Exchange("POST", "/predict", {"value": 0.13}, 200, NORMAL),
    Exchange("POST", "/predict", {"value": 2.0}, 200, ANOMALY),
    Exchange("POST", "/predict", {"value": 95.0}, 200, ANOMALY),
    Exchange("POST", "/predict", {"wrong_key": 10.0}, 422, None),
    Exchange("GET", "/health", None, 200, None),
)


def show_exchanges(url: str, console: Console) -> None:
    """Send each request, and print it as a curl line with its response."""
    for exchange in EXCHANGES:
        response = exchange.send(url)
        show_command(exchange.curl(url), console)
        show_response(f"{response.status_code} {response.text}", console)


def show_detection(url: str, series: LabelledSeries, console: Console) -> None:
    """Post a whole series, and print the alerts that come back.

    Raises
    ------
    UnexpectedResponseError
        If the status is not 200.
    """
    posted = series.series.last(MAX_POINTS)
    readings = [
        {"timestamp": utc(time), "value": value}
        for time, value in zip(posted.times.tolist(), posted.values.tolist(), strict=True)
    ]
    body = RUN_FOLDER / "detect.json"
    body.write_text(json.dumps({"series": readings}), encoding="utf-8")
    show_command(f"curl {url}/detect -H 'Content-Type: application/json' -d @{body}", console)
    response = requests.post(
        f"{url}/detect",
        data=body.read_bytes(),
        headers={"Content-Type": "application/json"},
        timeout=TIMEOUT_SECONDS,
    )
    if response.status_code != requests.codes.ok:
        raise UnexpectedResponseError(
            f"POST /detect returned {response.status_code} {response.text}"
        )
    found = response.json()
    show_response(
        f"200 {len(readings):,} readings, no model: confidence {found['confidence']:.2f}, "
        f"{len(found['alerts'])} alerts in {response.elapsed.total_seconds():.2f} s",
        console,
    )
    for alert in found["alerts"]:
        show_response(
            f"{alert['start'][:16]}  severity {alert['severity']:.2f}  {alert['reason']}", console
        )


def show_command(line: str, console: Console) -> None:
    """Print a line that works as it is in a shell."""
    console.print(f"$ {line}", markup=False, highlight=False, soft_wrap=True)


def show_response(text: str, console: Console) -> None:
    """Print a line of a response."""
    console.print(f"  {text}", style="green", markup=False, highlight=False, soft_wrap=True)


def show_watching(stack: WatchStack, console: Console) -> None:
    """Put a fleet's metrics, let the watcher evaluate them, and print what it publishes.

    Raises
    ------
    UnexpectedResponseError
        If it is not exactly one alert, about the machine that runs away.
    """
    # reads the environment when it is imported
    from ops_anomaly.watcher.handler import watch_handler

    until = int(time.time() - 60) // PERIOD * PERIOD
    put_fleet(stack.client("cloudwatch"), until, FLEET_SIZE)
    publish_watch_file(s3_client(stack.endpoint_url), BUCKET, read_watch_file(WATCH_FILE))
    console.print(
        f"{FLEET_SIZE} machines, three days of CPUUtilization every 5 minutes; one has just run "
        "away."
    )
    began = time.perf_counter()
    watch_handler(json.loads(TICK.read_text(encoding="utf-8")), LocalContext())
    stack.run_queued(stack.shard_queue, watch_handler, LocalContext())
    update_incidents()
    seconds = time.perf_counter() - began
    events, messages = stack.drain_events(), stack.drain_messages()
    if [event["detail-type"] for event in events] != ["Incident Opened"] or len(messages) != 1:
        raise UnexpectedResponseError(
            f"the watcher published {len(events)} events and {len(messages)} messages; one of each "
            "was expected"
        )
    console.print(
        f"The watcher evaluated them ({seconds:.1f} s, most of it the local CloudWatch), and "
        "published one event and one message:"
    )
    (message,) = messages
    console.print(
        Panel(Text(message["Message"]), title=Text(message["Subject"]), title_align="left")
    )


def show_console(url: str, console: Console) -> None:
    """Ask for the page of incidents, and print where it is.

    Raises
    ------
    UnexpectedResponseError
        If it does not show the incident.
    """
    response = requests.get(f"{url}{PAGE}", timeout=TIMEOUT_SECONDS)
    if response.status_code != requests.codes.ok or "CPUUtilization" not in response.text:
        raise UnexpectedResponseError(f"GET {PAGE} returned {response.status_code}")
    console.print(f"The page of incidents, with its chart: {url}{PAGE}")


def show_replay(console: Console) -> str:
    """Replay the files of a shop; print what came of it, and return the URL of the page."""
    write_shop(SHOP)
    folders, command = Folders(REPLAY), f"ops-anomaly replay --csv {SHOP} --days {REPLAYED_DAYS}"
    console.print(f"Four weeks of six metrics of a shop, a file each in {SHOP}:")
    show_command(f".venv/bin/{command}", console)
    source = source_of_files(SHOP, DEFAULTS, REPLAYED_DAYS, None, Console(file=StringIO()))
    commands = Commands(f"{command} --feedback feedback.json", None)
    found = replay_to_page(source, [], folders, commands, int(1_000 * time.time()), console)
    show_response(headline(found), console)
    show_incidents(found.notified, console)
    return folders.page.resolve().as_uri()


def show_next_steps(url: str, endpoint_url: str, console: Console) -> None:
    """Print what can be done while the API is up."""
    exports = " ".join(f"{name}={value}" for name, value in CREDENTIALS.items())
    console.print(
        f"\nServing on [bold]{url}[/bold] until Ctrl-C; docs at {url}/docs, "
        f"incidents at {url}{PAGE}\n"
        f"Azure AI Anomaly Detector's clients: endpoint {url}, any key (docs/azure.md)\n"
        "In another terminal, list the models, publish again, or roll back:\n"
        f"  export {exports} \\\n"
        f"    AWS_ENDPOINT_URL={endpoint_url} MODEL_BUCKET={BUCKET}\n"
        "  .venv/bin/ops-anomaly models",
        highlight=False,
        soft_wrap=True,
    )
