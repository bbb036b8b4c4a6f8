"""The environment that the handler finds on the laptop: nothing in it can reach AWS."""

from __future__ import annotations

import os
from typing import Any

import boto3

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def local_client(service: str, endpoint_url: str) -> Any:
    """Return a client of boto3 for a server on this machine."""
    return boto3.client(
        service,
        endpoint_url=endpoint_url,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
    )


def forget_aws() -> None:
    """Drop what this process knows of any account, and of any way to the bucket but the direct."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(
        CREDENTIALS,
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        NO_PROXY="127.0.0.1",
        no_proxy="127.0.0.1",
    )


def use_local_bucket(endpoint_url: str, bucket: str, model: str, ttl_seconds: float) -> None:
    """Set the variables that the deployed function gets from `template.yaml`, for this process."""
    os.environ.update(
        AWS_REGION=CREDENTIALS["AWS_DEFAULT_REGION"],
        AWS_ENDPOINT_URL=endpoint_url,
        MODEL_BUCKET=bucket,
        DEFAULT_MODEL=model,
        MODEL_TTL_SECONDS=str(ttl_seconds),
        POWERTOOLS_SERVICE_NAME="anomaly-api",
        POWERTOOLS_METRICS_NAMESPACE="AnomalyDetection",
        POWERTOOLS_METRICS_DISABLED="true",  # they are log lines, and nobody collects them here
        POWERTOOLS_LOG_LEVEL="WARNING",
    )
