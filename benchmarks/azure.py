"""`python -m benchmarks azure`: Azure's contract on published cases, and on simulated series.

Each case is a JSON file of an operation, a request and what Microsoft's test expects of the
response. It is posted to the service as API Gateway would, and compared: flags within two points,
expected values within 5 %, periods exactly. Simulated series show what cases can't: how often a
reading that is nothing but ordinary is flagged.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from aws_lambda_powertools import Logger
from rich.console import Console
from rich.table import Table

from benchmarks.speed import BenchmarkError
from local.gateway import proxy_event
from ops_anomaly.azure.service import respond

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats, Mask


SIZES = ("under 60", "60 to 1,000", "over 1,000")
TOLERANCE = 2
"""Points by which a flag may be off."""

EXPECTED_ERROR = 0.05

LENGTHS = (12, 20, 29, 60, 200, 1000)
SEASONS = (0, 7, 24)
LEVELS = ("none", "line", "wander", "shift")
NOISES = ("normal", "heavy", "correlated")
DEVIATIONS = (6.0, 12.0)
"""Size of an injected anomaly, in standard deviations of the noise."""

REPEATS = 20
LARGEST = 8640


@dataclass(frozen=True)
class Comparison:
    """What a case expects, and what the service responds.

    Attributes
    ----------
    status : int
        Of the response.
    period, values : bool or None
        Whether they agree; None where the case doesn't say. Of lists, more than half must.
    wanted, found : (n,) bool
        Flags of all points, or of the last one; empty where the case has none.
    """

    name: str
    operation: str
    size: str
    status: int
    period: bool | None
    values: bool | None
    wanted: Mask
    found: Mask

    @property
    def recall(self) -> float:
        """Share of the wanted flags that have one of ours within the tolerance."""
        return near(self.wanted, self.found)

    @property
    def precision(self) -> float:
        """Share of our flags that have a wanted one within the tolerance."""
        return near(self.found, self.wanted)

    @property
    def f1(self) -> float:
        """Harmonic mean of both."""
        both = self.recall + self.precision
        return 2.0 * self.recall * self.precision / both if both else 0.0


def azure(
    cases: Annotated[Path, typer.Option(help="Folder of published cases, one JSON file each.")],
    seeds: Annotated[int, typer.Option(min=0, help="Simulations of each kind.")] = REPEATS,
) -> None:
    """Compare Azure-compatible responses with published cases, and with what was simulated."""
    console = Console()
    compared = [compare(path) for path in case_files(cases)]
    print_cases(compared, console)
    print_losses(compared, console)
    if seeds:
        print_simulation(seeds, console)
    seconds = statistics.median(seconds_of_largest() for _ in range(5))
    console.print(f"entire, {LARGEST:,} points, through the handler: {seconds:.3f} s (median of 5)")


def case_files(folder: Path) -> list[Path]:
    """Return the files of cases.

    Raises
    ------
    BenchmarkError
        If there are none.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise BenchmarkError(f"no *.json in {folder}: expected one case a file")
    return paths


def compare(path: Path) -> Comparison:
    """Post a case, and compare the response.

    Raises
    ------
    BenchmarkError
        If the file is no case.
    """
    case = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(case, dict) or not {"operation", "request", "expected"} <= case.keys():
        raise BenchmarkError(f"{path.name} has no operation, request and expected")
    expected, operation = case["expected"], case["operation"]
    status, body = post(case["request"], operation)
    points = len(case["request"].get("series", []))
    has_flags = status == 200 and "isAnomaly" in expected
    name = "expectedValue" if operation == "last" else "expectedValues"
    return Comparison(
        name=path.stem,
        operation=operation,
        size=SIZES[(points >= 60) + (points > 1000)],
        status=status,
        period=agreement(body, expected, "period", 0.0),
        values=agreement(body, expected, name, EXPECTED_ERROR),
        wanted=np.atleast_1d(expected["isAnomaly"]) if has_flags else np.zeros(0, bool),
        found=np.atleast_1d(body["isAnomaly"]) if has_flags else np.zeros(0, bool),
    )


