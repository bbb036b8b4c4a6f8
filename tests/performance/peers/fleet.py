"""The watcher's look at a fleet, as `fleet_speed.py` has it."""

from __future__ import annotations

from detector.artifact import pack
from tests.performance.fleet_speed import MODEL, Case, processor_seconds
from tests.performance.peers.contestant import Contestant
from training.candidates.contextual_forest import fit_contextual_forest
from training.sources.simulated import simulate_ec2_cpu


def look(readings: int) -> Contestant:
    """Return what answers the processor seconds of a first look, those after it, a cold start's."""
    detector = fit_contextual_forest(simulate_ec2_cpu().part(0, 2016), 42).detector
    artifact = pack(detector, MODEL, libraries={}, training_data={"readings": 2016}, figures={})
    case = Case(readings, has_model=False)
    return Contestant(lambda: None, lambda: processor_seconds(case, artifact))
