"""What can be wrong with a value or an artifact."""


class DetectorError(ValueError):
    """Base of everything this room raises on purpose."""


class ValueOutOfRangeError(DetectorError):
    """A value is not a finite number within the range of float32."""


class FixedSensitivityError(DetectorError):
    """The kind of detector has one threshold: leave the sensitivity out, or take another model."""


class ArtifactError(DetectorError):
    """An artifact can't be used: train and publish it again, or roll back to an older version."""


class CorruptArtifactError(ArtifactError):
    """The bytes are not what was written: a digest, a shape, a name or a number is wrong."""


class UnsupportedArtifactError(ArtifactError):
    """The artifact is of a schema or kind that this code doesn't know: deploy newer code."""
