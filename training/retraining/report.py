"""The report of a run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import msgspec

from training.retraining.documents import Report, Services, key_of, read_outcomes, read_plan

READERS = 16
"""Threads that read the outcomes of batches."""


def finish_run(services: Services, run: str) -> Report:
    """List what was published, write the report of a run, and return it.

    The index of models is written once a run, and not at all if it names every model already.
    """
    plan = read_plan(services.store, run)
    with ThreadPoolExecutor(READERS) as pool:
        read = pool.map(lambda n: read_outcomes(services.store, run, n)[0], range(plan.batches))
        outcomes = [each for batch in read for each in batch]
    published = [each.model for each in outcomes if each.status == "published"]
    if services.models and published:
        services.models.add_to_index(published)
    report = Report(
        run=run,
        until=plan.until,
        counts={
            status: sum(each.status == status for each in outcomes)
            for status in ("published", "trained", "kept", "refused", "failed")
        },
        missing=plan.metrics - len(outcomes),
        outcomes=outcomes,
    )
    services.store.overwrite(key_of(run, "report.json"), msgspec.json.encode(report))
    return report