def post(request: dict[str, Any], operation: str) -> tuple[int, dict[str, Any]]:
    """Return status and body of the response to a request."""
    path = f"/anomalydetector/v1.1/timeseries/{operation}/detect"
    event = proxy_event("POST", path, "", [], json.dumps(request).encode())
    response = respond(event, Logger(service="benchmark"), lambda *_: None)
    return response["statusCode"], json.loads(response["body"])


def agreement(
    body: dict[str, Any], expected: dict[str, Any], name: str, tolerance: float
) -> bool | None:
    """Return whether a number, or most of a list, is within a share of the expected one."""
    if name not in expected or name not in body:
        return None
    wanted, got = np.atleast_1d(expected[name]), np.atleast_1d(body[name])
    return bool(np.mean(np.abs(got - wanted) <= tolerance * np.abs(wanted)) > 0.5)


def near(flags: Mask, others: Mask) -> float:
    """Return the share of flags that have another within the tolerance; 1 of none."""
    if not flags.any():
        return 1.0
    around = np.convolve(others, np.ones(2 * TOLERANCE + 1))[TOLERANCE:-TOLERANCE] > 0
    return float(around[flags].mean())


def print_cases(compared: list[Comparison], console: Console) -> None:
    """Print the agreement with the cases, by size."""
    table = Table("", *SIZES, "all", title="Published cases")
    rows: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for case in compared:
        for size in (case.size, "all"):
            rows["accepted"][size].append(case.status == 200)
            if case.period is not None:
                rows["period"][size].append(case.period)
            if case.values is not None:
                rows["expected values within 5 %"][size].append(case.values)
            if case.operation == "last" and case.wanted.size:
                kind = "anomalies found" if case.wanted[0] else "normal ones flagged"
                rows[f"last: {kind}"][size].append(case.found[0])
            if case.operation == "entire" and case.wanted.size:
                rows["entire: mean F1"][size].append(case.f1)
                rows["entire: wanted flags that are ours"][size].append(case.recall)
                rows["entire: our flags that are wanted"][size].append(case.precision)
    for name, cells in rows.items():
        table.add_row(name, *(share(cells[size]) for size in (*SIZES, "all")))
    console.print(table)


def share(numbers: list[float]) -> str:
    """Return a mean as a percentage, and of how many."""
    return f"{100 * np.mean(numbers):.0f} % of {len(numbers)}" if numbers else "-"


def print_losses(compared: list[Comparison], console: Console) -> None:
    """Print every case in which the flags differ."""
    table = Table("case", "points", "wanted", "ours", "F1", title="Losses")
    for case in compared:
        if case.status != 200 or case.f1 < 1.0:
            flags = [str(int(each.sum())) for each in (case.wanted, case.found)]
            f1 = f"{case.f1:.2f}" if case.status == 200 else f"status {case.status}"
            table.add_row(f"{case.name} ({case.operation})", case.size, *flags, f1)
    console.print(table)


def print_simulation(seeds: int, console: Console) -> None:
    """Print what is found in simulated series, and what is flagged for nothing."""
    columns = ("last: found", "last: shifted 6 ago", "last: false", "entire: F1", "entire: false")
    table = Table("points", *columns, "period", title="Simulated series")
    for n in LENGTHS:
        records = [simulate(n, *kind, seed) for kind in kinds(n) for seed in range(seeds)]
        means = [np.mean([each[name] for each in records]) for name in records[0]]
        table.add_row(f"{n:,}", *("-" if np.isnan(m) else f"{100 * m:.1f} %" for m in means))
    console.print(table)


def kinds(n: int) -> Iterator[tuple[int, str, str]]:
    """Yield season, level and noise of the series that are as long as this."""
    for season in SEASONS:
        for level in LEVELS:
            # three periods to find one; and a level that wanders within a dozen points is noise
            if n > 3 * season and (n >= 60 or level != "wander"):
                yield from ((season, level, noise) for noise in NOISES)


