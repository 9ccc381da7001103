"""Service Quotas, read-only: the quotas of the services that the lab has, at AWS's defaults unless a test sets others.

Numbers are AWS's published defaults, read in 2026. The lab enforces none of them but where its service says so.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ekslab.aws.iam_authorization import Principal
from ekslab.aws.load import Load
from ekslab.aws.protocols import AwsError, Call, unsupported
from ekslab.aws.validation import validate
from ekslab.aws.wire import Parameters, Result

_PAGE = 100
_GLOBAL_REGION = "us-east-1"


@dataclass(frozen=True)
class Quota:
    """A quota of a service. `is_global`: it is an account's, and asked for in us-east-1 only."""

    service: str
    code: str
    name: str
    value: float
    is_global: bool = False


_NAMES: Mapping[str, str] = {
    "iam": "AWS Identity and Access Management (IAM)",
    "lambda": "AWS Lambda",
    "logs": "Amazon CloudWatch Logs",
    "sns": "Amazon Simple Notification Service (Amazon SNS)",
}
QUOTAS = (
    Quota("iam", "L-FE177D64", "Roles per account", 1000, is_global=True),
    Quota("iam", "L-858F3967", "OpenId connect providers per account", 100, is_global=True),
    Quota("lambda", "L-B99A9384", "Concurrent executions", 1000),
    Quota("logs", "L-C7B9AAAB", "Log groups", 1_000_000),
    Quota("sns", "L-61103206", "Topics per Account", 100_000),
)


class ServiceQuotas:
    """The service. `load` may hold other values than the defaults."""

    def __init__(self, *, account_id: str, load: Load) -> None:
        self._account_id = account_id
        self._load = load

    def resources(self, call: Call, p: Parameters) -> list[str]:
        if "QuotaCode" in p:
            return [f"arn:aws:servicequotas:{call.region}:{self._account_id}:{p.get('ServiceCode')}/{p['QuotaCode']}"]
        return ["*"]

    async def handle(self, call: Call, p: Parameters, caller: Principal) -> Result:
        """The operation's result. Raises AwsError."""
        operation = call.operation
        if operation not in (
            *("ListServices", "ListServiceQuotas", "ListAWSDefaultServiceQuotas"),
            *("GetServiceQuota", "GetAWSDefaultServiceQuota"),
        ):
            raise unsupported(call)
        try:
            validate("service-quotas", operation, p)
        except AwsError as error:
            raise AwsError("IllegalArgumentException", error.message) from error
        if operation == "ListServices":
            services = [{"ServiceCode": code, "ServiceName": name} for code, name in _NAMES.items()]
            return _page("Services", services, p)
        applied = "Default" not in operation
        found = [
            self._described(quota, call.region, applied=applied)
            for quota in QUOTAS
            if quota.service == p["ServiceCode"]
            and p.get("QuotaCode", quota.code) == quota.code
            and (not quota.is_global or call.region == _GLOBAL_REGION)
        ]
        if operation.startswith("Get"):
            if not found:
                raise _missing()
            return {"Quota": found[0]}
        if not found:
            raise _missing()
        return _page("Quotas", found, p)

    def value(self, service: str, code: str) -> float:
        """The value that holds for a quota."""
        default = next(quota.value for quota in QUOTAS if (quota.service, quota.code) == (service, code))
        return self._load.account_quotas.get(f"{service}/{code}", default)

    def _described(self, quota: Quota, region: str, *, applied: bool) -> dict[str, Any]:
        arn = f"arn:aws:servicequotas:{region}:{self._account_id}:{quota.service}/{quota.code}"
        return {
            "ServiceCode": quota.service,
            "ServiceName": _NAMES[quota.service],
            "QuotaArn": arn if applied else arn.replace(self._account_id, ""),
            "QuotaCode": quota.code,
            "QuotaName": quota.name,
            "Value": float(self.value(quota.service, quota.code) if applied else quota.value),
            "Unit": "None",
            "Adjustable": True,
            "GlobalQuota": quota.is_global,
            **({"QuotaAppliedAtLevel": "ACCOUNT"} if applied else {}),
        }


def _missing() -> AwsError:
    return AwsError("NoSuchResourceException", "The request failed because the specified service does not exist.")


def _page(name: str, items: list[dict[str, Any]], p: Parameters) -> Result:
    size = int(p.get("MaxResults", _PAGE))
    try:
        start = int(base64.b64decode(p["NextToken"], validate=True)) if "NextToken" in p else 0
    except (ValueError, binascii.Error) as error:
        raise AwsError("InvalidPaginationTokenException", "Invalid token was used.") from error
    rest = items[start + size :]
    following = {"NextToken": base64.b64encode(str(start + size).encode()).decode()} if rest else {}
    return {name: items[start : start + size], **following}
