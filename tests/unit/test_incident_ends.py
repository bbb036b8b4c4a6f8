"""When an incident is over, and why."""

from __future__ import annotations

from ops_anomaly.watcher.incidents import RECOVERY_PERIODS, Closed, advance_incident
from tests.unit.test_incident import METRIC, judgement, looked, told


def test_one_ordinary_reading_out_of_bounds_does_not_prolong_an_incident_that_fades() -> None:
    _, steps = looked("!...o" + "." * RECOVERY_PERIODS)
    assert told(steps)[-1] == told(looked("!" + "." * (RECOVERY_PERIODS + 4))[1])[-1]


def test_a_backlog_with_nothing_in_between_ends_for_lack_of_data() -> None:
    _, steps = looked("!" + " " * (RECOVERY_PERIODS + 2) + "!")
    assert [step.because for step in steps if isinstance(step, Closed)] == ["no data"]


def test_what_is_far_out_opens_an_incident_even_in_the_pause_after_the_last_one() -> None:
    quiet = "." * (RECOVERY_PERIODS + 1)
    course, _ = looked(f"!{quiet}")
    verdicts = f"!{quiet}a"
    _, steps = advance_incident(course, METRIC, judgement(verdicts, len(verdicts) - 1))
    assert steps == []
    loud = judgement(verdicts, len(verdicts) - 1, scores={len(verdicts) - 1: 5.0})
    _, [opened] = advance_incident(course, METRIC, loud)
    assert opened.incident.first_seen == opened.incident.peak.time == loud.times[-1]
