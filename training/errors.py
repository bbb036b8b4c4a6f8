"""What can go wrong in the job; each message says what to do."""

from __future__ import annotations


class TrainingError(Exception):
    """Base of everything the job raises on purpose; the command line prints it and exits 1."""


class SourceError(TrainingError):
    """The data can't be had or can't be read."""


class RunError(TrainingError):
    """A run's folder can't be written or read."""


class PublishError(TrainingError):
    """The bucket refused, or is not what it should be."""


class PublishConflictError(PublishError):
    """Somebody else published in between: look at what is live now, then decide again."""
