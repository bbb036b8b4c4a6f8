"""Detection in a session or script, without AWS: `from ops_anomaly import detect`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ops_anomaly.detection import untrained
from ops_anomaly.detection.artifact import digest, unpack
from ops_anomaly.detection.formatting import duration
from ops_anomaly.detection.timeline import (
    counted,
    epoch_milliseconds,
    epoch_unit,
    evaluation_notes,
    put_in_order,
)
from ops_anomaly.detection.types import Detection, Series

if TYPE_CHECKING:
    import numpy.typing as npt

    from ops_anomaly.detection.types import Alert, Detector, Integers

MAX_LINES = 20
WIDTH = 80


@dataclass(frozen=True, repr=False, eq=False)
class SeriesDetection(Detection):
    """A detection together with its readings; `print` shows the alerts.

    Attributes
    ----------
    series : Series
        The readings in order of time, to which all arrays and positions refer.
    notes : list of str
        Gaps, irregular steps, repeated or late readings, and what was done.
    """

    series: Series
    notes: list[str]

    def __repr__(self) -> str:
        """Return the alerts as a table, at most 80 columns wide."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        found = f"{counted(len(self.alerts), 'alert')} in {counted(len(self.series), 'reading')}"
        if not len(self.series):
            yield found
            return
        yield f"{found}, {moment(self.series.times[0])} to {moment(self.series.times[-1])} UTC"
        if self.alerts:
            yield f"{'start':16}  {'duration':>8}  severity  reason"
        for alert in self.alerts[:MAX_LINES]:
            yield from self._row(alert)
        if len(self.alerts) > MAX_LINES:
            yield f"... and {len(self.alerts) - MAX_LINES} more"
        for note in self.notes:
            yield from textwrap.wrap(note, WIDTH)

    def _row(self, alert: Alert) -> Iterator[str]:
        start, end = self.series.times[alert.start], self.series.times[alert.end]
        lasted = duration(float(end - start + self.series.step))
        columns = f"{moment(start)}  {lasted:>8}  {self.severity[alert.peak]:8.2f}  "
        yield from textwrap.wrap(
            self.reasons.get(alert.start, ""),
            WIDTH,
            initial_indent=columns,
            subsequent_indent=" " * len(columns),
        ) or [columns.rstrip()]


def detect(
    timestamps: Sequence[Any] | npt.NDArray[Any],
    values: Sequence[float] | npt.NDArray[Any],
    sensitivity: float | None = None,
    model: Detector | None = None,
) -> SeriesDetection:
    """Find anomalies in a series.

    Parameters
    ----------
    timestamps : (n,) sequence or array
        In any order: datetime64 of any unit, datetime, ISO 8601 text, or numbers since 1970, which
        are seconds from 10^8 to 10^10, milliseconds from 10^11 to 10^13, and so on for
        microseconds and nanoseconds. UTC unless they have an offset.
    values : (n,) sequence or array
        One a timestamp; readings with NaN are left out.
    sensitivity : float, optional
        Expected false alerts a week, instead of the detector's own threshold.
    model : Detector, optional
        From `load_model`: the series continues its history. Without a model the first readings only
        warm the detector up.

    Returns
    -------
    SeriesDetection
        With `alerts`, `scores`, `is_anomaly`, `expected`, `lower`, `upper` and `reasons`, for the
        readings of its `series`.

    Raises
    ------
    ValueError
        If timestamps and values differ in length, or a timestamp can't be read.
    ValueOutOfRangeError
        If a value is infinite or beyond float32's range.
    FixedSensitivityError
        If a sensitivity is given and the model has one threshold.

    Examples
    --------
    >>> hours = np.arange("2026-01-01", "2026-01-15", dtype="datetime64[h]")
    >>> values = 20 + 5 * np.sin(2 * np.pi * np.arange(336) / 24)
    >>> values += np.random.default_rng(0).normal(0, 0.5, 336)
    >>> values[300] = 90
    >>> detection = detect(hours, values)
    >>> "2026-01-13T12" in [str(hours[alert.start]) for alert in detection.alerts]
    True
    """
    posted, notes = _series(timestamps, values)
    timeline = put_in_order(posted, model.last_timestamp if model else None)
    detector = model or untrained()
    detection = detector.detect(timeline.series, sensitivity)
    return SeriesDetection(
        **vars(detection),
        series=timeline.series,
        notes=[*notes, *timeline.notes, *evaluation_notes(detection)],
    )


