"""The contract of Azure AI Anomaly Detector, univariate, translated to this package's detection."""
