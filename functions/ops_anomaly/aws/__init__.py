"""The only code that talks to AWS: S3 objects, models, CloudWatch, settings, one error mapping."""
