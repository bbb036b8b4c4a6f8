"""The state of the contextual detector: all that its next score depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ops_anomaly.detection.members import CALM, COUNT, RESTLESS, STUCK
from ops_anomaly.detection.types import (
    DAY,
    MINUTE,
    CorruptArtifactError,
    Stored,
    expect,
    whole,
    within,
)

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats, Mask, RawTensor

MAX_VALUE = 1e300
"""More than any number of a state."""

MAX_PERIOD_VALUE = 1e45
"""Of float32's range, and a margin for what a new normal has been scaled by."""

MAX_TIME = 2.0**47
"""Some 4,000 years around 1970, in milliseconds."""

MAX_LOG = 100.0
MAX_DAYS = 60
MAX_STEPS = 256

LAYOUT: dict[str, tuple[str, tuple[int | None, ...]]] = {
    "steps": ("F64", (None,)),
    "values": ("F64", (3, None)),
    "counts": ("F64", (None,)),
    "is_history": ("U8", (None,)),
    "levels": ("F64", (3,)),
    "before": ("F64", (3,)),
    "errors": ("F64", (3,)),
    "hourly": ("F64", (48,)),
    "hourly_count": ("F64", (48,)),
    "relative": ("F64", (48,)),
    "tops": ("F64", (COUNT,)),
    "misfit": ("F64", (2, 4)),
    "maxima": ("F64", (None, COUNT)),
    "misfits": ("F64", (None, 4)),
    "thresholds": ("F64", (COUNT,)),
    "recorded": ("F64", (COUNT,)),
    "starts": ("F64", (COUNT,)),
}

NOT_FINITE = frozenset({"values", "tops", "maxima", "misfits", "thresholds", "recorded"})
"""Where infinity and NaN say that there is no number yet."""

LIMITS: dict[str, tuple[float, float]] = {
    "sensitivity": (1e-6, 1e6),
    "count": (0, 2**53),
    "first": (-MAX_TIME, MAX_TIME),
    "time": (-MAX_TIME, MAX_TIME),
    "step": (0, MAX_TIME),
    "block_stop": (0, 2**53),
    "lowest": (-MAX_PERIOD_VALUE, MAX_PERIOD_VALUE),
    "highest": (-MAX_PERIOD_VALUE, MAX_PERIOD_VALUE),
    "centre": (-MAX_PERIOD_VALUE, MAX_PERIOD_VALUE),
    "period": (5 * MINUTE, DAY),
    "base": (-MAX_TIME, MAX_TIME),
    "frozen": (-MAX_TIME, MAX_TIME),
    "season": (0, 3),
    "best": (0, 2),
    "learnt": (0, 2**53),
    "changed": (-MAX_TIME, MAX_TIME),
    "changes": (0, 2**53),
    "part": (-MAX_TIME, MAX_TIME),
    "began": (-MAX_TIME, MAX_TIME),
    "flagged": (-MAX_TIME, MAX_TIME),
    "member": (-1, COUNT - 1),
    "warm_up": (0, 2**53),
    "raised": (0.0, 1e6),
    "least_moves": (0.0, MAX_VALUE),
}


RATES = (0.1, 0.35, 0.9)
"""Learning rates of the three levels that compete to forecast the next reading: slow for noise,
fast for a metric that wanders."""

SEASONS = ("none", "daily", "weekday and weekend", "weekly")


