"""The command line `ops-anomaly`: a file a topic, assembled in `__main__`."""
