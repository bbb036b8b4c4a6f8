"""Benchmarks `life` and `faults` on detectors whose figures are known: an oracle, two extremes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.detection import faults, life, peers, simulation
from benchmarks.detection.counting import (
    HOUR_MS,
    UNTOUCHED,
    Counts,
    count,
    daily_thresholds,
    group,
    own_threshold,
    read_series,
    summarise,
    training_readings,
)
from benchmarks.detection.peers import PEERS, Peer, Periods, detection_of
from benchmarks.detection.report import run_tasks
from benchmarks.detection.simulation import MONDAY, Metric, Setting, simulate
from ops_anomaly.detection.types import Detection, Series
from training import SourceError
from training.sources.series import DAY_MS, MINUTE_MS, LabelledSeries

STEP = 5 * MINUTE_MS
READINGS = 1000


def hourly(*windows: tuple[int, int], step: int = HOUR_MS) -> LabelledSeries:
    series = Series(step * np.arange(READINGS), np.zeros(READINGS))
    limits = step * np.array(windows, np.int64).reshape(-1, 2)
    return LabelledSeries("made", "here", series, windows=limits)


# --- the counting rule


def test_flags_within_three_steps_are_one_alert() -> None:
    flags = np.zeros(READINGS, bool)
    flags[[500, 503, 507]] = True

    assert group(HOUR_MS * np.arange(READINGS), flags) == [(500, 503), (507, 507)]


def test_flags_within_an_hour_are_one_alert_at_one_minute() -> None:
    flags = np.zeros(READINGS, bool)
    flags[[100, 160, 221]] = True

    assert group(MINUTE_MS * np.arange(READINGS), flags) == [(100, 160), (221, 221)]


def test_no_flags_are_no_alerts() -> None:
    assert group(HOUR_MS * np.arange(READINGS), np.zeros(READINGS, bool)) == []


def test_the_training_prefix_is_14_days_at_most_35_percent() -> None:
    assert training_readings(hourly().series) == 14 * 24
    assert training_readings(hourly().series[:100]) == 35


@pytest.mark.parametrize(
    ("alert", "found", "false"),
    [
        ((600, 600), 1, 0),  # within
        ((599, 599), 1, 0),  # within the slack of one step
        ((606, 606), 1, 0),
        ((598, 598), 0, 1),  # before it
        ((598, 602), 0, 0),  # starts before it, reaches it: neither found nor false
        ((607, 610), 0, 1),
        ((500, 700), 0, 0),  # covers it
        ((100, 100), 0, 0),  # in the training prefix
    ],
)
def test_an_alert_beside_an_event(alert: tuple[int, int], found: int, false: int) -> None:
    counts = count(hourly((600, 605)), [alert])

    assert (counts.events, counts.found, counts.false) == (1, found, false)


def test_the_slack_is_a_quarter_of_an_hour_at_one_minute() -> None:
    series = hourly((600, 605), step=MINUTE_MS)

    assert count(series, [(585, 585)]).found == 1
    assert count(series, [(584, 584)]).found == 0
    assert count(series, [(620, 620)]).false == 0
    assert count(series, [(621, 621)]).false == 1


def test_several_alerts_find_an_event_once() -> None:
    counts = count(hourly((600, 620)), [(601, 601), (610, 612)])

    assert (counts.found, counts.false, counts.delays) == (1, 0, [60.0])


def test_an_alert_across_two_events_finds_the_one_it_starts_in() -> None:
    counts = count(hourly((600, 602), (610, 612)), [(601, 611)])

    assert (counts.events, counts.found, counts.false) == (2, 1, 0)


def test_an_event_in_the_training_prefix_does_not_count_and_its_alerts_are_not_false() -> None:
    counts = count(hourly((330, 350)), [(340, 340)])

    assert (counts.events, counts.found, counts.false) == (0, 0, 0)


def test_weeks_are_those_outside_of_events() -> None:
    hours = READINGS - 14 * 24 - (6 + 2)

    assert count(hourly((600, 605)), []).weeks == pytest.approx(hours / 168)


def test_counts_add_up() -> None:
    total = sum([Counts(1, 1, 2, 2.0, [5.0]), Counts(2, 0, 1, 1.0, [])], Counts())

    assert total == Counts(3, 1, 3, 3.0, [5.0])
    assert total.false_a_week == 1.0


def test_a_threshold_is_exceeded_as_often_as_its_budget_says() -> None:
    rng = np.random.default_rng(0)
    scores = rng.exponential(size=(200, 24 * 7 * 12))  # 12 weeks of hours, 200 times
    thresholds = np.array([own_threshold(row[: 24 * 56], 24, 1.0) for row in scores])

    observed = (scores[:, 24 * 56 :] >= thresholds[:, None]).sum() / (200 * 4)

    assert 0.5 < observed < 2


def test_there_is_no_threshold_without_two_days_of_history() -> None:
    assert own_threshold(np.ones(47), 24, 1.0) == np.inf
    assert np.isinf(daily_thresholds(np.ones(72), 24, 1.0)).all()


def test_a_score_that_is_always_the_same_does_not_alert() -> None:
    scores = np.zeros(24 * 20)

    assert (scores < daily_thresholds(scores, 24, 3.0)).all()


# --- peers


@pytest.mark.parametrize("name", PEERS)
def test_a_score_does_not_depend_on_later_readings(name: str) -> None:
    metric = simulate("daily", 30 * MINUTE_MS, 12, seed=1)
    broken = metric.with_values(slice(500, None), 0.0)
    whole = PEERS[name](Periods(broken.series))

    part = PEERS[name](Periods(metric.series[:500]))

    np.testing.assert_allclose(part, whole[:500], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in PEERS if name != "flatline"])
def test_a_gross_value_scores_above_all_others(name: str) -> None:
    metric = simulate("daily", HOUR_MS, 30, seed=1).with_values(slice(600, 601), 1000.0)

    scores = PEERS[name](Periods(metric.series))

    assert scores[600:603].max() > scores[400:600].max()


def test_flatline_scores_a_value_that_does_not_change() -> None:
    metric = simulate("daily", STEP, 5, seed=1)
    stuck = metric.with_values(slice(1300, 1400), metric.values[1299])

    scores = PEERS["flatline"](Periods(stuck.series))

    assert scores.argmax() == 1399


def test_gaps_between_periods_are_filled_with_the_value_before() -> None:
    times = STEP * np.array([0, 1, 2, 5, 6])

    periods = Periods(Series(times, np.array([1.0, 2, 3, 4, 5])))

    assert periods.values.tolist() == [1, 2, 3, 3, 3, 4, 5]
    assert periods.readings(periods.values).tolist() == [1, 2, 3, 4, 5]


def test_a_forest_is_the_same_when_grown_again() -> None:
    metric = simulate("heavy", HOUR_MS, 40, seed=3)
    results = []
    for _ in range(2):
        peers.grow_forest.cache_clear()
        peers.forest_scores.cache_clear()
        results.append(Peer("random-cut-forest")(metric.series, 1.0))

    np.testing.assert_array_equal(results[0].scores, results[1].scores)


def test_contextual_is_the_detector_of_a_series_without_a_model() -> None:
    metric = simulate("daily", HOUR_MS, 10, seed=1)
    broken = metric.with_values(slice(230, None), 0.0)

    found = peers.load("contextual")(broken.series, 1.0)

    assert isinstance(found, Detection)
    assert found.alerts[-1].start in range(230, 235)


# --- injected faults and labelled series


Known = dict[str, Callable[[Series, float], Detection]]


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Known:
    """Detectors that a test puts beside those of the benchmark."""
    detectors: Known = dict(peers.DETECTORS)
    monkeypatch.setattr(peers, "DETECTORS", detectors)
    return detectors


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one unlabelled and one labelled series."""
    folder = tmp_path_factory.mktemp("data")
    metric = simulate("daily", STEP, 35, seed=5)
    labels = np.zeros(len(metric), int)
    labels[6000:6010] = 1
    write_csv(folder / "unlabelled" / "one.csv", metric.series)
    write_csv(folder / "labelled" / "two.csv", metric.series, labels.tolist())
    return folder


