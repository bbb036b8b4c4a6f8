"""When an incident is over, and why."""

from __future__ import annotations

from tests.unit.test_incident import looked, told
from watch.fleet.incident import QUIET, Closed


def test_one_ordinary_reading_out_of_bounds_does_not_prolong_an_incident_that_fades() -> None:
    _, steps = looked("!...o" + "." * QUIET)
    assert told(steps)[-1] == told(looked("!" + "." * (QUIET + 4))[1])[-1]


def test_a_backlog_with_nothing_in_between_ends_for_lack_of_data() -> None:
    _, steps = looked("!" + " " * (QUIET + 2) + "!")
    assert [step.because for step in steps if isinstance(step, Closed)] == ["no data"]
