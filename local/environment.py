"""The environment that the handler finds on the laptop: nothing in it can reach AWS."""

from __future__ import annotations

import os

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_DEFAULT_REGION": "us-east-1",
}
REAL_CREDENTIALS = ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_SECURITY_TOKEN")


def use_local_bucket(endpoint_url: str, bucket: str, model: str, ttl_seconds: float) -> None:
    """Set the variables that the deployed function gets from `template.yaml`, for this process."""
    for name in REAL_CREDENTIALS:
        os.environ.pop(name, None)
    os.environ.update(
        CREDENTIALS,
        AWS_REGION=CREDENTIALS["AWS_DEFAULT_REGION"],
        AWS_ENDPOINT_URL=endpoint_url,
        NO_PROXY="127.0.0.1",
        MODEL_BUCKET=bucket,
        DEFAULT_MODEL=model,
        MODEL_TTL_SECONDS=str(ttl_seconds),
        POWERTOOLS_SERVICE_NAME="anomaly-api",
        POWERTOOLS_METRICS_NAMESPACE="AnomalyDetection",
        POWERTOOLS_METRICS_DISABLED="true",  # they are log lines, and nobody collects them here
    )