def write_csv(path: Path, series: Series, labels: list[int] | None = None) -> None:
    path.parent.mkdir()
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["timestamp", "value", *(["label"] if labels else [])])
        for i, (time, value) in enumerate(zip(series.times, series.values, strict=True)):
            stamp = datetime.fromtimestamp(time / 1000, UTC).isoformat()
            rows.writerow([stamp, value, *([labels[i]] if labels else [])])


def flagging(series: Series, flags: np.ndarray) -> Detection:
    scores = np.asarray(flags, np.float64)
    return detection_of(series.times, scores, np.ones(len(series)), np.ones(len(series), bool))


def differing_from(untouched: np.ndarray, *labelled: int) -> Callable[[Series, float], Detection]:
    """An oracle: flags what differs from the untouched series, and labelled readings."""

    def detect(series: Series, sensitivity: float) -> Detection:
        flags = series.values != untouched[: len(series)]
        flags[[at for at in labelled if at < len(series)]] = True
        return flagging(series, flags)

    return detect


def test_an_oracle_finds_every_fault_and_has_no_false_alert(data: Path, known: Known) -> None:
    path = data / "unlabelled" / "one.csv"
    known["oracle"] = differing_from(read_series(path).values)

    figures = summarise(faults.on_unlabelled("oracle", path, seeds=2))["oracle"]["1"]

    assert figures["faults"] > 50
    assert figures["mean_share"] == figures["share_of_faults"] == 1.0
    assert figures["again_of_found_first"] == 1.0
    assert figures["delay_minutes"] == 0.0
    assert figures[UNTOUCHED]["false"] == 0
    assert figures["looked_ahead"] == 0


