"""The service this project started from: FastAPI, pandas, scikit-learn's forest from a file."""

from __future__ import annotations

import os

import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
model = joblib.load(os.environ["MODEL_FILE"])


class PredictRequest(BaseModel):
    value: float


class PredictResponse(BaseModel):
    is_anomaly: bool
    predicted_value: int


@app.get("/")
def root():
    return {"status": "API is running"}


@app.post("/predict")
def predict(request: PredictRequest) -> PredictResponse:
    prediction = int(model.predict(pd.DataFrame({"value": [request.value]}))[0])
    return PredictResponse(is_anomaly=prediction == -1, predicted_value=prediction)
