"""The demo's last request: the whole series to `/detect`, without a model."""

from __future__ import annotations

import requests
from rich.console import Console

from api.contracts import MAX_POINTS
from local.errors import WrongAnswerError
from training.sources.series import Series

TIMEOUT_SECONDS = 60


def show_detection(url: str, series: Series, console: Console) -> None:
    """Post a series and print the alerts that come back.

    Raises
    ------
    WrongAnswerError
        If it is not answered with 200.
    """
    last = slice(-MAX_POINTS, None)
    readings = [
        {"timestamp": f"{time}Z", "value": value}
        for time, value in zip(series.timestamps[last], series.values[last].tolist(), strict=True)
    ]
    answer = requests.post(f"{url}/detect", json={"series": readings}, timeout=TIMEOUT_SECONDS)
    if answer.status_code != requests.codes.ok:
        raise WrongAnswerError(f"POST /detect answered {answer.status_code} {answer.text}")
    found = answer.json()
    console.print(
        f"$ curl {url}/detect -d '{{\"series\": [{len(readings):,} readings]}}'   # no model",
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        f"  200 confidence {found['confidence']:.2f}, {len(found['alerts'])} alerts "
        f"in {answer.elapsed.total_seconds():.2f} s",
        style="green",
        highlight=False,
    )
    for alert in found["alerts"]:
        console.print(
            f"  {alert['start'][:16]}  severity {alert['severity']:.2f}  {alert['reason']}",
            style="green",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
