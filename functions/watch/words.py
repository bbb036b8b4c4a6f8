"""How messages name things."""

from __future__ import annotations

from collections.abc import Sequence

SUBJECT_LENGTH = 100
"""What SNS takes, in ASCII."""


def called(name: str, dimensions: Sequence[str]) -> str:
    """Return a metric as people call it.

    Examples
    --------
    >>> called("CPUUtilization", ["i-0123"])
    'CPUUtilization of i-0123'
    """
    return f"{name} of {', '.join(dimensions)}" if dimensions else name


def subject_line(text: str) -> str:
    """Return a subject that SNS takes: one line of printable ASCII."""
    printable = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    return (
        printable if len(printable) <= SUBJECT_LENGTH else f"{printable[: SUBJECT_LENGTH - 3]}..."
    )
