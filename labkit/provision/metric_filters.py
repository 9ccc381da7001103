"""Step `metric-filters`: count alerts in the log group as CloudWatch metrics, by rule and by priority.

The filters are `manifests/cloudwatch/metric-filters.json`, in the form of PutMetricFilter. Undoing the step deletes the
filters; the metrics that they made can't be deleted, they age out (see `labkit.respond.metrics.put`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from labkit.aws import answer_or_none
from labkit.provision.parts import RequestPart
from labkit.provision.steps import Step
from labkit.provision.templates import template
from labkit.target import Target


def requests(target: Target) -> list[dict[str, Any]]:
    """The workshop's metric filters as PutMetricFilter takes them, with the lab's names, or the class's."""
    settings = target.settings
    if settings.attendee:
        of_class = replace(target, settings=replace(settings, attendee="", prefix=settings.class_prefix))
        shared: list[dict[str, Any]] = template(of_class, "class/metric-filters")
        return shared
    found: list[dict[str, Any]] = template(target, "cloudwatch/metric-filters")
    return found


def described(target: Target) -> list[dict[str, Any]]:
    """Those of the workshop's filters that are in the log group, as DescribeMetricFilters shows them."""
    wanted = {request["filterName"] for request in requests(target)}
    return [found for found in _in_group(target, f"{target.settings.class_prefix}-") if found["filterName"] in wanted]


def _in_group(target: Target, prefix: str) -> list[dict[str, Any]]:
    pages = (
        target.aws.client("logs")
        .get_paginator("describe_metric_filters")
        .paginate(logGroupName=target.settings.log_group, filterNamePrefix=prefix)
    )
    answer = answer_or_none(pages.build_full_result)  # None: no log group, and so no filters
    return list(answer["metricFilters"]) if answer else []


@dataclass(frozen=True)
class MetricFilter(RequestPart):
    kind: str = "metric filter"
    name_key: ClassVar[str] = "filterName"

    def find(self, target: Target) -> Any:
        return next((found for found in _in_group(target, self.name) if found["filterName"] == self.name), None)

    def describe(self, found: Any) -> str:
        return f"counts into {found['metricTransformations'][0]['metricName']}"

    def is_owned(self, target: Target, found: Any) -> bool:
        # Metric filters have no tags. No others count into the workshop's namespace.
        return bool(found["metricTransformations"][0]["metricNamespace"] == target.settings.prefix)

    def create(self, target: Target) -> None:
        from labkit.respond.metrics import put_filter

        put_filter(target.aws.client("logs"), self.request)

    def delete(self, target: Target, found: Any) -> None:
        target.aws.client("logs").delete_metric_filter(logGroupName=self.request["logGroupName"], filterName=self.name)


def parts(target: Target) -> list[MetricFilter]:
    return [MetricFilter(request) for request in requests(target)]


STEPS = [
    Step(
        "metric-filters",
        "Alerts counted by rule and by priority",
        ("log-group",),
        parts,
        allowed=("MetricFilters",),
    )
]
