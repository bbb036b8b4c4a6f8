"""The usual tutorial's function: Powertools, pandas, scikit-learn's forest from a bucket."""

from __future__ import annotations

import io
import os
from typing import Any

import boto3
import joblib
import pandas as pd
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.event_handler import APIGatewayRestResolver
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.metrics import MetricUnit

logger = Logger()
tracer = Tracer()
metrics = Metrics()
app = APIGatewayRestResolver()

stored = boto3.client("s3").get_object(
    Bucket=os.environ["MODEL_BUCKET"], Key=os.environ["MODEL_KEY"]
)
model = joblib.load(io.BytesIO(stored["Body"].read()))


@app.post("/predict")
@tracer.capture_method
def predict() -> dict[str, object]:
    """Decide on one value."""
    value = app.current_event.json_body["value"]
    prediction = int(model.predict(pd.DataFrame({"value": [value]}))[0])
    metrics.add_metric(name="Predictions", unit=MetricUnit.Count, value=1)
    return {"is_anomaly": prediction == -1, "predicted_value": prediction}


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_REST)
@tracer.capture_lambda_handler
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Respond to one REST proxy event."""
    return app.resolve(event, context)
