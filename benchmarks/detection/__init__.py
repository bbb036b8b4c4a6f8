"""How well detectors find anomalies."""
