"""A detector that has seen ahead: what it decides of readings to come is found in bulk.

A detector decides the same, to the bit, reading by reading as in chunks, and chunks take a
hundredth of the time. So the watcher's code can be run tick by tick over a month: what it asks of
the detector has been found before.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ops_anomaly.detection.types import Alert, Detection, alerts_from

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Detector, Series

CHUNK = 288
"""Readings that are evaluated in one call: a fixed part of its time is below a tenth."""

ARRAYS = ("scores", "thresholds", "is_anomaly", "can_evaluate", "expected", "lower", "upper")


class Recording:
    """What a detector decides of a series, evaluated as far as it has been needed.

    Parameters
    ----------
    detector
        As it was before the first reading of the series.
    series
        Readings, n, that follow those it has seen.
    sensitivity : float or None
        With which all of them are evaluated.
    """

    def __init__(self, detector: Detector, series: Series, sensitivity: float | None) -> None:
        self.series = series
        self.sensitivity = sensitivity
        self._detectors = [detector]
        self._latest = 0, detector
        self._arrays: dict[str, list[Any]] = {name: [] for name in ARRAYS}
        self._found: dict[str, Any] = {}
        self._reasons: dict[int, str] = {}
        self._starts: list[int] = []
        self._members: list[str] = []

    @property
    def evaluated(self) -> int:
        """How many readings have been evaluated."""
        return min((len(self._detectors) - 1) * CHUNK, len(self.series))

    def detection(self, start: int, stop: int) -> Detection:
        """Return what is found in the readings from one position to before another."""
        self._evaluate_to(stop)
        found = {name: self._found[name][start:stop] for name in ARRAYS}
        flagged = (start + np.flatnonzero(found["is_anomaly"])).tolist()
        which = slice(bisect_left(self._starts, start), bisect_left(self._starts, stop))
        begun = [each - start for each in self._starts[which]]
        alerts = alerts_from(found["scores"], found["is_anomaly"], begun)
        return Detection(
            **found,
            reasons={each - start: self._reasons[each] for each in flagged},
            alerts=[
                Alert(each.start, each.end, each.peak, member)
                for each, member in zip(alerts, self._members[which], strict=True)
            ],
        )

    def next_anomaly(self, start: int, stop: int) -> int | None:
        """Return the time of the first anomalous reading from one time to before another.

        All in milliseconds; None if there is none.
        """
        first, last = np.searchsorted(self.series.times, [start, stop]).tolist()
        while first < last:
            self._evaluate_to(first + 1)
            known = min(self.evaluated, last)
            found = np.flatnonzero(self._found["is_anomaly"][first:known])
            if len(found):
                return int(self.series.times[first + int(found[0])])
            first = known
        return None

    def detector(self, position: int) -> Detector:
        """Return the detector after so many readings of the series."""
        self._evaluate_to(position)
        chunk = min(position // CHUNK, len(self._detectors) - 1)
        begin, detector = chunk * CHUNK, self._detectors[chunk]
        if begin < self._latest[0] <= position:  # asked for one after the other
            begin, detector = self._latest
        rest = self.series[begin:position]
        if len(rest):
            detector = detector.update(rest, self.sensitivity)[1]
        self._latest = position, detector
        return detector

    def _evaluate_to(self, stop: int) -> None:
        if self._found and stop <= self.evaluated:
            return
        while self.evaluated < stop or not self._arrays["scores"]:
            first = self.evaluated
            detection, detector = self._detectors[-1].update(
                self.series[first : first + CHUNK], self.sensitivity
            )
            self._detectors.append(detector)
            for name, parts in self._arrays.items():
                parts.append(getattr(detection, name))
            self._reasons |= {first + each: text for each, text in detection.reasons.items()}
            self._starts += [first + each.start for each in detection.alerts]
            self._members += [each.member for each in detection.alerts]
        self._found = {name: np.concatenate(parts) for name, parts in self._arrays.items()}


@dataclass(frozen=True)
class LookaheadDetector:
    """A detector of which the next readings are known; in all else it is the detector itself.

    Attributes
    ----------
    position : int
        How many readings of the recording it has seen.
    """

    recording: Recording
    position: int = 0

    @classmethod
    def of(cls, detector: Detector, series: Series, sensitivity: float | None) -> Detector:
        """Return a detector that decides as another, of which these readings come next."""
        return cast("Detector", cls(Recording(detector, series, sensitivity)))

    def update(
        self, series: Series, sensitivity: float | None = None
    ) -> tuple[Detection, LookaheadDetector | Detector]:
        """Return what the detector would: from the recording, if these readings are its next."""
        stop = self.position + len(series)
        known = self.recording.series[self.position : stop]
        if (
            sensitivity != self.recording.sensitivity
            or not np.array_equal(known.times, series.times)
            or not np.array_equal(known.values, series.values)
        ):
            return self.recording.detector(self.position).update(series, sensitivity)
        return self.recording.detection(self.position, stop), replace(self, position=stop)

    def detect(self, series: Series, sensitivity: float | None = None) -> Detection:
        """Score readings that follow; see `Detector.detect`."""
        return self.update(series, sensitivity)[0]

    def next_anomaly(self, start: int, stop: int) -> int | None:
        """Return the time of the first anomalous reading; see `Recording.next_anomaly`."""
        return self.recording.next_anomaly(start, stop)

    @property
    def last_timestamp(self) -> int | None:
        """Time of the last reading seen, milliseconds."""
        if self.position:
            return int(self.recording.series.times[self.position - 1])
        return self.recording.detector(0).last_timestamp

    def __getattr__(self, name: str) -> Any:
        """Return what the detector itself has."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.recording.detector(self.position), name)