@dataclass
class State:
    """State after some readings; changed in place only by the detector that made the copy.

    Attributes
    ----------
    sensitivity : float
        Expected false alerts a week.
    count, first, time, value
        Readings so far; time of the first, time and value of the last one.
    step : float
        Usual distance of readings, ms; `steps` holds the last ones.
    block_stop : int
        The index, counted from the first reading ever, at which what changes slowly is refreshed.

    period, base, values, counts, is_history
        The last four weeks: see `periods`. `frozen`: the first period that the block can't see.
    season : int
        Index into `SEASONS`.
    centre, lowest, highest : float
        Median of the last week, and the range ever seen.
    levels, before, errors : (3,)
        Level by each learning rate, the same when the incident began, mean absolute errors.
    best, learnt : int
        The rate with the least error; how many errors there were.
    slow, hour, six : float
        Deviation from usual: over two days, one hour, six hours.
    moves : float
        Mean square step of the last hour; `rough`, `rough_now`: mean of two days, six hours.
    hourly, hourly_count, relative : (48,)
        Size of the errors by hour of weekdays and weekends: sums, numbers, relative to all.
    deviation, usual_move, least_moves
        Of the block: deviation from usual, standard error of forecasts, mean square of rounding.
    changed, changes, quantum, is_stuck_known
        Time of the last change, number of changes, least change, whether a standstill is the
        new normal.
    was_off, was_new_day : bool
        The last reading was itself an anomaly, so the step from it says nothing; it was of a day
        like none before.
    part, tops, misfit
        The current six hours: highest scores, errors of each season.
    maxima : (p, members), misfits : (p, 4)
        Of the last parts.
    thresholds, recorded, starts : (members,)
        What alerts, the same without waiting for a member to know enough, where its tail begins.
    raised : float
        Alerts so far, each counting less the longer ago it was; as of `began`.
    is_open, began, flagged, member, is_alerted
        The incident: time of its first and of its last flag, the member that raised it, and
        whether an alert was raised. `warm_up`: the first index that may raise one.
    has_novelty : bool
        Whether a novelty forest is among the members.
    """

    sensitivity: float = 1.0
    count: int = 0
    first: int = 0
    time: int = 0
    value: float = 0.0
    step: float = 0.0
    block_stop: int = 0
    period: int = 5 * MINUTE
    base: int = 0
    frozen: int = 0
    season: int = 0
    centre: float = 0.0
    lowest: float = 0.0
    highest: float = 0.0
    best: int = 1
    learnt: int = 0
    slow: float = 0.0
    hour: float = 0.0
    six: float = 0.0
    moves: float = 0.0
    rough: float = 0.0
    rough_now: float = 0.0
    changed: int = 0
    changes: int = 0
    quantum: float = 1e300
    is_stuck_known: bool = False
    was_off: bool = False
    was_new_day: bool = False
    deviation: float = 0.0
    usual_move: float = 0.0
    least_moves: float = 1e-300
    part: int = -1
    is_open: bool = False
    began: int = 0
    flagged: int = 0
    member: int = -1
    raised: float = 0.0
    is_alerted: bool = False
    warm_up: int = 0
    has_novelty: bool = False
    steps: Floats = field(default_factory=partial(np.zeros, 0))
    values: Floats = field(default_factory=partial(np.zeros, (3, 0)))
    counts: Floats = field(default_factory=partial(np.zeros, 0))
    is_history: Mask = field(default_factory=lambda: np.zeros(0, np.bool_))
    levels: Floats = field(default_factory=partial(np.zeros, 3))
    before: Floats = field(default_factory=partial(np.zeros, 3))
    errors: Floats = field(default_factory=partial(np.zeros, 3))
    hourly: Floats = field(default_factory=partial(np.zeros, 48))
    hourly_count: Floats = field(default_factory=partial(np.zeros, 48))
    relative: Floats = field(default_factory=partial(np.full, 48, 1.0))
    tops: Floats = field(default_factory=partial(np.full, COUNT, -np.inf))
    misfit: Floats = field(default_factory=partial(np.zeros, (2, 4)))
    maxima: Floats = field(default_factory=partial(np.zeros, (0, COUNT)))
    misfits: Floats = field(default_factory=partial(np.zeros, (0, 4)))
    thresholds: Floats = field(default_factory=partial(np.full, COUNT, np.inf))
    recorded: Floats = field(default_factory=partial(np.full, COUNT, np.inf))
    starts: Floats = field(default_factory=partial(np.zeros, COUNT))

    def copy(self) -> State:
        """Return a state that can be changed without changing this one."""
        fields: dict[str, Any] = {
            name: field.copy() if isinstance(field, np.ndarray) else field
            for name, field in vars(self).items()
        }
        return State(**fields)

    def stored(self) -> Stored:
        """Return the stored form."""
        tensors = {k: v for k, v in vars(self).items() if isinstance(v, np.ndarray)}
        scalars = {k: float(v) for k, v in vars(self).items() if not isinstance(v, np.ndarray)}
        return Stored(tensors | {"is_history": self.is_history.astype(np.uint8)}, scalars)

    @classmethod
    def restore(cls, tensors: Mapping[str, RawTensor], parameters: Mapping[str, float]) -> State:
        """Rebuild a state from its stored form.

        Raises
        ------
        CorruptArtifactError
            If a name, dtype, shape or number can't be of a state.
        """
        expect(tensors, LAYOUT, not_finite=NOT_FINITE)
        new = cls()
        scalars: dict[str, Any] = {}
        for name, default in vars(new).items():
            if isinstance(default, np.ndarray):
                continue
            low, high = LIMITS.get(name, (-MAX_VALUE, MAX_VALUE))
            if isinstance(default, float):
                scalars[name] = within(parameters, name, low, high)
            else:
                scalars[name] = type(default)(whole(parameters, name, int(low), int(high)))
        arrays: dict[str, Any] = {
            name: tensor.to_numpy().copy() for name, tensor in tensors.items()
        }
        arrays["is_history"] = arrays["is_history"].astype(bool)
        state = cls(**scalars, **arrays)
        state.check()
        return state

    def check(self) -> None:
        """Raise `CorruptArtifactError` unless parts that belong together fit."""
        held = len(self.counts)
        if not held == self.values.shape[1] == len(self.is_history):
            raise CorruptArtifactError("the tensors of the periods are not equally long")
        if held > MAX_DAYS * DAY // self.period or len(self.steps) > MAX_STEPS:
            raise CorruptArtifactError("a state keeps no more than a month")
        is_valid = np.abs(self.values[:, self.counts > 0]) <= MAX_PERIOD_VALUE  # no NaN is
        if (self.counts < 0).any() or not is_valid.all():
            raise CorruptArtifactError("tensor values: a period with readings has no valid ones")
        if max(self.first, self.changed, self.began, self.flagged) > self.time:
            raise CorruptArtifactError("parameter time: something is later than the last reading")
        if self.block_stop < self.count or (self.count and not held):
            raise CorruptArtifactError("parameter count: not within its block")
        if held and not self.base <= self.time // self.period < self.base + held:
            raise CorruptArtifactError("parameter time: not within the periods")
        movement = [RESTLESS, CALM, STUCK]
        is_positive = np.delete(self.thresholds, [RESTLESS, CALM]) > 0
        is_beyond = self.thresholds[movement] >= self.starts[movement]
        stuck = self.thresholds[STUCK]
        is_positive &= (stuck < MAX_LOG) | (stuck == np.inf)
        if not (is_positive.all() and is_beyond.all() and (self.relative > 0).all()):
            raise CorruptArtifactError("tensor thresholds: not beyond where tails start")
