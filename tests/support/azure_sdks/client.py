"""What a program written for Azure does with one of its Python clients, printed as JSON.

Runs in an environment of its own: `client.py ENDPOINT KEY`, with a request on standard input and
whichever client is on PYTHONPATH.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any


def responses(endpoint: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
    """Call every operation of the client that is there."""
    points = [
        {
            "timestamp": datetime.fromisoformat(point["timestamp"].replace("Z", "+00:00")),
            "value": point["value"],
        }
        for point in body["series"]
    ]
    try:
        from azure.ai import anomalydetector
        from azure.core.credentials import AzureKeyCredential
    except ImportError:
        return of_first_client(endpoint, key, points)
    client = anomalydetector.AnomalyDetectorClient(
        endpoint=endpoint, credential=AzureKeyCredential(key)
    )
    models = anomalydetector.models
    series = [models.TimeSeriesPoint(**point) for point in points]
    if hasattr(client, "detect_univariate_entire_series"):
        requests = models.UnivariateDetectionOptions, models.UnivariateChangePointDetectionOptions
        calls = [
            getattr(client, f"detect_univariate_{each}")
            for each in ("entire_series", "last_point", "change_point")
        ]
    else:
        changes = getattr(models, "ChangePointDetectRequest", None) or models.DetectRequest
        requests = models.DetectRequest, changes
        calls = [
            getattr(client, f"detect_{each}")
            for each in ("entire_series", "last_point", "change_point")
        ]
    one, changes = (each(series=series, granularity="daily") for each in requests)
    short = requests[0](series=series[:5], granularity="daily")
    return {
        "entire": fields(attempt(calls[0], one)),
        "last": fields(attempt(calls[1], one)),
        "changepoint": fields(attempt(calls[2], changes)),
        "refused": attempt(calls[0], short),
    }


def of_first_client(endpoint: str, key: str, points: list[dict[str, Any]]) -> dict[str, Any]:
    """Call the client of 2019, which calls everything by other names."""
    from azure.cognitiveservices import anomalydetector
    from msrest.authentication import CognitiveServicesCredentials

    client = anomalydetector.AnomalyDetectorClient(endpoint, CognitiveServicesCredentials(key))
    models = anomalydetector.models
    series = [models.Point(**point) for point in points]
    one = models.Request(series=series, granularity="daily")
    return {
        "entire": fields(attempt(client.entire_detect, one)),
        "last": fields(attempt(client.last_detect, one)),
        "refused": attempt(
            client.entire_detect, models.Request(series=series[:5], granularity="daily")
        ),
    }


def attempt(call: Callable[[Any], Any], request: Any) -> Any:
    """Return a result, or what the client makes of an error."""
    try:
        return call(request)
    except Exception as error:
        response = getattr(error, "response", None)
        status = getattr(response, "status_code", None) or getattr(error, "status_code", None)
        return {"status": status, "kind": type(error).__name__, "text": str(error)}


def fields(result: Any) -> Any:
    """Return a result of a client as a dictionary of Python's names."""
    names = (
        *("period", "suggested_window", "expected_value", "expected_values", "upper_margin"),
        *("upper_margins", "lower_margins", "is_anomaly", "is_positive_anomaly", "severity"),
        *("is_change_point", "confidence_scores"),
    )
    if isinstance(result, dict) and "kind" in result:
        return result
    return {name: getattr(result, name) for name in names if hasattr(result, name)}


if __name__ == "__main__":
    print(json.dumps(responses(*sys.argv[1:], json.load(sys.stdin))))  # noqa: T201
