"""The page of incidents at `/console`, beside the API; on AWS it is a widget of the dashboard."""

from __future__ import annotations

import time
from collections.abc import Callable
from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from ops_anomaly.aws.errors import AwsError

if TYPE_CHECKING:
    from local.gateway import Handler
    from ops_anomaly.aws.objects import ObjectStore
    from ops_anomaly.watcher.console import Console

PAGE, FEEDBACK = "/console", "/console/feedback"
NOBODY = "the laptop"
"""Who gives feedback here: nobody signs in."""


def with_console(
    api: Handler, console: Console, store: ObjectStore, update: Callable[[], None]
) -> Handler:
    """Return a handler that shows the incidents, and hands everything else to the API.

    Parameters
    ----------
    update
        Brings the incidents up to date, as the schedule does on AWS every minute.
    """

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        match event["httpMethod"], event["path"]:
            case "GET", path if path == PAGE:
                update()
                return _html(HTTPStatus.OK, console.page(FEEDBACK))
            case "POST", path if path == FEEDBACK:
                return _feedback(event, store)
        return api(event, context)

    return handler


def _feedback(event: dict[str, Any], store: ObjectStore) -> dict[str, Any]:
    """Keep what a button of the page says, and return to the page."""
    from ops_anomaly.watcher.console import InvalidFeedbackError, give

    headers = {name.lower(): value for name, value in event["headers"].items()}
    if urlsplit(headers.get("origin", "")).netloc != headers.get("host"):
        return _html(HTTPStatus.FORBIDDEN, _problem("Only buttons of the page may post here."))
    try:
        now = time.time_ns() // 1_000_000
        give(store, dict(parse_qsl(event["body"] or "")), NOBODY, now)
    except (InvalidFeedbackError, AwsError) as error:
        return _html(HTTPStatus.CONFLICT, _problem(str(error)))
    return {"statusCode": HTTPStatus.SEE_OTHER, "headers": {"Location": PAGE}}


def _problem(message: str) -> str:
    """Return a page with what went wrong, and the way back."""
    return (
        '<!DOCTYPE html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        "<title>Not done</title>"
        "<style>:root { color-scheme: light dark } "
        "body { font: 16px/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 40rem; "
        "padding: 0 1rem }</style>"
        f"<h1>Not done</h1><p>{escape(message)}</p>"
        f'<p><a href="{PAGE}">Back to the incidents</a></p></html>'
    )


def _html(status: HTTPStatus, body: str) -> dict[str, Any]:
    headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
    return {"statusCode": status, "headers": headers, "body": body}
