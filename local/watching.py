"""The demo's last step: a fleet in the local CloudWatch, the watcher, and what it tells."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from local.door import LocalContext
from local.errors import WrongAnswerError
from local.metrics import PERIOD, put_fleet
from local.watch_stack import WatchStack
from training.fleet.read import read_watch_file
from training.publishing.s3 import s3_client
from training.publishing.watch_file import publish_watch_file

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
    from watch.handler import lambda_handler  # reads the environment when it is imported

    until = int(time.time() - 60) // PERIOD * PERIOD
    put_fleet(stack.client("cloudwatch"), until, MACHINES)
    publish_watch_file(s3_client(stack.endpoint_url), bucket, read_watch_file(WATCH_FILE))
    console.print(
        f"{MACHINES} machines, two days of CPUUtilization every 5 minutes; one has just run away."
    )
    lambda_handler(json.loads(TICK.read_text(encoding="utf-8")), LocalContext())
    began = time.perf_counter()
    stack.give_turns(lambda_handler, LocalContext())
    seconds = time.perf_counter() - began
    events, messages = stack.hear_events(), stack.hear_messages()
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
