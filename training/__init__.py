"""The training job: sources -> candidates -> comparison -> report -> publish."""
