"""The requests that the seed answered, and what every model has to answer to them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import requests

from local.errors import WrongAnswerError

NORMAL = {"is_anomaly": False, "predicted_value": 1}
ANOMALY = {"is_anomaly": True, "predicted_value": -1}
TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Exchange:
    """A request and its expected answer; `None` as a body means that any will do."""

    method: str
    path: str
    sent: dict[str, Any] | None
    status: int
    body: dict[str, Any] | None

    def curl(self, url: str) -> str:
        """Return the request as a line for the shell."""
        if self.sent is None:
            return f"curl {url}{self.path}"
        return (
            f"curl {url}{self.path} -H 'Content-Type: application/json' "
            f"-d '{json.dumps(self.sent)}'"
        )

    def send(self, url: str) -> requests.Response:
        """Send the request and return the answer.

        Raises
        ------
        WrongAnswerError
            If it is not the expected one.
        """
        answer = requests.request(
            self.method, url + self.path, json=self.sent, timeout=TIMEOUT_SECONDS
        )
        wanted = self.body is None or answer.json() == self.body
        if answer.status_code != self.status or not wanted:
            raise WrongAnswerError(
                f"{self.method} {self.path} {self.sent or ''} answered {answer.status_code} "
                f"{answer.text}; expected {self.status} {self.body or ''}"
            )
        return answer


EXCHANGES = (
    Exchange("GET", "/", None, 200, {"status": "API is running"}),
    Exchange("POST", "/predict", {"value": 0.13}, 200, NORMAL),
    Exchange("POST", "/predict", {"value": 2.0}, 200, ANOMALY),
    Exchange("POST", "/predict", {"value": 95.0}, 200, ANOMALY),
    Exchange("POST", "/predict", {"wrong_key": 10.0}, 422, None),
    Exchange("GET", "/health", None, 200, None),
)
