"""Past incidents that the job itself proposes to keep out of training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detector.contextual_forest import ContextualForest, usual_probation
from training.sources.series import Series

MOST = 5
LEAST_SEVERITY = 2 / 3
"""Of a score that is twice what an anomaly takes; what is less is odd, but hardly an incident."""


@dataclass(frozen=True)
class Proposal:
    """A range of the part fitted on that looks like an incident.

    Attributes
    ----------
    severity : float
        0 to 1; 0.5 is barely an anomaly.
    reason : str
        Why, in plain words.
    """

    first: np.datetime64
    last: np.datetime64
    severity: float
    reason: str

    @property
    def option(self) -> str:
        """The range as the command line takes it."""
        return f"--exclude {self.first} {self.last}"


def propose_exclusions(series: Series, cut: int) -> list[Proposal]:
    """Return what looks like an incident in the part fitted on, the most severe first.

    The contextual detector judges that part without a model, from its beginning, each reading by
    those before it; of a series' first 15 %, while it learns what is usual, nothing is proposed.
    Known incidents are not proposed again.

    Parameters
    ----------
    cut : int
        Where the part fitted on ends.
    """
    part = series.part(0, cut)
    detector = ContextualForest.untrained(probation=usual_probation(len(series)))
    detection = detector.detect(part.timestamps, part.values)
    proposals = [
        Proposal(
            part.timestamps[alert.start],
            part.timestamps[alert.end],
            float(detection.severity[alert.peak]),
            detection.reasons[alert.start],
        )
        for alert in detection.alerts
        if detection.severity[alert.peak] >= LEAST_SEVERITY
        and not part.in_window[alert.start : alert.end + 1].any()
    ]
    return sorted(proposals, key=lambda each: -each.severity)[:MOST]
