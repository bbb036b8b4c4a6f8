"""What a composite alarm is about: its children's metrics, by DescribeAlarms."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from registry.cloudwatch import explained
from registry.errors import CloudWatchDeniedError, CloudWatchRefusedError
from watch.alarms.question import Question, from_description

if TYPE_CHECKING:
    from watch.alarms.change import AlarmChange

MOST_CHILDREN = 100
"""What DescribeAlarms takes at once, and what a composite alarm may have."""

DEEPEST = 5
"""Composite alarms of composite alarms are followed so far."""

NAMED = r"""(?:ALARM|OK|INSUFFICIENT_DATA)\(\s*(?:"([^"]+)"|'([^']+)'|([^()\s"']+))\s*\)"""
"""A child in an alarm rule: its name or ARN, quoted or not."""


def questions_of_children(cloudwatch: Any, change: AlarmChange) -> list[Question]:
    """Return a question for each metric alarm below a composite alarm.

    Raises
    ------
    CloudWatchUnavailableError
        If CloudWatch does not answer.
    """
    names = [name_of(arn) for arn in change.children] or children_of_rule(change.rule)
    questions: list[Question] = []
    seen = {change.name}
    try:
        for _ in range(DEEPEST):
            names = [name for name in dict.fromkeys(names) if name not in seen][:MOST_CHILDREN]
            if not names:
                break
            seen.update(names)
            metric_alarms, composite_alarms = describe(cloudwatch, names)
            questions += [from_description(alarm) for alarm in metric_alarms]
            known = {alarm["AlarmName"] for alarm in (*metric_alarms, *composite_alarms)}
            questions += [
                Question(name, name, f"alarm {name}", cannot="there is no such alarm any more")
                for name in names
                if name not in known
            ]
            names = [n for alarm in composite_alarms for n in children_of_rule(alarm["AlarmRule"])]
    except (CloudWatchDeniedError, CloudWatchRefusedError) as error:
        questions.append(Question(change.name, change.name, change.name, cannot=str(error)))
    return questions


def describe(
    cloudwatch: Any, names: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the metric alarms and the composite alarms of these names."""
    metric_alarms: list[dict[str, Any]] = []
    composite_alarms: list[dict[str, Any]] = []
    with explained("looking up the alarm's children", "cloudwatch:DescribeAlarms"):
        pages = cloudwatch.get_paginator("describe_alarms").paginate(
            AlarmNames=names, AlarmTypes=["MetricAlarm", "CompositeAlarm"]
        )
        for page in pages:
            metric_alarms += page.get("MetricAlarms", [])
            composite_alarms += page.get("CompositeAlarms", [])
    return metric_alarms, composite_alarms


def children_of_rule(rule: str) -> list[str]:
    """Return the names of the alarms in an alarm rule.

    Examples
    --------
    >>> children_of_rule('ALARM("cpu high") AND NOT OK(queue-empty)')
    ['cpu high', 'queue-empty']
    """
    return [name_of(next(filter(None, found))) for found in re.findall(NAMED, rule)]


def name_of(arn: str) -> str:
    """Return the name of an alarm, given that or its ARN.

    Examples
    --------
    >>> name_of("arn:aws:cloudwatch:us-east-1:123456789012:alarm:cpu: high")
    'cpu: high'
    """
    return arn.split(":", 6)[6] if arn.startswith("arn:") and arn.count(":") >= 6 else arn
