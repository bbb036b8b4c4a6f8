"""The replay of a fleet: its metrics on all cores, what is done kept, folded into incidents."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from joblib import Parallel, delayed

import ops_anomaly
from ops_anomaly.detection.types import DAY, HOUR, WEEK
from ops_anomaly.watcher.feedback import NO_FEEDBACK, by_metric
from ops_anomaly.watcher.settling import FINAL_SECONDS
from replay.engine import MetricReplay, Report, replay_metric
from replay.fold import Notified, notified

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Series
    from ops_anomaly.watcher.feedback import Feedback, MetricFeedback
    from replay.reading import Planned

SENSITIVITIES = (0.1, 0.2, 0.5, 1.0, 2.0)
"""What else an entry's sensitivity might be."""

MIN_PARALLEL = 4
"""So many metrics are evaluated on all cores: fewer are done before these have started."""

OnProgress = Callable[[int, int], None]


class MetricOutcome(msgspec.Struct, frozen=True):
    """The replay of a metric, and what it would have been at other sensitivities.

    Attributes
    ----------
    at : dict of float to list of Report
        By sensitivity.
    without_feedback : list of Report
        As if nobody had said anything.
    """

    replay: MetricReplay
    at: dict[float, list[Report]]
    without_feedback: list[Report]


@dataclass(frozen=True)
class FleetReplay:
    """What the watcher would have found of a fleet.

    Attributes
    ----------
    planned : sequence of Planned
        The metrics that had readings.
    metrics : dict of str to MetricReplay
        By the metric's text.
    notified : Notified
    at : dict of float to Notified
        What it would have been if each entry had this sensitivity.
    without_feedback : Notified or None
        What it would have been without feedback; None if there was none.
    """

    planned: Sequence[Planned]
    metrics: Mapping[str, MetricReplay]
    notified: Notified
    at: Mapping[float, Notified]
    without_feedback: Notified | None

    @property
    def start(self) -> int:
        """From when on metrics were evaluated, milliseconds: the first of them."""
        return min(each.start for each in self.metrics.values())

    @property
    def until(self) -> int:
        """Until when they were evaluated, milliseconds."""
        return max(each.until for each in self.planned)

    @property
    def watched(self) -> list[int]:
        """How long each metric was evaluated, milliseconds."""
        return [each.until - each.start for each in self.metrics.values()]

    @property
    def weeks(self) -> float:
        """How long a metric was evaluated, on average: metrics may be of different times.

        A count by it is what a week would bring in which all metrics are watched.
        """
        return fmean(self.watched) / WEEK


def replay_fleet(
    planned: Sequence[Planned],
    history_of: Callable[[Planned], Series],
    feedback: Sequence[Feedback],
    folder: OutcomeFolder,
    on_progress: OnProgress,
) -> FleetReplay:
    """Replay metrics on all cores, and fold what is found into incidents.

    Parameters
    ----------
    folder
        Where the outcome of each metric is kept.
    on_progress
        Called with how many metrics have been evaluated, of how many.
    """
    said = by_metric(feedback)
    tasks = (
        delayed(_outcome)(each, history_of(each), said.get(str(each.metric), NO_FEEDBACK), folder)
        for each in planned
    )
    cores = 1 if len(planned) < MIN_PARALLEL else -1
    outcomes: dict[str, MetricOutcome] = {}
    on_progress(0, len(planned))
    for outcome in Parallel(n_jobs=cores, return_as="generator_unordered")(tasks):
        outcomes[outcome.replay.metric] = outcome
        on_progress(len(outcomes), len(planned))
    entries = {each.options.name: each.options for each in planned}
    until = max(each.until for each in planned)

    def fold(reports: Iterable[Sequence[Report]], said: Sequence[Feedback]) -> Notified:
        return notified(chain.from_iterable(reports), entries, said, until)

    return FleetReplay(
        planned=planned,
        metrics={str(each.metric): outcomes[str(each.metric)].replay for each in planned},
        notified=fold((each.replay.reports for each in outcomes.values()), feedback),
        at={
            level: fold((each.at[level] for each in outcomes.values()), feedback)
            for level in SENSITIVITIES
        },
        without_feedback=fold((each.without_feedback for each in outcomes.values()), ())
        if feedback
        else None,
    )


