"""Finds the broken link when an alert or a log line doesn't arrive: event, rule, pod log, shipping or log group.

It follows an alert's path backwards: whatever has reached one link has passed all links before it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from labkit.alerts.choice import known_as
from labkit.alerts.falco_rules import loaded_rules
from labkit.alerts.reader import whole
from labkit.aws import describe_log_group
from labkit.calls import near, short_repr
from labkit.causes import Ends, of_line
from labkit.errors import LabError
from labkit.kube import Kube, KubernetesError, Object
from labkit.kube.objects import is_ready
from labkit.kube.rollout import pod_problems
from labkit.target import Target

if TYPE_CHECKING:
    import datetime as dt


_EVICTED = "evicted from output queue"
_BUFFER_FULL = " Its buffer on the node is full, and the oldest alerts were dropped (storage.total_limit_size)."
_READ_PODS = 5  # whose logs are read while an alert is waited for
_TESTED_LINES = 50  # messages in a TestMetricFilter call
CHECK_RULES = "`labkit rules check FILE` says where; correct the file and ship it again."


@dataclass(frozen=True)
class Link:
    """One link of the chain, found broken."""

    name: str
    """`event`, `rule`, `pod log`, `shipping` or `log group`; of a finding, `forwarder`."""
    finding: str
    hint: str
    ends: Ends = "soon"
    """Whether it may pass by itself, as in `labkit.causes`."""


def broken_by_now(target: Target, since: dt.datetime) -> Link | None:
    """A link that is broken for certain, while an alert or line since `since` is still waited for: Falco, shipping.

    It is asked for every few seconds, so what takes many requests (rules, filter patterns) is left to the end.
    """
    try:
        falco = _falco(target)
        unready = _falco_missing(target, falco) if falco else None
        if unready and not any(map(is_ready, falco)):
            return unready
        carriers = _fluent_bit(target)
        if not carriers:
            return Link("shipping", "No Fluent Bit is running.", 'lab.apply("fluent-bit")', "slow")
        fault = _shipping_fault(target, since, carriers[:_READ_PODS])
        return fault or (replace(unready, ends="slow") if unready else None)  # others run: on which node was it?
    except KubernetesError:  # an attendee may not look there
        return None


def broken_link(target: Target, rule: str | None, since: dt.datetime, *, seen: int = 0) -> Link:
    """The link that keeps alerts of `rule` since `since` from arriving. `seen` counts those that did arrive."""
    if missing := group_missing(target):
        return missing
    if seen:
        return Link(
            "event",
            f"{seen} of its alerts arrived, but none has the fields that were asked for.",
            "Compare with lab.alerts(); correct `where`, or trigger it again.",
        )
    falco = _falco(target)
    return (
        _falco_missing(target, falco)
        or _in_pod_log(target, falco, rule, since)
        or _rule_missing(target, falco, rule)
        or _no_event(target, rule, since)
    )


def broken_link_of_log(target: Target, pattern: str, since: dt.datetime, former: Callable[[str], bool]) -> Link:
    """The link that keeps a line that `pattern` matches, printed since `since`, from arriving.

    Lines for which `former` is true don't count. A log line needs no event and no rule: it is printed, shipped and
    stored.
    """
    if missing := group_missing(target):
        return missing
    namespace = target.settings.falco_namespace
    for pod in target.kube.list("Pod", namespace):
        lines = _log(target.kube, pod, since=since).splitlines()
        if _any_matches(target, pattern, [line for line in lines if line.startswith("{") and not former(line)]):
            return _shipping(target, since, f"Pod {namespace}/{pod['metadata']['name']} printed the line")
    carriers = _fluent_bit(target)
    if not carriers:
        return Link("shipping", "No Fluent Bit is running.", 'lab.apply("fluent-bit")')
    if not all(map(is_ready, carriers)) and (fault := _shipping_fault(target, since)):
        return fault
    return Link(
        "pod log",
        f"No pod in namespace {namespace} has printed such a line since.",
        'Only lines of JSON of containers called `falco` are shipped. For a new canary: lab.undo("canary"), then '
        'lab.apply("canary").',
    )


def faults_now(target: Target, since: dt.datetime) -> list[Link]:
    """What is broken of Falco, Fluent Bit and the log group as they are; what was never installed isn't broken.

    Logs are read from `since` on.
    """
    falco = _falco(target)
    carriers = _fluent_bit(target)
    found = [_falco_missing(target, falco) or _refused_rules(target, falco)] if falco else []
    if carriers:
        missing = group_missing(target)
        found += [missing or _shipping_fault(target, since)]
    return [link for link in found if link is not None]


def _refused_rules(target: Target, falco: list[Object]) -> Link | None:
    """Rules that a running Falco has refused to load: it goes on with those it had."""
    for pod in falco:
        if error := _load_error(_log(target.kube, pod)):
            return Link("rule", f"Falco refuses its rules: {error}", CHECK_RULES)
    return None


def _any_matches(target: Target, pattern: str, lines: list[str]) -> bool:
    """Whether CloudWatch Logs says that a filter pattern matches one of the lines, newest first."""
    logs = target.aws.client("logs")
    for end in range(len(lines), 0, -_TESTED_LINES):
        tested = lines[max(end - _TESTED_LINES, 0) : end]
        if logs.test_metric_filter(filterPattern=pattern, logEventMessages=tested)["matches"]:
            return True
    return False


def group_missing(target: Target) -> Link | None:
    """The lab's log group as the broken link, if it isn't there."""
    group, region = target.settings.log_group, target.settings.region
    if describe_log_group(target.aws, group) is not None:
        return None
    hint = (
        'lab.apply("log-group"), or check `log_group` and `region`. What Fluent Bit had in hand when a group was '
        "deleted is lost; what came after that arrives."
    )
    return Link("log group", f"There is no log group {group!r} in {region}.", hint)


def _falco_missing(target: Target, pods: list[Object]) -> Link | None:
    namespace = target.settings.falco_namespace
    if not pods:
        return Link("event", f"No Falco is running in namespace {namespace}.", 'lab.apply("falco")')
    unready = [pod for pod in pods if not is_ready(pod)]
    if not unready:
        return None
    log = _log(target.kube, unready[0], tail=40) or _log(target.kube, unready[0], tail=40, previous=True)
    load_error = _load_error(log)
    if load_error:
        return Link("rule", f"Falco refuses its rules: {load_error}", CHECK_RULES)
    return _unready("event", "Falco", target.kube, unready, f"`kubectl -n {namespace} describe pods`")


def _unready(link: str, program: str, kube: Kube, pods: list[Object], hint: str) -> Link:
    """The link of a program whose pods aren't ready, with what keeps them from it."""
    found = [problem for pod in pods for problem in pod_problems(kube, pod)]
    why = "; ".join(map(str, found)) or ", ".join(pod["metadata"]["name"] for pod in pods)
    known = next((problem.cause for problem in found if problem.cause and problem.cause.what), None)
    if known is None:
        return Link(link, f"{program} isn't ready: {why}", hint)
    return Link(link, f"{program} isn't ready. {known.what} Kubernetes says: {why}", known.mend, known.ends)


