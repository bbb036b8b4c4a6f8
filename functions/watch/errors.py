"""What can go wrong while watching; an error that leaves the handler is retried by AWS."""


class WatchError(Exception):
    """Base of everything this room raises on purpose."""


class UnreadableMemoryError(WatchError, ValueError):
    """What is remembered can't be read: it is built anew from CloudWatch."""


class UnknownEventError(WatchError, ValueError):
    """An event is of no kind that the watcher takes; it is logged and left."""


class BusyError(WatchError):
    """Others kept writing what is remembered; the retry will find what they left."""


class UndeliveredError(WatchError):
    """What was decided could not be told; it is kept, and told with the retry."""
