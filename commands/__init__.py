"""The command line `ops-anomaly`: a file a topic, assembled in `__main__`."""

from __future__ import annotations


class CommandError(Exception):
    """A command could not do what it was asked for; the message says what to do."""
