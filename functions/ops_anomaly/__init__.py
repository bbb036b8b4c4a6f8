"""Self-hosted anomaly detection for operations metrics."""