def _in_pod_log(target: Target, pods: list[Object], rule: str | None, since: dt.datetime) -> Link | None:
    """The shipping fault, if Falco has written the alert."""
    for pod in pods:
        for alert in _alerts(_log(target.kube, pod, since=since)):
            if _is_of(target, rule, alert):
                return _shipping(target, since, "Falco wrote the alert")
    return None


def _is_of(target: Target, rule: str | None, alert: dict[str, Any]) -> bool:
    """Whether an alert is of a rule, and in the namespace that alerts are limited to."""
    scope = target.settings.scope
    fields = alert.get("output_fields")
    namespace = fields.get("k8s.ns.name") if isinstance(fields, dict) else None
    return (not scope or namespace == scope) and (rule is None or alert.get("rule") in known_as(rule, scope))


def _shipping(target: Target, since: dt.datetime, done: str) -> Link:
    wrote = f"{done}, but it isn't in the log group."
    if not _fluent_bit(target):
        return Link("shipping", f"{wrote} No Fluent Bit is running.", 'lab.apply("fluent-bit")')
    fault = _shipping_fault(target, since)
    if fault is None:
        return Link("shipping", f"{wrote} Fluent Bit reports no error.", "It may be slow: wait again.")
    return Link(fault.name, f"{wrote} {fault.finding}", fault.hint)


def _falco(target: Target) -> list[Object]:
    return target.kube.list("Pod", target.settings.falco_namespace, labels="app.kubernetes.io/name=falco")


def _fluent_bit(target: Target) -> list[Object]:
    return target.kube.list("Pod", target.settings.logging_namespace, labels="app.kubernetes.io/name=fluent-bit")


