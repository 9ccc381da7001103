"""CloudWatch: dispatches calls to metrics, alarms, dashboards and images, and evaluates alarms every ten seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ekslab.aws import metrics
from ekslab.aws.alarms import Alarms, Publish
from ekslab.aws.dashboards import Dashboards
from ekslab.aws.metric_data import get_metric_data
from ekslab.aws.metric_widget import Graph, graph_of
from ekslab.aws.metrics import Metrics
from ekslab.aws.protocols import AwsError, Call, unsupported
from ekslab.aws.validation import validate

if TYPE_CHECKING:
    from ekslab.aws.iam_authorization import Principal
    from ekslab.aws.wire import Parameters, Result

_EVALUATED_EVERY = 10  # seconds: what the shortest periods need
_ON_NAMED_ALARMS = {
    "PutMetricAlarm", "DeleteAlarms", "DescribeAlarms", "DescribeAlarmHistory", "SetAlarmState", "EnableAlarmActions",
    "DisableAlarmActions",
}  # fmt: skip
_TAGGING = {"TagResource", "UntagResource", "ListTagsForResource"}
_MAX_TAGS = 50


@dataclass
class Region:
    """The metrics and alarms of one region."""

    metrics: Metrics
    alarms: Alarms


def _image(graph: Graph) -> bytes:
    from ekslab.aws.widget_image import draw  # imports matplotlib

    return draw(graph)


class CloudWatch:
    """The service, by its signing name `monitoring`."""

    def __init__(self, *, account_id: str, clock: Callable[[], float], publish: Publish) -> None:
        self.account_id = account_id
        self.clock = clock
        self._publish = publish
        self._regions: dict[str, Region] = {}
        self._drawing = asyncio.Lock()
        self._dashboards = Dashboards(account_id=account_id, clock=clock)
        self._operations: dict[str, Callable[[Region, Parameters], Result]] = {
            "PutMetricData": lambda region, p: metrics.put_metric_data(region.metrics, p, self.clock()),
            "ListMetrics": lambda region, p: metrics.list_metrics(region.metrics, p, self.clock()),
            "GetMetricStatistics": lambda region, p: metrics.get_metric_statistics(region.metrics, p, self.clock()),
            "GetMetricData": lambda region, p: get_metric_data(region.metrics, p),
            "TagResource": self._tag,
            "UntagResource": self._untag,
            "ListTagsForResource": self._list_tags,
        }

    def region(self, name: str) -> Region:
        if name not in self._regions:
            store = Metrics(self.clock)
            alarms = Alarms(
                region=name, account_id=self.account_id, store=store, clock=self.clock, publish=self._publish
            )
            self._regions[name] = Region(store, alarms)
        return self._regions[name]

    async def run(self) -> None:
        """Evaluates alarms every ten seconds until it is cancelled."""
        while True:
            await asyncio.sleep(_EVALUATED_EVERY - self.clock() % _EVALUATED_EVERY)
            for region in tuple(self._regions.values()):
                region.alarms.evaluate()

    def resources(self, call: Call, p: Parameters) -> list[str]:
        """The ARNs of the named alarms or dashboards; `*` for actions on metrics."""
        if call.operation in _TAGGING:
            return [str(p.get("ResourceARN", "*"))]
        if call.operation in _ON_NAMED_ALARMS:
            names = [p["AlarmName"]] if p.get("AlarmName") else p.get("AlarmNames") or ["*"]
            return [self.region(call.region).alarms.arn(str(name)) for name in names]
        if call.operation in ("PutDashboard", "GetDashboard", "DeleteDashboards"):
            names = [p["DashboardName"]] if p.get("DashboardName") else p.get("DashboardNames") or ["*"]
            return [self._dashboards.arn(str(name)) for name in names]
        return ["*"]

    async def handle(self, call: Call, p: Parameters, caller: Principal) -> Result:
        """The operation's result. Raises AwsError, named as the service does."""
        region = self.region(call.region)
        operation: Callable[[Parameters], Result] | None = (
            region.alarms.operations.get(call.operation)
            or self._dashboards.operations.get(call.operation)
            or (partial(self._operations[call.operation], region) if call.operation in self._operations else None)
        )
        if operation is None and call.operation != "GetMetricWidgetImage":
            raise unsupported(call)
        try:
            validate("monitoring", call.operation, p)
        except AwsError as error:
            code = "ValidationError" if error.code == "InvalidParameterException" else error.code
            raise AwsError(code, error.message) from error
        region.alarms.evaluate()
        return operation(p) if operation is not None else await self._draw(call, p)

    async def _draw(self, call: Call, p: Parameters) -> Result:
        """GetMetricWidgetImage. Images are drawn in a thread, one after another: other clients don't wait for it."""
        if p.get("OutputFormat", "png") != "png":
            message = f"The value {p['OutputFormat']} for parameter OutputFormat is invalid: the embedded lab has png."
            raise AwsError("InvalidParameterValue", message)
        graph = graph_of(self.region(call.region).metrics, p["MetricWidget"], region=call.region, now=self.clock())
        try:
            async with self._drawing:
                return {"MetricWidgetImage": await asyncio.to_thread(_image, graph)}
        except ModuleNotFoundError as error:
            raise unsupported(call, f"{error.name} isn't installed (pip install matplotlib)") from error

    # -- tags

    def _tags(self, region: Region, arn: str) -> dict[str, str]:
        tags = region.alarms.tags(arn)
        tags = self._dashboards.tags(arn) if tags is None else tags
        if tags is None:
            raise AwsError(
                "ResourceNotFoundException",
                f"There is no resource {arn}",
                404,
                members={
                    "ResourceType": arn.split(":")[5].split("/")[0] if arn.count(":") > 4 else "",
                    "ResourceId": arn,
                },
            )
        return tags

    def _tag(self, region: Region, p: Parameters) -> Result:
        tags = self._tags(region, p["ResourceARN"])
        given = {tag["Key"]: tag["Value"] for tag in p["Tags"]}
        if len(tags | given) > _MAX_TAGS:
            raise AwsError("ValidationError", f"A resource can have {_MAX_TAGS} tags.")
        tags.update(given)
        return {}

    def _untag(self, region: Region, p: Parameters) -> Result:
        tags = self._tags(region, p["ResourceARN"])
        for key in p["TagKeys"]:
            tags.pop(key, None)
        return {}

    def _list_tags(self, region: Region, p: Parameters) -> Result:
        tags = self._tags(region, p["ResourceARN"])
        return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