def test_an_oracle_finds_every_label(data: Path, known: Known) -> None:
    path = data / "labelled" / "two.csv"
    known["oracle"] = differing_from(read_series(path).values, 6002)

    counts = faults.on_labelled("oracle", path)[0].counts

    assert (counts.events, counts.found, counts.false, counts.delays) == (1, 1, 0, [10.0])


@pytest.mark.parametrize("name", ["silent", "always"])
def test_the_extremes_find_no_fault(data: Path, name: str) -> None:
    records = [each for function, arguments in faults.plan([name], data, 1)
               for each in function(*arguments)]  # fmt: skip

    figures = summarise(records)[name]["1"]
    assert figures["mean_share"] == 0.0  # a flag that is there without the fault does not find it
    assert figures[UNTOUCHED]["false"] == 0  # always: one alert, from the training prefix on
    assert figures[UNTOUCHED]["flagged"] == (name == "always")


def test_a_detector_that_alerts_daily_has_seven_false_alerts_a_week(
    data: Path, known: Known
) -> None:
    known["daily"] = lambda series, _: flagging(series, series.times % DAY_MS == 0)

    records = faults.on_unlabelled("daily", data / "unlabelled" / "one.csv", seeds=1)

    figures = summarise(records)["daily"]["1"]
    assert figures[UNTOUCHED]["false_a_week"] == pytest.approx(7, rel=0.05)


def test_a_detector_that_looks_ahead_is_reported(data: Path, known: Known) -> None:
    def ahead(series: Series, sensitivity: float) -> Detection:
        steps = np.abs(np.diff(series.values, prepend=series.values[0]))
        return flagging(series, np.roll(steps > 40, -1))

    known["ahead"] = ahead

    records = faults.on_unlabelled("ahead", data / "unlabelled" / "one.csv", seeds=1)

    assert summarise(records)["ahead"]["1"]["looked_ahead"] > 0


def test_alerts_can_be_counted_as_the_detector_raises_them(data: Path, known: Known) -> None:
    path = data / "labelled" / "two.csv"
    known["oracle"] = differing_from(read_series(path).values, 6002, 9000, 9100)

    by_flags = faults.on_labelled("oracle", path, "flags")[0].counts
    known["oracle"] = lambda series, _: Detection(
        **vars_without_alerts(flagging(series, np.arange(len(series)) == 6002))
    )
    by_alerts = faults.on_labelled("oracle", path, "alerts")[0].counts

    assert (by_flags.found, by_flags.false) == (1, 2)
    assert (by_alerts.found, by_alerts.false) == (0, 0)


def vars_without_alerts(detection: Detection) -> dict[str, object]:
    fields = {name: getattr(detection, name) for name in Detection.__dataclass_fields__}
    return fields | {"alerts": []}


def test_places_of_faults_depend_on_the_series_and_the_random_seed_only(data: Path) -> None:
    series = read_series(data / "unlabelled" / "one.csv")
    one, two = list(faults.all_faults(series, 1)), list(faults.all_faults(series, 2))

    assert [(f.kind, f.first) for f in one] == [(f.kind, f.first) for f in two[: len(one)]]


def test_a_fault_changes_only_its_own_readings(data: Path) -> None:
    series = read_series(data / "unlabelled" / "one.csv")
    for fault in faults.all_faults(series, 1):
        differs = np.flatnonzero(faults.inject(series, fault) != series.values)
        begin = fault.earlier.first if fault.earlier else fault.first
        assert begin <= differs[0]
        assert differs[-1] <= fault.last
        assert faults.inject(series, fault).min() >= 0


def test_sizes_of_faults_are_at_least_the_daily_range() -> None:
    values = np.zeros(12_000)
    values[::48] = 5.0  # six a day: rare, beyond the 5-95 % range
    series = LabelledSeries("idle", "here", Series(STEP * np.arange(12_000), values))

    assert faults.spread(series) == faults.robust_daily_range(values, 288) == 5.0


# --- the life of a metric


def records_of(name: str, shape: str, case: str) -> list[simulation.Record]:
    return life.run_case(Setting(name, "5 min", shape, 0, 1.0, case))


