"""The Numenta Anomaly Benchmark as the judge: its rules, its files, its results layout."""
