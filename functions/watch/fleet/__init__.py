"""The fleet on a schedule: planned, cut into shards, and each of them looked at."""
