"""CloudWatch dashboards: PutDashboard, GetDashboard, ListDashboards, DeleteDashboards."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ekslab.aws import metrics, wire
from ekslab.aws.dashboard_body import Message, check_body
from ekslab.aws.protocols import AwsError

_PAGE = 1000


@dataclass
class Dashboard:
    name: str
    arn: str
    body: str
    modified: float
    tags: dict[str, str] = field(default_factory=dict)


class Dashboards:
    """The dashboards of an account; they belong to no region."""

    def __init__(self, *, account_id: str, clock: Callable[[], float]) -> None:
        self._account_id = account_id
        self._clock = clock
        self._dashboards: dict[str, Dashboard] = {}
        self.operations: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "PutDashboard": self._put,
            "GetDashboard": self._get,
            "ListDashboards": self._list,
            "DeleteDashboards": self._delete,
        }

    def arn(self, name: str) -> str:
        return f"arn:aws:cloudwatch::{self._account_id}:dashboard/{name}"

    def tags(self, arn: str) -> dict[str, str] | None:
        """The mutable tags of the dashboard with this ARN; None if there is no such dashboard."""
        return next((dashboard.tags for dashboard in self._dashboards.values() if dashboard.arn == arn), None)

    def _put(self, p: Mapping[str, Any]) -> dict[str, Any]:
        name, body = p["DashboardName"], p["DashboardBody"]
        if re.fullmatch(r"[\w-]{1,255}", name, re.ASCII) is None:
            message = (
                f"The value {name} for field DashboardName contains invalid characters. It can only contain "
                "alphanumerics, dash (-) and underscore (_)."
            )
            raise AwsError("InvalidParameterValue", message)
        faults, warnings = check_body(body)
        if faults:
            listed = json.dumps([{"dataPath": fault.path, "message": fault.text} for fault in faults], indent=2)
            raise AwsError(
                "InvalidParameterInput",
                f"The dashboard body is invalid, there are {len(faults)} validation errors:\n{listed}",
                members={"dashboardValidationMessages": _shown(faults)},
            )
        dashboard = self._dashboards.get(name)
        if dashboard is None:
            tags = {tag["Key"]: tag["Value"] for tag in p.get("Tags") or ()}
            self._dashboards[name] = Dashboard(name, self.arn(name), body, self._clock(), tags)
        else:
            dashboard.body, dashboard.modified = body, self._clock()
        return {"DashboardValidationMessages": _shown(warnings)}

    def _named(self, name: str) -> Dashboard:
        dashboard = self._dashboards.get(name)
        if dashboard is None:
            raise AwsError("DashboardNotFoundError", f"Dashboard {name} does not exist", 404)
        return dashboard

    def _get(self, p: Mapping[str, Any]) -> dict[str, Any]:
        dashboard = self._named(p["DashboardName"])
        return {"DashboardArn": dashboard.arn, "DashboardBody": dashboard.body, "DashboardName": dashboard.name}

    def _list(self, p: Mapping[str, Any]) -> dict[str, Any]:
        prefix, token = p.get("DashboardNamePrefix") or "", p.get("NextToken")
        found = [dashboard for name, dashboard in sorted(self._dashboards.items()) if name.startswith(prefix)]
        try:
            page, more = wire.page(found, token, _PAGE)
        except ValueError:
            raise AwsError("InvalidParameterValue", "The parameter NextToken is not valid.") from None
        entries = [
            {
                "DashboardName": dashboard.name,
                "DashboardArn": dashboard.arn,
                "LastModified": metrics.moment(dashboard.modified),
                "Size": len(dashboard.body.encode()),
            }
            for dashboard in page
        ]
        return {"DashboardEntries": entries, **more}

    def _delete(self, p: Mapping[str, Any]) -> dict[str, Any]:
        for name in [self._named(name).name for name in p["DashboardNames"]]:  # all of them or none
            self._dashboards.pop(name, None)
        return {}


def _shown(messages: list[Message]) -> list[dict[str, str]]:
    return [{"DataPath": message.path, "Message": message.text} for message in messages]
