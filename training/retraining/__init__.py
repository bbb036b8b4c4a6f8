"""The retraining of a fleet: plan, train batches, decide by the guard, publish, report."""
