"""Step `metric-filters`: what comes into the log group is counted there, by rule and by priority.

The filters are `manifests/cloudwatch/metric-filters.json`, in the form of PutMetricFilter. Undoing the step deletes the
filters; the metrics that they made can't be deleted, they age out (see `labkit.respond.metrics.put`).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from labkit.errors import StepError
from labkit.provision.steps import Step
from labkit.provision.templates import template
from labkit.target import Target


def requests(target: Target) -> list[dict[str, Any]]:
    """The workshop's metric filters as PutMetricFilter takes them, with the lab's names."""
    found: list[dict[str, Any]] = template(target, "cloudwatch/metric-filters")
    return found


def described(target: Target) -> list[dict[str, Any]]:
    """Those of the workshop's filters that are in the log group, as DescribeMetricFilters shows them."""
    wanted = {request["filterName"] for request in requests(target)}
    return [found for found in _in_group(target, f"{target.settings.prefix}-") if found["filterName"] in wanted]


def _in_group(target: Target, prefix: str) -> list[dict[str, Any]]:
    logs = target.aws.client("logs")
    pages = logs.get_paginator("describe_metric_filters").paginate(
        logGroupName=target.settings.log_group, filterNamePrefix=prefix
    )
    try:
        return [found for page in pages for found in page["metricFilters"]]
    except logs.exceptions.ResourceNotFoundException:
        return []  # no log group, and so no filters


@dataclass(frozen=True)
class MetricFilter:
    request: Mapping[str, Any] = field(hash=False)
    kind: str = "metric filter"

    @property
    def name(self) -> str:
        return str(self.request["filterName"])

    def _get(self, target: Target) -> dict[str, Any] | None:
        return next((found for found in _in_group(target, self.name) if found["filterName"] == self.name), None)

    def state(self, target: Target) -> str:
        found = self._get(target)
        return "" if found is None else f"counts into {found['metricTransformations'][0]['metricName']}"

    def ours(self, target: Target) -> bool:
        # Metric filters have no tags. Nobody else's counts into the workshop's namespace.
        found = self._get(target)
        return found is not None and found["metricTransformations"][0]["metricNamespace"] == target.settings.prefix

    def apply(self, target: Target, *, mine: bool) -> str:
        from labkit.respond.metrics import put_filter

        found = self._get(target)
        if found is not None and all(found[key] == self.request[key] for key in self.request):
            return "unchanged"
        if not mine:
            raise StepError(
                f"Log group {target.settings.log_group} has a metric filter {self.name} that the lab didn't make.",
                hint="Choose another prefix for the workshop's names (LABKIT_PREFIX), or delete that filter.",
            )
        put_filter(target.aws.client("logs"), self.request)
        return "created" if found is None else "updated"

    def delete(self, target: Target) -> bool:
        logs = target.aws.client("logs")
        try:
            logs.delete_metric_filter(logGroupName=self.request["logGroupName"], filterName=self.name)
        except logs.exceptions.ResourceNotFoundException:
            return False
        return True


def parts(target: Target) -> list[MetricFilter]:
    return [MetricFilter(request) for request in requests(target)]


def cli(target: Target) -> str:
    return "\n".join(
        f"aws logs put-metric-filter {_names(request)} \\\n"
        f"    --filter-pattern {shlex.quote(request['filterPattern'])} \\\n"
        f"    --metric-transformations {shlex.quote(json.dumps(request['metricTransformations']))}"
        for request in requests(target)
    )


def undo_cli(target: Target) -> str:
    deletions = [f"aws logs delete-metric-filter {_names(request)}" for request in requests(target)]
    return "\n".join([*deletions, "# Metrics can't be deleted. They leave lists after two weeks without values."])


def _names(request: Mapping[str, Any]) -> str:
    return f"--log-group-name {request['logGroupName']} --filter-name {request['filterName']}"


STEPS = [Step("metric-filters", "Alerts counted by rule and by priority", ("log-group",), parts, cli, undo_cli)]
