"""Models in the bucket: where they lie, how they are read, kept and refreshed.

The only code that talks to S3 at serving time. Whoever publishes (`training`) uses the same keys.
"""