def _outcome(
    planned: Planned, history: Series, feedback: MetricFeedback, folder: OutcomeFolder
) -> MetricOutcome:
    """Replay one metric, unless that has been done."""
    key = digest_of(planned, history, feedback)
    known = folder.read(key)
    if known:
        return known

    def at(sensitivity: float, said: MetricFeedback = feedback) -> MetricReplay:
        options = msgspec.structs.replace(planned.options, sensitivity=sensitivity)
        return replay_metric(planned.metric, options, history, planned.start, planned.until, said)

    own = planned.options.sensitivity
    replays = {each: at(each) for each in {own, *SENSITIVITIES}}
    unmarked = at(own, NO_FEEDBACK) if any(feedback) else replays[own]
    outcome = MetricOutcome(
        replay=replays[own],
        at={each: replays[each].reports for each in SENSITIVITIES},
        without_feedback=unmarked.reports,
    )
    folder.add(key, outcome)
    return outcome


def digest_of(planned: Planned, history: Series, feedback: MetricFeedback) -> str:
    """Return a digest of all that decides a metric's outcome, the code included."""
    parts = [
        msgspec.json.encode([str(planned.metric), planned.options, feedback]),
        f"{planned.start} {planned.until} {SENSITIVITIES} {_code()}".encode(),
        np.ascontiguousarray(history.times).tobytes(),
        np.ascontiguousarray(history.values).tobytes(),
    ]
    return hashlib.sha256(b"|".join(parts)).hexdigest()[:32]


@cache
def _code() -> str:
    folders = (Path(ops_anomaly.__file__).parent, Path(__file__).parent)
    texts = [path.read_bytes() for folder in folders for path in sorted(folder.rglob("*.py"))]
    return hashlib.sha256(b"|".join(texts)).hexdigest()


class OutcomeFolder:
    """Outcomes of metrics, a file each: a replay that was interrupted continues with them.

    So does one of the same metrics until the same time, for a day.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, key: str) -> MetricOutcome | None:
        """Return an outcome, if it is known."""
        try:
            path = self._folder / f"{key}.msgpack"
            return msgspec.msgpack.decode(path.read_bytes(), type=MetricOutcome)
        except (OSError, ValueError):
            return None

    def add(self, key: str, outcome: MetricOutcome) -> None:
        """Keep an outcome."""
        unfinished = self._folder / f"{key}.{os.getpid()}"
        unfinished.write_bytes(msgspec.msgpack.encode(outcome))
        unfinished.replace(self._folder / f"{key}.msgpack")

    def until(self, key: str, now: int) -> int:
        """Return until when to replay: the last hour whose readings are final, milliseconds.

        A replay that was interrupted within a day continues until the time that it had.

        Parameters
        ----------
        key
            What is replayed.
        now : int
            Milliseconds since 1970.
        """
        path = self._folder / "interrupted.json"
        try:
            known, until = msgspec.json.decode(path.read_bytes(), type=tuple[str, int])
        except (OSError, ValueError):
            known, until = key, 0
        if known != key or now - until > DAY:
            until = (now - 1_000 * FINAL_SECONDS) // HOUR * HOUR
        path.write_bytes(msgspec.json.encode((key, until)))
        return until

    def finish(self, now: int) -> None:
        """Forget that a replay has begun, and what was evaluated more than a day ago.

        Parameters
        ----------
        now : int
            Milliseconds since 1970.
        """
        for path in self._folder.glob("*.msgpack"):
            if 1_000 * path.stat().st_mtime < now - DAY:
                path.unlink(missing_ok=True)
        (self._folder / "interrupted.json").unlink(missing_ok=True)