def load_model(source: str | Path | bytes, sha256: str | None = None) -> Detector:
    """Read a model from its artifact.

    Parameters
    ----------
    source
        The path of a file, or its bytes.
    sha256
        The digest that the artifact must have, hexadecimal; unchecked if not given.

    Raises
    ------
    OSError
        If the file can't be read.
    CorruptArtifactError, UnsupportedArtifactError
        If it is not an artifact that this version can use.
    """
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    detector, _ = unpack(data, digest(data) if sha256 is None else sha256)
    return detector


def moment(time: int) -> str:
    """Return a time in milliseconds to the minute.

    Examples
    --------
    >>> moment(1393521300000)
    '2014-02-27 17:15'
    """
    return str(np.datetime64(int(time), "ms").astype("datetime64[m]")).replace("T", " ")


def _series(
    timestamps: Sequence[Any] | npt.NDArray[Any], values: Sequence[float] | npt.NDArray[Any]
) -> tuple[Series, list[str]]:
    """Return the readings that have a value, in their order, and a note on the others."""
    times, numbers = milliseconds(timestamps), np.asarray(values, np.float64)
    if times.shape != numbers.shape:
        raise ValueError(f"{counted(len(times), 'timestamp')}, {counted(len(numbers), 'value')}")
    series, is_missing = Series(times, numbers), np.isnan(numbers)
    if not is_missing.any():
        return series, []
    left_out = counted(int(is_missing.sum()), "reading")
    return series[~is_missing], [f"{left_out} without a value: left out."]


def milliseconds(timestamps: Sequence[Any] | npt.NDArray[Any]) -> Integers:
    """Return timestamps as milliseconds since 1970; see `detect`.

    Raises
    ------
    ValueError
        If one can't be read, or is ambiguous.

    Examples
    --------
    >>> milliseconds(["2014-02-27T17:15:00Z", "2014-02-27 18:15+01:00"]).tolist()
    [1393521300000, 1393521300000]
    >>> milliseconds([1393521300, 1393521300.5]).tolist()
    [1393521300000, 1393521300500]
    """
    array = np.asarray(timestamps)
    if not array.size:
        return np.zeros(0, np.int64)
    if array.ndim != 1:
        raise ValueError(f"Timestamps must have one dimension, not {array.ndim}")
    if array.dtype.kind in "iuf":
        return _from_numbers(array.astype(np.float64))
    if array.dtype.kind in "OU":
        array = np.array([_utc(each) for each in array.tolist()], "datetime64[ms]")
    if array.dtype.kind != "M" or np.isnat(array).any():
        raise ValueError("Not a valid date or time: use datetime64, datetime, ISO 8601 or numbers")
    return array.astype("datetime64[ms]").astype(np.int64)


def _from_numbers(numbers: npt.NDArray[np.float64]) -> Integers:
    """Return numbers since 1970 as milliseconds; the first one says the unit."""
    unit = epoch_unit(float(numbers[0]))
    if unit:
        times, is_unit = epoch_milliseconds(numbers, unit)
        if is_unit.all():
            return times
    raise ValueError(
        "Ambiguous timestamps: use seconds since 1970 (10^8 to 10^10), milliseconds (10^11 to "
        "10^13), microseconds or nanoseconds, and the same for all"
    )


def _utc(timestamp: Any) -> datetime:
    """Return a datetime or ISO 8601 text as naive UTC."""
    if isinstance(timestamp, str):
        try:
            timestamp = datetime.fromisoformat(timestamp.strip().upper())
        except ValueError as error:
            raise ValueError(f"Not a valid date or time: {timestamp!r}") from error
    if not isinstance(timestamp, datetime):
        raise ValueError(f"Not a valid date or time: {timestamp!r}")
    return timestamp.astimezone(UTC).replace(tzinfo=None) if timestamp.tzinfo else timestamp
