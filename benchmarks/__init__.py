"""Benchmarks: tools, not tests."""
