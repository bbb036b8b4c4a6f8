"""Why a model can't be had."""


class RegistryError(Exception):
    """Base of everything this room raises on purpose."""


class InvalidModelNameError(RegistryError, ValueError):
    """A model can't be called so."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name!r} is no model name: use 1 to 63 lower-case letters, digits and hyphens, "
            "starting with a letter or digit"
        )


class ObjectNotFoundError(RegistryError):
    """There is no such object, or it may not be read: without ListBucket S3 answers 403 to both."""


class StoreUnavailableError(RegistryError):
    """The bucket did not answer: throttled, timed out, unreachable."""


class CorruptIndexError(RegistryError):
    """The index of models is not what publishing writes; publishing any model writes it anew."""


class ModelNotFoundError(RegistryError):
    """No model of this name has been published."""


class ModelUnavailableError(RegistryError):
    """The model can't be loaded now: the bucket does not answer, or its artifact is unusable."""


class InvalidMetricError(RegistryError, ValueError):
    """A metric's text, statistic or period is malformed."""


class InvalidWatchFileError(RegistryError, ValueError):
    """The watch file is malformed; the message names every field that is."""


class ConflictError(RegistryError):
    """Somebody else wrote the object in between: read it again, then decide again."""


class CloudWatchError(RegistryError):
    """CloudWatch did not give what it was asked for."""


class CloudWatchDeniedError(CloudWatchError):
    """A permission is missing."""


class CloudWatchRefusedError(CloudWatchError):
    """CloudWatch does not understand the question: an expression, a period, a statistic."""


class CloudWatchUnavailableError(CloudWatchError):
    """CloudWatch did not answer: throttled, timed out, unreachable."""
