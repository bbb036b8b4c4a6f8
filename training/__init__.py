"""Training: sources -> candidates -> comparison, backtest -> report -> publishing.

The errors are those that a command prints as one message.
"""

from __future__ import annotations


class TrainingError(Exception):
    """Base of everything this package raises on purpose; each message says what to do."""


class SourceError(TrainingError):
    """The data can't be read, or not trained on."""


class RunError(TrainingError):
    """A run's folder can't be written or read."""


class PublishError(TrainingError):
    """The bucket refused, or isn't what it should be."""


class PublishUnavailableError(PublishError):
    """The bucket did not respond: whether it has written is not known then."""


class PublishConflictError(PublishError):
    """Somebody else published in between: check which version is live, then decide again."""
