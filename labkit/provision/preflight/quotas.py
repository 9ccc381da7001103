"""Whether the account's quotas leave room for what the steps will make.

A quota's value is Service Quotas' where it may be asked, else AWS's documented default (`quotas.toml`).
"""

from __future__ import annotations

import itertools
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

from labkit.aws import answer_or_none, refusal
from labkit.provision.preflight.finding import Finding, blocker, ok, warning
from labkit.provision.preflight.plan import Planned
from labkit.target import Target

_QUOTAS = "quotas"
NEAR = 0.9
"""A quota is near its end when more than this part of it will be used."""
_MOST_PAGES = 20  # of a listing: counting on would take longer than it is worth, of quotas so large
LEAST_CONCURRENCY = 10
"""Unreserved concurrent executions that the forwarder should find."""


@cache
def table() -> list[dict[str, Any]]:
    """`quotas.toml`: for each kind of part its quota."""
    text = resources.files("labkit.provision.preflight").joinpath("quotas.toml").read_text(encoding="utf-8")
    quotas: list[dict[str, Any]] = tomllib.loads(text)["quotas"]
    return quotas


def quotas(target: Target, planned: Iterable[Planned]) -> Iterator[Finding]:
    """One finding for each quota near its end, or that can't be looked at; the others together in one."""
    needed = Counter(item.kind for item in planned if item.state == "will be made")
    if any(item.kind == "Lambda function" for item in planned):
        yield from _concurrency(target)
    fine: list[str] = []
    applied = _Applied(target)
    for quota in table():
        kind = quota["kind"]
        if not needed[kind]:
            continue
        what = f"{kind}s" + (f" of {quota['of']}" if "of" in quota else "")
        try:
            used, complete = _USED[kind](target)
        except Exception as error:
            code, said = refusal(error)
            if not code.startswith("AccessDenied"):
                raise
            hint = "To let the check count them: `labkit policy workshop-preflight`."
            yield warning(_QUOTAS, what, f"can't be counted: {said}", hint)
            continue
        most, source = applied.value(quota)
        will = used + needed[kind]
        found = f"{'' if complete else 'more than '}{used:,} of {most:,}{source}, {needed[kind]} more needed"
        if will > most:
            yield blocker(_QUOTAS, what, found, _more(quota))
        elif will > NEAR * most and most > 2:  # of two, the last one is no warning
            yield warning(_QUOTAS, what, found, f"Room for {most - used} more. {_more(quota)}")
        else:
            fine.append(f"{what}: {'' if complete else 'more than '}{used:,} of {most:,}{source}, {needed[kind]} more")
    if fine:
        yield ok(_QUOTAS, "room", "; ".join(fine))


def _more(quota: Mapping[str, Any]) -> str:
    if "code" in quota:
        return (
            "Delete what nothing uses, or ask for more: `aws service-quotas request-service-quota-increase "
            f"--service-code {quota['service']} --quota-code {quota['code']} --desired-value ...`; that takes days."
        )
    if "of" in quota:
        return "It can't be raised: delete one that nothing needs, or use a log group of your own (LABKIT_LOG_GROUP)."
    return "Delete what nothing uses, or ask AWS Support for more; that takes days."


class _Applied:
    """The values of quotas in this account and region, a request for each service."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._found: dict[str, dict[str, float] | None] = {}

    def value(self, quota: Mapping[str, Any]) -> tuple[int, str]:
        """The quota, and ` (default)` if the account's own value couldn't be had."""
        if "of" in quota:
            return int(quota["default"]), ""
        values = self._of(quota["service"]) if "code" in quota else None
        if values is None or quota["code"] not in values:
            return int(quota["default"]), " (default)"
        return int(values[quota["code"]]), ""

    def _of(self, service: str) -> dict[str, float] | None:
        if service not in self._found:
            pages = self._target.aws.client("service-quotas").get_paginator("list_service_quotas")
            try:
                found = pages.paginate(ServiceCode=service).build_full_result()["Quotas"]
                self._found[service] = {quota["QuotaCode"]: quota["Value"] for quota in found}
            except Exception as error:
                # NoSuchResource: IAM's are in us-east-1 only. Others: not allowed, or no such service there.
                if not refusal(error)[0]:
                    raise
                self._found[service] = None
        return self._found[service]


def _concurrency(target: Target) -> Iterator[Finding]:
    """Lambda's concurrency that no function has reserved; new accounts have 10 instead of 1,000."""
    what = "concurrent executions of functions"
    try:
        settings = target.aws.client("lambda").get_account_settings()["AccountLimit"]
    except Exception as error:
        code, said = refusal(error)
        if not code.startswith("AccessDenied"):
            raise
        hint = "To let the check look: `labkit policy workshop-preflight`."
        yield warning(_QUOTAS, what, f"can't be looked at: {said}", hint)
        return
    free, most = settings["UnreservedConcurrentExecutions"], settings["ConcurrentExecutions"]
    found = f"{free:,} of {most:,} unreserved"
    hint = (
        "Take a reservation away from a function, or ask for more: `aws service-quotas request-service-quota-increase "
        "--service-code lambda --quota-code L-B99A9384 --desired-value 1000`; that takes days."
    )
    if free <= 0:
        yield blocker(_QUOTAS, what, found, f"The forwarder could never run. {hint}")
    elif free < LEAST_CONCURRENCY:
        yield warning(_QUOTAS, what, found, f"The forwarder may be throttled, and findings be late. {hint}")
    else:
        yield ok(_QUOTAS, what, found)


def _count(target: Target, service: str, operation: str, path: str, **request: Any) -> tuple[int, bool]:
    """How many there are, and whether that is all of them."""
    pages = target.aws.client(service).get_paginator(operation).paginate(**request)
    counts = [len(page.get(path) or ()) for page in itertools.islice(pages, _MOST_PAGES + 1)]
    return sum(counts[:_MOST_PAGES]), len(counts) <= _MOST_PAGES


def _roles(target: Target) -> tuple[int, bool]:
    return target.aws.client("iam").get_account_summary()["SummaryMap"]["Roles"], True


def _providers(target: Target) -> tuple[int, bool]:
    return len(target.aws.client("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"]), True


def _in_group(operation: str, path: str) -> Callable[[Target], tuple[int, bool]]:
    def count(target: Target) -> tuple[int, bool]:
        # None: there is no log group yet
        found = answer_or_none(_count, target=target, **_named(target, operation, path))
        return found or (0, True)

    return count


def _named(target: Target, operation: str, path: str) -> dict[str, str]:
    return {"service": "logs", "operation": operation, "path": path, "logGroupName": target.settings.log_group}


_USED: Mapping[str, Callable[[Target], tuple[int, bool]]] = {
    "IAM role": _roles,
    "OIDC provider": _providers,
    "log group": lambda target: _count(target, "logs", "describe_log_groups", "logGroups"),
    "metric filter": _in_group("describe_metric_filters", "metricFilters"),
    "subscription filter": _in_group("describe_subscription_filters", "subscriptionFilters"),
    "alarm": lambda target: _count(target, "cloudwatch", "describe_alarms", "MetricAlarms"),
    "SNS topic": lambda target: _count(target, "sns", "list_topics", "Topics"),
}
