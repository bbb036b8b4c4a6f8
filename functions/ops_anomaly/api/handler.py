"""The entry point of the API's Lambda function: composes settings, bucket and routes."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from ops_anomaly.api.routes import build_app
from ops_anomaly.api.settings import Settings
from ops_anomaly.aws.models import ModelRegistry
from ops_anomaly.aws.objects import S3ObjectStore

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


# some requests, such as GET /, count nothing
warnings.filterwarnings("ignore", "No application metrics to publish")

logger = Logger()
metrics = Metrics()


def refresh_failed(name: str, error: Exception) -> None:
    """Log and count a failed refresh; the cached model is still served."""
    logger.warning("model refresh failed", model=name, reason=str(error))
    metrics.add_metric("ModelRefreshFailed", MetricUnit.Count, 1)


settings = Settings.from_environment(os.environ)
registry = ModelRegistry(
    S3ObjectStore(settings.bucket),
    ttl_seconds=settings.model_ttl_seconds,
    cache_bytes=settings.model_cache_bytes,
    on_refresh_failed=refresh_failed,
)
app = build_app(
    registry,
    settings.default_model,
    logger,
    metrics,
    azure_compatible=settings.azure_compatible,
)


@metrics.log_metrics
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Respond to one request of API Gateway (REST proxy event)."""
    return app.resolve(event, context)