def simulate(n: int, season: int, level: str, noise: str, seed: int) -> dict[str, float]:
    """Return what is found in a series, as it is and with anomalies."""
    random = np.random.default_rng([seed, n, season, LEVELS.index(level), NOISES.index(noise)])
    values = simulated(n, season, level, noise, random)
    plain, body = last_of(values)
    size = random.uniform(*DEVIATIONS) * random.choice([-1, 1])
    spiked, shifted, several = values.copy(), values.copy(), values.copy()
    spiked[-1] += size
    shifted[-6:] += size
    wanted = np.zeros(n, bool)
    for start in random.integers(0, n - 3, max(n // 100, 1)):
        stop = start + (random.integers(1, 4) if n >= 60 else 1)
        several[start:stop] += size
        wanted[start:stop] = True
    found = np.array(post(request_of(several), "entire")[1]["isAnomaly"])
    recall, precision = near(wanted, found), near(found, wanted)
    return {
        "found": last_of(spiked)[0],
        "shift": last_of(shifted)[0] if n >= 29 else np.nan,
        "false": plain,
        "f1": 2 * recall * precision / (recall + precision) if recall + precision else 0.0,
        "flagged": float(np.mean(post(request_of(values), "entire")[1]["isAnomaly"])),
        "period": body["period"] == season,
    }


def simulated(n: int, season: int, level: str, noise: str, random: np.random.Generator) -> Floats:
    """Return a series whose noise has a standard deviation of 1: (n,)."""
    values = np.full(n, 50.0)
    if season:
        values += random.choice([2.0, 5.0, 10.0]) * np.resize(random.normal(size=season), n)
    if level == "line":
        values += np.linspace(0.0, random.choice([-10.0, 10.0]), n)
    elif level == "wander":
        values += np.interp(np.linspace(0, 7, n), np.arange(8), 6.0 * random.normal(size=8))
    elif level == "shift":
        values[int(n * random.uniform(0.3, 0.7)) :] += random.choice([-10.0, 10.0])
    if noise == "heavy":
        return values + random.standard_t(3, n) / 3**0.5
    errors = random.normal(size=n)
    if noise == "correlated":
        for i in range(1, n):
            errors[i] = 0.7 * errors[i - 1] + 0.51**0.5 * errors[i]
    return values + errors


def request_of(values: Floats) -> dict[str, Any]:
    """Return the request about a series without timestamps, at the default sensitivity."""
    return {"series": [{"value": value} for value in values.tolist()]}


def last_of(values: Floats) -> tuple[bool, dict[str, Any]]:
    """Return whether the last point is flagged, and the whole response."""
    body = post(request_of(values), "last")[1]
    return body["isAnomaly"], body


def seconds_of_largest() -> float:
    """Return how long the largest request takes, from the event to the response."""
    random = np.random.default_rng(0)
    minutes = np.arange(LARGEST)
    values = 10.0 + 3.0 * np.sin(2.0 * np.pi * minutes / 1440) + random.normal(size=LARGEST)
    moments = np.datetime_as_string(np.datetime64("2024-01-01T00:00:00") + minutes * 60)
    series = [
        {"timestamp": f"{moment}Z", "value": value}
        for moment, value in zip(moments, values.tolist(), strict=True)
    ]
    path = "/anomalydetector/v1.1/timeseries/entire/detect"
    body = json.dumps({"series": series, "granularity": "minutely"}).encode()
    event = proxy_event("POST", path, "", [], body)
    logger = Logger(service="benchmark")
    began = time.perf_counter()
    response = respond(event, logger, lambda *_: None)
    seconds = time.perf_counter() - began
    if response["statusCode"] != 200:
        raise BenchmarkError(f"the largest request was refused: {response['body']}")
    return seconds
