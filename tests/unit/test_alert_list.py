"""POST /detect as a page: the list of alerts with charts, for those who ask for HTML."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops_anomaly.api.alert_list import CONTEXT, MAX_ALERTS, MAX_PERIODS, alert_list, chart_of
from ops_anomaly.api.schemas import Alert, DetectResponse, Point
from tests.support.api_client import Api

START = datetime(2026, 3, 2, tzinfo=UTC)
STEP = timedelta(minutes=5)


def stamp(number: int) -> str:
    return (START + number * STEP).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def response(*spikes: int, count: int = 400, model: str | None = None) -> DetectResponse:
    """A series at 20 with an alert for each spike to 95, the later ones more severe."""
    points = [
        Point(
            timestamp=stamp(number),
            value=95.0 if number in spikes else 20.0,
            score=0.0,
            is_anomaly=number in spikes,
            can_evaluate=True,
            severity=0.9,
            expected=20.0,
            lower=15.0,
            upper=25.0,
            reason=None,
        )
        for number in range(count)
    ]
    alerts = [
        Alert(stamp(each), stamp(each), stamp(each), 0.5 + rank / 1_000, "far <above> usual")
        for rank, each in enumerate(spikes)
    ]
    return DetectResponse(model, 0.89, ["19 readings & a note"], alerts, points)


def test_each_alert_has_time_value_expected_severity_reason_and_a_chart() -> None:
    page = alert_list(response(200))
    assert "1 alert in 400 readings" in page
    assert "Compared with its own history, confidence 89 %" in page
    assert "Mon 2 Mar 2026, 16:40 UTC" in page
    assert "<b>95</b>, expected 20 (normal range 15 to 25), for 5 min" in page
    assert "severity </span>0.50" in page
    assert page.count('class="oa-chart"') == 1 + 1  # the whole series, and the alert
    assert "19 readings &amp; a note" in page
    assert "far &lt;above&gt; usual" in page
    assert "<above>" not in page


def test_without_alerts_the_page_says_so() -> None:
    page = alert_list(response(model="ec2-cpu"))
    assert "0 alerts in 400 readings" in page
    assert "No alerts" in page
    assert "Compared with model ec2-cpu" in page


def test_of_many_alerts_the_most_severe_are_listed_in_order_of_time() -> None:
    page = alert_list(response(*range(0, 300, 5)))
    assert page.count("<article") == MAX_ALERTS
    assert "10 more are less severe" in page
    assert page.index("Mon 2 Mar 2026, 04:10 UTC") < page.index("Tue 3 Mar 2026, 00:35 UTC")
    assert "Mon 2 Mar 2026, 00:00 UTC" not in page


def test_a_chart_leaves_periods_without_readings_empty() -> None:
    points = response(count=5).points
    minutes = [0, 5, 16, 20, 35]
    chart = chart_of(points, [60_000 * minute for minute in minutes])
    assert chart.step == 300_000 * 1.6  # half of the steps are longer
    known = chart_of(points, [60_000 * minute for minute in minutes], 300_000)
    assert [value is not None for value in known.values] == [1, 1, 0, 1, 1, 0, 0, 1]


def test_a_gap_of_years_is_drawn_in_longer_periods() -> None:
    points = response(count=3).points
    chart = chart_of(points, [0, 60_000, 10 * 365 * 86_400_000])
    assert len(chart.values) <= MAX_PERIODS + 2
    assert sum(value is not None for value in chart.values) == 2


def test_one_reading_is_a_page_too() -> None:
    assert "0 alerts in 1 readings" in alert_list(response(count=1))


def test_an_alert_at_the_edge_is_shown_with_what_there_is() -> None:
    page = alert_list(response(0, 399))
    assert page.count("<article") == 2
    assert CONTEXT < 400


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    yield api
    api.metrics.clear_metrics()


def posted(api: Api, accept: str | None) -> dict[str, Any]:
    """The whole response to a request of the API, with a header Accept."""
    spike = {120: 9.0}
    series = [{"timestamp": stamp(n), "value": spike.get(n, 1.0 + n % 7 / 50)} for n in range(150)]
    body = json.dumps({"series": series}).encode()
    return api.raw("POST", "/detect", body, JSON if accept is None else (*JSON, ("Accept", accept)))


JSON = (("Content-Type", "application/json"),)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def test_a_browser_gets_a_page_in_which_no_script_runs(api: Api) -> None:
    response = posted(api, BROWSER)
    headers = response["multiValueHeaders"]
    assert headers["Content-Type"] == ["text/html; charset=utf-8"]
    assert headers["Content-Security-Policy"] == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert response["body"].startswith("<!DOCTYPE html>")
    assert "1 alert in 150 readings" in response["body"]


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "application/json",
        "text/html;q=0",
        "application/json, text/html",
        "text/*",
        "",
        "???",
    ],
)
def test_all_others_get_json_as_before_to_the_byte(api: Api, accept: str) -> None:
    assert posted(api, accept) == posted(api, None)
    assert len(json.loads(posted(api, accept)["body"])["alerts"]) == 1


def test_errors_are_problems_for_browsers_too(api: Api) -> None:
    response = api.raw("POST", "/detect", b"{}", (*JSON, ("Accept", BROWSER)))
    assert response["statusCode"] == 422
    assert response["multiValueHeaders"]["Content-Type"] == ["application/problem+json"]
