"""How long the contextual forest and `/detect` take: python -m tests.performance.detect_speed.

With the simulated series of 4,032 readings, on one core: nothing here runs in parallel. Medians of
several runs, with the fastest and the slowest.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

from rich.console import Console

from detector.contextual_forest import ContextualForest
from tests.api_client import Api
from training.candidates.contextual_forest import fit_contextual_forest
from training.sources.simulated import simulate_ec2_cpu

RUNS = 15


def seconds(run: Callable[[], object]) -> list[float]:
    """Return how long each of several runs takes, after one that warms up."""
    run()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


def described(times: list[float], scale: float, unit: str) -> str:
    """Return the median, and the fastest and slowest run."""
    low, middle, high = (scale * f(times) for f in (min, statistics.median, max))
    return f"{middle:.1f} {unit} ({low:.1f} to {high:.1f})"


def main() -> None:
    """Measure and print."""
    series = simulate_ec2_cpu()
    whole = series.timestamps, series.values
    trained = fit_contextual_forest(series.part(0, 2016), seed=0).detector
    with_forest = ContextualForest.untrained(trained.forest)
    without = ContextualForest.untrained()
    readings = [
        {"timestamp": f"{moment}Z", "value": value}
        for moment, value in zip(series.timestamps, series.values.tolist(), strict=True)
    ]
    body, api = json.dumps({"series": readings}).encode(), Api()
    console, per_reading = Console(), 1e6 / len(series)
    for what, run, scale, unit in (
        ("detect, with forest", lambda: with_forest.detect(*whole), per_reading, "µs a reading"),
        ("detect, without", lambda: without.detect(*whole), per_reading, "µs a reading"),
        ("predict, after 2,016 readings", lambda: trained.predict(0.13), 1e3, "ms"),
        ("POST /detect, through the app", lambda: api.call("POST", "/detect", body), 1e3, "ms"),
    ):
        console.print(f"{what:32} {described(seconds(run), scale, unit)}", highlight=False)
        api.metrics.clear_metrics()


if __name__ == "__main__":
    main()
