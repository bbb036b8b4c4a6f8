"""Alarms of CloudWatch, judged as they fire."""