@pytest.mark.parametrize("case", ["outage", "spikes", "drift"])
def test_an_oracle_finds_everything_in_life(
    case: str, known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = simulate("daily", STEP, 60, seed=0)

    def same_beginning(shape: str, period: int, days: float, seed: int, start: float = 0) -> Metric:
        first = round(start * DAY_MS / period)
        return longest[first : first + round(days * DAY_MS / period)]

    def oracle(series: Series, sensitivity: float) -> Detection:
        usual = longest.values[np.searchsorted(longest.times, series.times)]
        differs = ~np.isclose(series.values, usual, rtol=0, atol=1e-9)
        return flagging(series, differs & ~np.concatenate([[False], differs[:-1]]))

    monkeypatch.setattr(simulation, "simulate", same_beginning)
    known["oracle"] = oracle
    assert longest.times[0] == MONDAY

    found = [r for r in records_of("oracle", "daily", case) if r.found is not None]

    assert found
    assert all(r.found for r in found)
    assert all(r.single is not False and r.recovered is not False for r in found)


@pytest.mark.parametrize("case", ["outage", "flat", "weekends", "shift", "few", "spikes", "gaps"])
def test_a_silent_detector_finds_nothing_and_has_no_false_alert(case: str) -> None:
    records = records_of("silent", "weekly 60", case)

    assert records
    assert not any(r.found or r.false for r in records)


@pytest.mark.parametrize("case", ["outage", "few", "flat"])
def test_a_detector_that_always_flags_finds_nothing(case: str) -> None:
    assert not any(r.found for r in records_of("always", "daily", case))


def test_too_few_readings_may_be_declined_but_not_ignored() -> None:
    declined = records_of("holt-winters", "daily", "few")
    ignored = records_of("silent", "daily", "few")

    assert all(r.found for r in declined if "declined" in r.case)
    assert not any(r.found for r in declined + ignored if "found" in r.case)
    assert not any(r.found for r in ignored if "declined" in r.case)


@pytest.mark.parametrize("case", life.CASES)
def test_every_case_yields_the_same_records_again(case: str) -> None:
    shape = life.CASES[case][1][0]
    period = life.CASES[case][2][-1]
    setting = Setting("flatline", period, shape, 0, 1.0, case)

    first, again = life.run_case(setting), life.run_case(setting)

    assert first
    assert first == again


# --- the commands


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_life_prints_tables_and_writes_results_and_pictures(tmp_path: Path) -> None:
    out = tmp_path / "results" / "life.json"

    printed = run(
        "life", "-d", "holt-winters", "-d", "silent", "--case", "outage", "--case", "constant",
        "--period", "1 h", "--seeds", "1", "--jobs", "1", "--out", str(out),
        "--plots", str(tmp_path / "plots"),
    )  # fmt: skip

    assert max(len(line) for line in printed.splitlines()) <= 80
    assert "outage 60 min" in printed
    written = json.loads(out.read_text())
    assert written["command"]["detectors"] == ["holt-winters", "silent"]
    assert written["summary"]["silent"]["outage 60 min @1"]["1 h"]["found"] == 0.0
    assert list((tmp_path / "plots").glob("life-silent-*.png"))


def test_faults_prints_tables_and_writes_results_and_pictures(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "faults.json"

    printed = run(
        "faults", "--data", str(data), "-d", "holt-winters", "-d", "always", "--quick",
        "--jobs", "1", "--out", str(out), "--plots", str(tmp_path / "plots"),
    )  # fmt: skip

    assert max(len(line) for line in printed.splitlines()) <= 80
    assert "always flags 100% of all untouched readings" in printed
    written = json.loads(out.read_text())
    assert written["summary"]["always"]["1"]["5 min"]["events"] == 1
    assert list((tmp_path / "plots").glob("faults-always-*.png"))


def test_a_folder_without_series_is_one_message_with_the_layout(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"holds no series: expected unlabelled/\*\*/\*\.csv"):
        faults.plan(["silent"], tmp_path, 1)


def test_a_file_with_other_columns_is_one_message_with_the_layout(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,load\n1,2\n")

    with pytest.raises(SourceError, match=r"a\.csv: expected .*timestamp,value"):
        read_series(tmp_path / "a.csv")


@pytest.mark.parametrize(
    "arguments",
    [
        ("-d", "unknown"),
        ("-d", "no_such_module:detect"),
        ("--case", "unknown"),
        ("--period", "7 min"),
        ("--shape", "unknown"),
    ],
)
def test_an_unknown_name_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, ["life", *arguments])

    assert result.exit_code == 2
    assert arguments[1] in result.stderr


def test_a_detector_can_be_a_function_of_any_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_detector.py").write_text("from benchmarks.detection.peers import always\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    assert peers.load("my_detector:always") is peers.always


def test_tasks_are_reported_line_by_line_in_a_pipe(capfd: pytest.CaptureFixture[str]) -> None:
    results = run_tasks("Cases", [(lambda n: [n], (number,)) for number in range(20)], jobs=1)

    assert results == [[number] for number in range(20)]
    assert "Cases: 10 of 20" in capfd.readouterr().err
