"""How fast this project is, beside its peers: `python -m benchmarks speed`."""


class BenchmarkError(Exception):
    """The benchmark can't continue."""


class MissingError(BenchmarkError):
    """Something that a section needs is not here: it is skipped."""


class WorkerError(BenchmarkError):
    """A process that is measured failed."""


class DisagreementError(BenchmarkError):
    """Contestants that should return the same do not: there is nothing to compare."""
