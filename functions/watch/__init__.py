"""The watcher: CloudWatch metrics on a schedule, and CloudWatch alarms as they fire."""
