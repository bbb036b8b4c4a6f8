"""What can go wrong in the benchmark."""


class BenchError(Exception):
    """The benchmark can't go on."""


class MissingError(BenchError):
    """Something that a row needs is not here: the row is skipped."""


class WorkerError(BenchError):
    """A process that was to be measured failed."""


class DisagreementError(BenchError):
    """Contestants that should answer the same do not: there is nothing to compare."""
