"""One event to the handler that takes it, with what it needs in the local bucket and CloudWatch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from local.bucket import BUCKET, local_bucket
from local.door import LocalContext
from local.environment import forget_aws, use_local_bucket
from local.errors import LocalError
from local.watch_stack import WatchStack, make_watch_stack
from training.fleet.read import read_watch_file
from training.publishing.s3 import s3_client
from training.publishing.watch_file import publish_watch_file

MODEL = "ec2-cpu"
RUN_FOLDER = Path("runs") / MODEL


def send_event(path: Path, console: Console) -> None:
    """Hand an event to the handler and show what it answers, logs and tells.

    Raises
    ------
    LocalError
        If the file holds no event.
    """
    event = read_event(path)
    forget_aws()
    with local_bucket() as endpoint_url:
        use_local_bucket(endpoint_url, BUCKET, MODEL, 300.0)
        os.environ["POWERTOOLS_LOG_LEVEL"] = "INFO"
        if isinstance(event, dict) and "httpMethod" in event:
            answer_request(event, endpoint_url, console)
        else:
            stack = make_watch_stack(endpoint_url, "ops-anomaly")
            os.environ.update(stack.environment())
            watch_event(event, stack, console)


def read_event(path: Path) -> Any:
    """Return the JSON of a file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LocalError(f"{path} holds no event in JSON: {error}") from error


def answer_request(event: dict[str, Any], endpoint_url: str, console: Console) -> None:
    """Let the API answer a request, by the model of the last run if there is one."""
    from training.errors import RunError
    from training.publishing.show import publish_run
    from training.run_folder import read_run

    try:
        publish_run(s3_client(endpoint_url), BUCKET, read_run(RUN_FOLDER), None, console)
    except RunError:
        console.print(f"[yellow]No model in {RUN_FOLDER}: make one with make demo ONCE=1[/yellow]")
    from api.handler import lambda_handler  # reads the environment when it is imported

    answer = lambda_handler(event, LocalContext())
    console.print(f"{answer['statusCode']} {escape(answer['body'])}", highlight=False)


def watch_event(event: Any, stack: WatchStack, console: Console) -> None:
    """Let the watcher take an event, and show what it tells."""
    from local.surroundings import surround
    from local.watching import WATCH_FILE, show_message
    from watch.handler import lambda_handler  # reads the environment when it is imported

    console.print(surround(event, stack.client("cloudwatch")))
    s3 = s3_client(stack.endpoint_url)
    publish_watch_file(s3, BUCKET, read_watch_file(WATCH_FILE))
    lambda_handler(event, LocalContext())
    stack.give_turns(lambda_handler, LocalContext())
    events, messages = stack.hear_events(), stack.hear_messages()
    for told in events:
        console.print(f"\nEvent: {told['detail-type']}", style="bold")
        console.print_json(data=told["detail"])
    for message in messages:
        show_message(message, console)
    if not events:
        console.print("Nothing was told.")
