"""`ops-anomaly feedback` on moto's server: said, said again, taken back, and what is refused."""

from __future__ import annotations

import re
import shlex

import pytest

from ops_anomaly.aws.objects import FEEDBACK_KEY, INCIDENTS_KEY
from ops_anomaly.watcher.feedback import Feedback
from ops_anomaly.watcher.feedback_file import decode_feedback
from ops_anomaly.watcher.incident_job import IncidentState, encode_incidents
from ops_anomaly.watcher.incidents import Incident, IncidentBoard
from tests.conftest import Bucket
from tests.support import boards
from tests.support.command import Done, command

INCIDENT = boards.single()
TWINS = [Incident(f"abc{n}", INCIDENT.opened_at, INCIDENT.members) for n in range(2)]


@pytest.fixture
def known(bucket: Bucket) -> Bucket:
    """A bucket with an incident that people know of, and two with ids that begin alike."""
    state = IncidentState(IncidentBoard([INCIDENT, *TWINS], []))
    bucket.s3.put_object(Bucket=bucket.name, Key=INCIDENTS_KEY, Body=encode_incidents(state))
    return bucket


def say(bucket: Bucket, *words: str, by: str | None = "me") -> Done:
    named = ["--by", by] if by else []
    target = ["--bucket", bucket.name, "--endpoint-url", bucket.endpoint_url]
    # which the command sets for the rest of its process
    return command("feedback", *words, *target, *named, AWS_ENDPOINT_URL=bucket.endpoint_url)


def kept(bucket: Bucket) -> list[Feedback]:
    stored = bucket.s3.get_object(Bucket=bucket.name, Key=FEEDBACK_KEY)
    return decode_feedback(stored["Body"].read())


def test_fine_is_kept_once_and_taken_back_by_the_command_that_is_printed(known: Bucket) -> None:
    done = say(known, INCIDENT.id, "fine")
    assert (done.returncode, done.stderr) == (0, "")
    assert INCIDENT.id in done.stdout
    assert "fine, by me." in done.stdout
    first = kept(known)
    assert say(known, INCIDENT.id, "fine", by="you").returncode == 0
    assert kept(known) == first

    [undo] = re.findall(r"To undo: ops-anomaly (.*)", done.stdout)
    undone = command(*shlex.split(undo), "--by", "you", AWS_ENDPOINT_URL=known.endpoint_url)
    assert "Taken back: fine, said by me." in undone.stdout
    [given] = kept(known)
    assert given.undone is not None
    assert given.undone.by == "you"
    again = say(known, INCIDENT.id, "--undo")
    assert "Nothing had been said of this incident." in again.stdout


def test_a_snooze_says_until_when(known: Bucket) -> None:
    done = say(known, INCIDENT.id[:5], "snooze", "4h")
    assert done.returncode == 0
    assert "No message about it until" in done.stdout
    [given] = kept(known)
    assert given.until is not None
    assert given.until - given.at == 4 * 3_600_000


def test_who_says_so_is_the_caller_unless_somebody_is_named(known: Bucket) -> None:
    assert say(known, INCIDENT.id, "real", by=None).returncode == 0
    [given] = kept(known)
    assert given.by.startswith("arn:aws:")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["0123456789abcdef", "fine"], 1, "no incident '0123456789abcdef'"),
        (["abc", "fine"], 1, "2 incidents begin with abc: give more of it"),
        ([INCIDENT.id, "snooze", "soon"], 1, "a duration such as 30m, 4h or 2d"),
        ([INCIDENT.id, "snooze", "60d"], 1, "from a minute to 30 days"),
        ([INCIDENT.id, "snooze"], 2, "a snooze has a duration"),
        ([INCIDENT.id, "fine", "4h"], 2, "a snooze has a duration, nothing else has"),
        ([INCIDENT.id], 2, "say fine, real or snooze, or give --undo"),
        ([INCIDENT.id, "fine", "--undo"], 2, "say fine, real or snooze, or give --undo"),
        ([INCIDENT.id, "dull"], 2, "'fine', 'real', 'snooze'"),
    ],
)
def test_what_can_not_be_kept_is_refused_and_says_what_to_do(
    known: Bucket, words: list[str], status: int, message: str
) -> None:
    done = say(known, *words)
    assert done.returncode == status
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    with pytest.raises(known.s3.exceptions.NoSuchKey):
        kept(known)


def test_a_damaged_file_is_refused_and_not_written_over(known: Bucket) -> None:
    known.s3.put_object(Bucket=known.name, Key=FEEDBACK_KEY, Body=b"fine")
    done = say(known, INCIDENT.id, "fine")
    assert done.returncode == 1
    assert "feedback/feedback.json is not a file of feedback" in done.stderr
    assert known.s3.get_object(Bucket=known.name, Key=FEEDBACK_KEY)["Body"].read() == b"fine"


@pytest.mark.parametrize("name", [None, "no-such-bucket"])
def test_a_bucket_without_incidents_may_be_the_wrong_one(bucket: Bucket, name: str | None) -> None:
    done = say(Bucket(name or bucket.name, bucket.endpoint_url), INCIDENT.id, "fine")
    assert done.returncode == 1
    assert "no state/incidents.json in the bucket" in done.stderr
    assert "it is not the stack's bucket, or you may not read it" in done.stderr
