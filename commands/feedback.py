"""`feedback`: what somebody says of an incident."""

from __future__ import annotations

import os
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from commands import CommandError
from commands.options import Bucket, EndpointUrl, command, console
from ops_anomaly.aws.errors import AwsError, translate_aws_errors
from ops_anomaly.watcher.formatting import spoken

if TYPE_CHECKING:
    from ops_anomaly.watcher.feedback import Feedback


class FeedbackError(CommandError):
    """Feedback could not be kept; the message says what to do."""


class Word(StrEnum):
    """What can be said of an incident."""

    FINE = "fine"
    REAL = "real"
    SNOOZE = "snooze"


WORDS = "fine|real|snooze"

EFFECTS = {
    "fine": "The incident closes within a minute. Readings like its own alert no more: as far from "
    "what was expected, on the same side, at such values.",
    "real": "Its readings stay out of what is learnt as ordinary, by the watcher and by train.",
    "snooze": "No message about it until {until}; if it is still open then, one follows.",
}


def feedback(
    incident: Annotated[str, typer.Argument(help="Its id, or how it begins, as in messages.")],
    word: Annotated[Word | None, typer.Argument(metavar=WORDS, help="What it is.")] = None,
    duration: Annotated[
        str | None, typer.Argument(metavar="DURATION", help="Of a snooze: 30m, 4h, 2d.")
    ] = None,
    *,
    bucket: Bucket,
    undo: Annotated[bool, typer.Option("--undo", help="Take back all that was said.")] = False,
    by: Annotated[
        str | None, typer.Option(help="Who says so.  [default: the caller's ARN]")
    ] = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Say that an incident was fine or real, or snooze it.

    The watcher acts on it with its next evaluation. Saying it twice changes nothing.
    """
    if undo == (word is not None):
        raise typer.BadParameter("say fine, real or snooze, or give --undo", param_hint=WORDS)
    if (word is Word.SNOOZE) != (duration is not None):
        raise typer.BadParameter("a snooze has a duration, nothing else has", param_hint="DURATION")
    fields = {"incident": incident, "verdict": word or "undo", "duration": duration}
    given = _give(bucket, endpoint_url, fields, by or _caller(endpoint_url))
    if not given:
        console.print("Nothing had been said of this incident.")
    for each in given:
        _show(each, command("feedback", incident, bucket, endpoint_url, "--undo"))


def _give(bucket: str, endpoint_url: str | None, fields: dict[str, Any], by: str) -> list[Feedback]:
    """Keep it in the bucket, with the credentials of AWS's other commands."""
    from obstore.auth.boto3 import Boto3CredentialProvider

    from ops_anomaly.aws.objects import S3ObjectStore
    from ops_anomaly.watcher.console import InvalidFeedbackError, give

    if endpoint_url:
        os.environ["AWS_ENDPOINT_URL"] = endpoint_url
    try:
        store = S3ObjectStore(bucket, credential_provider=Boto3CredentialProvider())
        return give(store, fields, by, time.time_ns() // 1_000_000)
    except (InvalidFeedbackError, AwsError) as error:
        raise FeedbackError(str(error)) from error
    except ValueError as error:  # no credentials, or an endpoint that is not a URL
        raise FeedbackError(
            f"bucket {bucket} can't be used: {error}; set AWS_PROFILE or credentials"
        ) from error


def _caller(endpoint_url: str | None) -> str:
    """Return the ARN of whoever calls AWS."""
    import boto3

    try:
        with translate_aws_errors("asking who you are", "sts:GetCallerIdentity"):
            return str(boto3.client("sts", endpoint_url=endpoint_url).get_caller_identity()["Arn"])
    except AwsError as error:
        raise FeedbackError(f"{error}; or name yourself with --by") from error


def _show(given: Feedback, undo: str) -> None:
    until = "" if given.until is None else spoken(given.until)
    if given.undone:
        console.print(f"Taken back: {given.verdict}, said by {escape(given.by)}.")
        return
    word = "snoozed" if given.verdict == "snooze" else f"marked as {given.verdict}"
    console.print(f"Incident {given.incident} is {word}, by {escape(given.by)}.")
    console.print(EFFECTS[given.verdict].format(until=until))
    console.print(f"To undo: {undo}", highlight=False, markup=False, soft_wrap=True)
