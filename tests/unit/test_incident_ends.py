"""When an incident is over, and why."""

from __future__ import annotations

from ops_anomaly.watcher.incidents import QUIET, Closed, go_on
from tests.unit.test_incident import METRIC, judgement, looked, told


def test_one_ordinary_reading_out_of_bounds_does_not_prolong_an_incident_that_fades() -> None:
    _, steps = looked("!...o" + "." * QUIET)
    assert told(steps)[-1] == told(looked("!" + "." * (QUIET + 4))[1])[-1]


def test_a_backlog_with_nothing_in_between_ends_for_lack_of_data() -> None:
    _, steps = looked("!" + " " * (QUIET + 2) + "!")
    assert [step.because for step in steps if isinstance(step, Closed)] == ["no data"]


def test_what_is_far_out_opens_an_incident_even_in_the_pause_after_the_last_one() -> None:
    quiet = "." * (QUIET + 1)
    course, _ = looked(f"!{quiet}")
    verdicts = f"!{quiet}a"
    _, steps = go_on(course, METRIC, judgement(verdicts, len(verdicts) - 1))
    assert steps == []
    loud = judgement(verdicts, len(verdicts) - 1, scores={len(verdicts) - 1: 5.0})
    _, [opened] = go_on(course, METRIC, loud)
    assert opened.incident.first_seen == opened.incident.peak.time == loud.times[-1]
