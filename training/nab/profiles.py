"""NAB's application profiles: what a hit, a false alarm and a miss are worth."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """Weights of one profile.

    Attributes
    ----------
    true_positive : float
        Credit of a window found at its very beginning.
    false_positive : float
        Cost of a false alarm far from any window.
    false_negative : float
        Cost of a window missed.
    """

    name: str
    true_positive: float
    false_positive: float
    false_negative: float


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("standard", 1.0, 0.11, 1.0),
        Profile("reward_low_FP_rate", 1.0, 0.22, 1.0),
        Profile("reward_low_FN_rate", 1.0, 0.11, 2.0),
    )
}