def _shipping_fault(target: Target, since: dt.datetime, pods: list[Object] | None = None) -> Link | None:
    """The fault of the running Fluent Bit, or of some of its pods, if it has one."""
    pods = _fluent_bit(target) if pods is None else pods
    namespace = target.settings.logging_namespace
    unready = [pod for pod in pods if not is_ready(pod)]
    for pod in unready or pods:
        # A pod that isn't ready gave the reason at its start, perhaps long ago.
        if pod in unready:
            log = _log(target.kube, pod, tail=40) or _log(target.kube, pod, tail=40, previous=True)
        else:
            log = _log(target.kube, pod, since=since)
        if found := of_line("fluent-bit", log, namespace=namespace):
            cause, line = found
            full = _BUFFER_FULL if _EVICTED in log else ""
            return Link("shipping", f"{cause.what}{full} Fluent Bit's log: {line}".strip(), cause.mend, cause.ends)
    if unready:
        return _unready("shipping", "Fluent Bit", target.kube, unready, 'lab.apply("fluent-bit")')
    elsewhere = _other_group(target)
    if elsewhere:
        return Link("log group", f"Fluent Bit writes to {elsewhere!r} instead.", 'lab.apply("fluent-bit")')
    return None


def _other_group(target: Target) -> str:
    """The log group that Fluent Bit's configuration names, if it isn't the lab's."""
    for config in target.kube.list("ConfigMap", target.settings.logging_namespace):
        for text in (config.get("data") or {}).values():
            found = re.search(r"(?m)^\s*log_group_name:?\s+(\S+)", text)
            if found and found[1] != target.settings.log_group:
                return found[1]
    return ""


def _rule_missing(target: Target, pods: list[Object], rule: str | None) -> Link | None:
    log = _log(target.kube, pods[0])
    load_error = _load_error(log)
    if load_error:
        return Link("rule", f"Falco refuses its rules: {load_error}", CHECK_RULES)
    if rule is None:
        return None
    state = rule_state(target, rule)
    if state == "disabled":
        return Link(
            "rule", f"The rule {rule!r} is disabled.", "Enable it in the values file (falco.rules) or its own file."
        )
    if state == "unknown":
        return Link("rule", f"Falco has loaded no rule {rule!r}.", _other_rules(target, rule))
    return None


def rule_state(target: Target, rule: str) -> str:
    """`loaded`, `disabled` or `unknown`, as the running Falco reports; empty if it can't be asked."""
    enabled = _loaded(target)
    if not enabled:
        return ""
    found = [enabled[name] for name in known_as(rule, target.settings.scope) if name in enabled]
    return "unknown" if not found else "loaded" if any(found) else "disabled"


def refuse_unknown(target: Target, rule: str) -> None:
    """Raises `LabError` with similar names if the running Falco has no such rule."""
    if unknown := unknown_rule(target, rule):
        raise LabError(f"There are no alerts of a rule {short_repr(rule)}.", hint=unknown)


def unknown_rule(target: Target, rule: str) -> str:
    """That the running Falco has no such rule, and similar names; empty if it has it, or can't be asked."""
    if rule_state(target, rule) != "unknown":
        return ""
    return f"Falco has loaded no rule {short_repr(rule)}. {_other_rules(target, rule)}"


def _other_rules(target: Target, rule: str) -> str:
    also = 'lab.falco_rules() lists those it has; ship a rule of your own with lab.apply("custom-rules").'
    return near(rule, _loaded(target)) + also


def _loaded(target: Target) -> dict[str, bool]:
    """The loaded rules by name, and whether they are enabled; empty if Falco can't be asked."""
    try:
        rules = loaded_rules(target)
    except LabError:
        return {}
    return dict(zip(rules["rule"].astype(str), rules["enabled"].astype(bool), strict=True))


def _no_event(target: Target, rule: str | None, since: dt.datetime) -> Link:
    others = whole(target.aws.client("logs"), target.settings.log_group, since, namespace=target.settings.scope)
    if len(others):
        names = ", ".join(sorted({str(name) for name in others["rule"]}))
        return Link(
            "event",
            f"The pipeline works (alerts of {names} arrived), but nothing matched {rule!r}.",
            "Run the command again and compare it with the rule's condition. Rules about terminals need tty=True; "
            "with rule_matching: first, another rule may have taken the event.",
        )
    return Link(
        "event",
        "Falco is running and has alerted for no rule since.",
        "Run the command again. Rules about terminals need tty=True: a command without one raises nothing.",
    )


def _log(
    kube: Kube, pod: Object, *, since: dt.datetime | None = None, tail: int | None = None, previous: bool = False
) -> str:
    meta = pod["metadata"]
    container = pod["spec"]["containers"][0]["name"]
    try:
        return kube.logs(
            meta["name"], meta["namespace"], container=container, since=since, tail=tail, previous=previous
        )
    except LabError:
        return ""


def _alerts(log: str) -> Iterator[dict[str, Any]]:
    for line in log.splitlines():
        if line.startswith("{"):
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                continue


def _load_error(log: str) -> str:
    """Falco's error about its rules; empty if there is none."""
    lines = [line.strip() for line in log.splitlines() if re.search(r"LOAD_ERR_\w+|Error: .*rules", line)]
    return next((line for line in lines if "LOAD_ERR" in line), lines[0] if lines else "")
