"""What the watcher would have notified of: its own code over the history of metrics."""

from training import TrainingError


class ReplayError(TrainingError):
    """A replay can't be run: the message says what to do."""
