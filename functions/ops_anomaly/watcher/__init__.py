"""The watcher: CloudWatch metrics on a schedule, and alarms as they fire."""
