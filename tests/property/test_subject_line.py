"""Whatever a metric or an alarm is called, SNS takes the subject of its message."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_anomaly.watcher.formatting import subject_line

# SNS's documentation: "ASCII text that begins with a letter, number, or punctuation mark", without
# line breaks and control characters, "less than 100 characters long"; an empty one is refused too.
TAKEN = re.compile(r"[!-~][ -~]{0,98}")


@given(st.text() | st.text("a é\n\t\x7f🔥", max_size=300))
def test_sns_takes_every_subject(text: str) -> None:
    assert TAKEN.fullmatch(subject_line(text))


@given(st.from_regex(TAKEN, fullmatch=True))
def test_a_subject_that_sns_takes_is_left_as_it_is(text: str) -> None:
    assert subject_line(text) == " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        (" Orders of shop: 93", "Orders of shop: 93"),
        ("Orders\nof shop", "Orders of shop"),
        ("Größe", "Gr??e"),
        ("", "(no subject)"),
        (" \n", "(no subject)"),
        ("x" * 100, "x" * 96 + "..."),
    ],
)
def test_what_sns_refuses_is_replaced(text: str, subject: str) -> None:
    assert subject_line(text) == subject
