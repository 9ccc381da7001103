"""Tables of what makes pods from templates: Deployments, ReplicaSets, DaemonSets, Jobs."""

from __future__ import annotations

import re
from typing import Any

from ekslab.kubernetes.objects.errors import Cause
from ekslab.kubernetes.objects.resources import Object
from ekslab.kubernetes.objects.selectors import matches
from ekslab.kubernetes.objects.validation import formats
from ekslab.kubernetes.objects.validation.metadata import SELECTOR, is_selector, label_key
from ekslab.kubernetes.objects.validation.pods import TEMPLATE
from ekslab.kubernetes.objects.validation.printed import internal, selector
from ekslab.kubernetes.objects.validation.rules import (
    Causes,
    Place,
    Rule,
    Scope,
    at_least_0,
    each,
    equals,
    field,
    fields,
    forbidden,
    formatted,
    has,
    holds,
    lacks,
    one_of,
    pointer,
    required,
    when,
)

_PERCENT = re.compile(r"[0-9]{1,9}%?")


def _labels(template: Object) -> Object | None:
    return (template.get("metadata") or {}).get("labels")


def _number(value: Any) -> int:
    """A number, or how many per cent."""
    if isinstance(value, str):
        return int(value.removesuffix("%")) if _PERCENT.fullmatch(value) else 0
    return int(value or 0)


def int_or_percent(value: Any, at: Place, scope: Scope) -> Causes:
    rule = formatted(formats.percentage) if isinstance(value, str) else at_least_0
    return rule(value, at, scope)


at_most_100_percent = holds(
    lambda value: "%" not in str(value) or _number(value) <= 100, "must not be greater than 100%"
)


def _not_empty(words: str) -> Rule:
    def check(value: Object, at: Place, _: Scope) -> Causes:
        if not value.get("matchLabels") and not value.get("matchExpressions"):
            yield Cause.invalid(str(at), selector(value), words)

    return check


_matches_template = "`selector` does not match template `labels`"


def _selects_template(value: Object, at: Place, _: Scope) -> Causes:
    wanted, template = value.get("selector"), value.get("template") or {}
    if wanted is not None and not wanted.get("matchLabels") and not wanted.get("matchExpressions"):
        return
    labels = _labels(template)
    if wanted is None or not matches(wanted, labels or {}):
        yield Cause.invalid(str(at.child("template").child("metadata").child("labels")), labels, _matches_template)


def _always_restarted(kind: str) -> Rule:
    """A template's pods run until they are deleted."""

    def check(value: Object, at: Place, scope: Scope) -> Causes:
        spec = (value.get("template") or {}).get("spec") or {}
        place = at.child("template").child("spec")
        yield from one_of("Always")(spec.get("restartPolicy", ""), place.child("restartPolicy"), scope)
        if spec.get("activeDeadlineSeconds") is not None:
            why = f"activeDeadlineSeconds in {kind} is not Supported"
            yield Cause.forbidden(str(place.child("activeDeadlineSeconds")), why)

    return check


def _replicated(value: Object, at: Place, scope: Scope) -> Causes:
    wanted = value.get("selector")
    if wanted is not None and not is_selector(wanted):
        return [Cause.invalid(str(at.child("selector")), selector(wanted), "invalid label selector")]
    causes = list(_selects_template(value, at, scope)) if wanted is not None else []
    if wanted is None:
        causes.append(
            Cause.invalid(
                str(at.child("template").child("metadata").child("labels")),
                _labels(value.get("template") or {}),
                _matches_template,
            )
        )
    causes += TEMPLATE(value.get("template") or {}, at.child("template"), scope)
    causes += _always_restarted("ReplicaSet")(value, at, scope)
    return causes


_replicas = field("replicas", at_least_0)
_min_ready = field("minReadySeconds", at_least_0)
_history = field("revisionHistoryLimit", at_least_0)
_selector = required("selector", SELECTOR, _not_empty("empty selector is invalid for deployment"))


def _surge_or_unavailable(value: Object, at: Place, _: Scope) -> Causes:
    if not _number(value.get("maxUnavailable")) and not _number(value.get("maxSurge")):
        place = str(at.child("maxUnavailable"))
        yield Cause.invalid(place, value.get("maxUnavailable", 0), "may not be 0 when `maxSurge` is 0")


def _surge_and_unavailable(value: Object, at: Place, _: Scope) -> Causes:
    surge, unavailable = (_number(value.get(name)) for name in ("maxSurge", "maxUnavailable"))
    if surge and unavailable:
        why = "may not be set when maxUnavailable is non-zero"
        yield Cause.invalid(str(at.child("maxSurge")), value["maxSurge"], why)
    elif not surge and not unavailable:
        yield Cause.required(str(at.child("maxUnavailable")), "cannot be 0 when maxSurge is 0")


_rolling_only = "may not be specified when strategy `type` is 'Recreate'"
STRATEGY = when(
    equals("type", "Recreate"),
    field("rollingUpdate", forbidden(_rolling_only)),
    otherwise=(
        when(
            equals("type", "RollingUpdate"),
            field(
                "rollingUpdate",
                fields(
                    pointer("maxUnavailable", int_or_percent),
                    pointer("maxSurge", int_or_percent),
                    _surge_or_unavailable,
                    pointer("maxUnavailable", at_most_100_percent),
                ),
            ),
            otherwise=(
                lambda value, at, _: (
                    Cause.unsupported(str(at), internal("DeploymentStrategy", value), ("Recreate", "RollingUpdate")),
                ),
            ),
        ),
    ),
)
UPDATE_STRATEGY = when(
    equals("type", "RollingUpdate"),
    field(
        "rollingUpdate",
        fields(
            pointer("maxUnavailable", int_or_percent),
            pointer("maxSurge", int_or_percent),
            pointer("maxUnavailable", at_most_100_percent),
            pointer("maxSurge", at_most_100_percent),
            _surge_and_unavailable,
        ),
    ),
    otherwise=(
        when(
            lambda value: value.get("type") != "OnDelete",
            lambda value, at, _: (
                Cause.unsupported(str(at), internal("DaemonSetUpdateStrategy", value), ("RollingUpdate", "OnDelete")),
            ),
        ),
    ),
)


def _progress(value: Object, at: Place, _: Scope) -> Causes:
    seconds = value.get("progressDeadlineSeconds")
    if seconds is not None and seconds <= value.get("minReadySeconds", 0):
        yield Cause.invalid(str(at.child("progressDeadlineSeconds")), seconds, "must be greater than minReadySeconds")


DEPLOYMENT = fields(
    field(
        "spec",
        fields(
            _replicas,
            _selector,
            _replicated,
            field("strategy", STRATEGY, absent={}),
            _min_ready,
            _history,
            field("progressDeadlineSeconds", at_least_0),
            _progress,
        ),
    )
)
REPLICA_SET = fields(field("spec", fields(_replicas, _min_ready, _selector, _replicated)))


def _selects_daemons(value: Object, at: Place, scope: Scope) -> Causes:
    wanted = value.get("selector")
    if wanted is None or (is_selector(wanted) and not matches(wanted, _labels(value.get("template") or {}) or {})):
        place = str(at.child("template").child("metadata").child("labels"))
        yield Cause.invalid(place, _labels(value.get("template") or {}), _matches_template)


DAEMON_SET = fields(
    field(
        "spec",
        fields(
            field("selector", SELECTOR),
            _selects_daemons,
            field("selector", _not_empty("empty selector is invalid for daemonset")),
            field("template", TEMPLATE, absent={}),
            _always_restarted("DaemonSet"),
            _min_ready,
            field("updateStrategy", UPDATE_STRATEGY, absent={}),
            _history,
        ),
    )
)

# Jobs

_MAX_PARALLELISM = _MAX_FAILED_INDEXES = 100_000
_MAX_RULES, _MAX_CONDITIONS, _MAX_EXIT_CODES = 20, 20, 255
_indexed_only = "requires indexed completion mode"
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")


def _listed(*names: str) -> str:
    quoted = " ".join(f'"{name}"' for name in names)
    return f"valid values: [{quoted}]"


def _indexed(value: Object, at: Place, _: Scope) -> Causes:
    mode = value.get("completionMode") or "NonIndexed"
    parallelism, failed = value.get("parallelism", 0), value.get("maxFailedIndexes")
    if mode == "Indexed":
        completions = value.get("completions")
        if completions is None:
            yield Cause.required(str(at.child("completions")), "when completion mode is Indexed")
        if parallelism > _MAX_PARALLELISM:
            why = f"must be less than or equal to {_MAX_PARALLELISM} when completion mode is Indexed"
            yield Cause.invalid(str(at.child("parallelism")), parallelism, why)
        if completions is not None and failed is not None and failed > completions:
            why = "must be less than or equal to completions"
            yield Cause.invalid(str(at.child("maxFailedIndexes")), failed, why)
        if failed is not None and failed > _MAX_FAILED_INDEXES:
            why = f"must be less than or equal to {_MAX_FAILED_INDEXES}"
            yield Cause.invalid(str(at.child("maxFailedIndexes")), failed, why)
    elif mode == "NonIndexed":
        for name in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if value.get(name) is not None:
                yield Cause.invalid(str(at.child(name)), value[name], _indexed_only)


def _failure_rule(rule: Object, at: Place, scope: Scope) -> Causes:
    has_codes, has_conditions = rule.get("onExitCodes") is not None, bool(rule.get("onPodConditions"))
    if has_codes and has_conditions:
        yield Cause.wrong(str(at), "specifying both OnExitCodes and OnPodConditions is not supported")
    if not has_codes and not has_conditions:
        yield Cause.wrong(str(at), "specifying one of OnExitCodes and OnPodConditions is required")


def _is_container(value: str, at: Place, scope: Scope) -> Causes:
    spec = ((scope.root["spec"].get("template") or {}).get("spec")) or {}
    containers = [container for kind in ("containers", "initContainers") for container in spec.get(kind) or ()]
    if value not in [container.get("name") for container in containers]:
        why = "must be one of the container or initContainer names in the pod template"
        yield Cause.invalid(str(at), value, why)


def _exit_codes(value: Object, at: Place, scope: Scope) -> Causes:
    codes, place = value.get("values") or [], at.child("values")
    if not codes:
        yield Cause.invalid(str(place), codes, "at least one value is required")
    elif len(codes) > _MAX_EXIT_CODES:
        yield Cause.too_many(str(place), len(codes), _MAX_EXIT_CODES)
    for index, code in enumerate(codes):
        if value.get("operator") == "In" and code == 0:
            yield Cause.invalid(str(place.item(index)), code, "must not be 0 for the In operator")
        if code in codes[:index]:
            yield Cause.duplicate(str(place.item(index)), code)
    if codes != sorted(codes):
        yield Cause.invalid(str(place), codes, "must be ordered")


def _fails_index(value: str, at: Place, scope: Scope) -> Causes:
    if value == "FailIndex" and scope.root["spec"].get("backoffLimitPerIndex") is None:
        yield Cause.invalid(str(at), value, "requires the backoffLimitPerIndex to be set")


FAILURE_POLICY = fields(
    field(
        "rules",
        each(
            fields(
                required("action", one_of(*_ACTIONS), _fails_index, why=_listed(*_ACTIONS)),
                field(
                    "onExitCodes",
                    fields(
                        required("operator", one_of("In", "NotIn"), why=_listed("In", "NotIn")),
                        pointer("containerName", _is_container),
                        _exit_codes,
                    ),
                ),
                field(
                    "onPodConditions",
                    each(
                        fields(
                            field("type", label_key, absent=""),
                            required(
                                "status",
                                one_of("False", "True", "Unknown"),
                                why=_listed("False", "True", "Unknown"),
                            ),
                        )
                    ),
                ),
                _failure_rule,
            )
        ),
    )
)


def _replacement(value: Object, at: Place, scope: Scope) -> Causes:
    allowed = ("Failed",) if value.get("podFailurePolicy") is not None else ("Failed", "TerminatingOrFailed")
    if (policy := value.get("podReplacementPolicy")) is not None:
        yield from one_of(*allowed)(policy, at.child("podReplacementPolicy"), scope)


def _success_policy(value: Object, at: Place, _: Scope) -> Causes:
    if value.get("successPolicy") is not None and value.get("completionMode") != "Indexed":
        place = str(at.child("successPolicy"))
        yield Cause.invalid(place, internal("SuccessPolicy", value["successPolicy"]), _indexed_only)


def _ends(value: Object, at: Place, _: Scope) -> Causes:
    """A Job's pods come to an end."""
    policy = ((value.get("template") or {}).get("spec") or {}).get("restartPolicy", "")
    place = str(at.child("template").child("spec").child("restartPolicy"))
    if policy in ("", "Always"):
        yield Cause.required(place, 'valid values: "OnFailure", "Never"')
    elif policy not in ("OnFailure", "Never"):
        yield Cause.unsupported(place, policy, ("OnFailure", "Never"))
    elif value.get("podFailurePolicy") is not None and policy != "Never":
        yield Cause.invalid(place, policy, 'only "Never" is supported when podFailurePolicy is specified')


_KEPT_LABELS = ("controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")


def _generated_selector(value: Object, at: Place, _: Scope) -> Causes:
    spec, metadata = value.get("spec") or {}, value.get("metadata") or {}
    wanted = spec.get("selector")
    if spec.get("manualSelector") or wanted is None:
        return
    labels = _labels(spec.get("template") or {}) or {}
    expected = {name: metadata.get("uid" if name.endswith("controller-uid") else "name", "") for name in _KEPT_LABELS}
    for name, text in expected.items():
        place = at.child("spec").child("template").child("metadata").child("labels").key(name)
        if name not in labels:
            yield Cause.required(str(place), f"must be '{text}'")
        elif labels[name] != text:
            yield Cause.invalid(str(place), labels, f"must be '{text}'")
    if is_selector(wanted) and not matches(wanted, expected):
        yield Cause.invalid(str(at.child("spec").child("selector")), selector(wanted), "`selector` not auto-generated")


def _selects_pods(value: Object, at: Place, _: Scope) -> Causes:
    wanted, labels = value.get("selector"), _labels(value.get("template") or {})
    if wanted is None or (is_selector(wanted) and not matches(wanted, labels or {})):
        yield Cause.invalid(str(at.child("template").child("metadata").child("labels")), labels, _matches_template)


def _pod_names(value: Object, at: Place, _: Scope) -> Causes:
    spec, name = value.get("spec") or {}, (value.get("metadata") or {}).get("name", "")
    completions = spec.get("completions") or 0
    if spec.get("completionMode") == "Indexed" and completions > 0:
        longest = f"{name}-{completions - 1}"
        if formats.dns_label(longest):
            why = f"will not able to create pod with invalid DNS label: {longest}"
            yield Cause.invalid(str(at.child("metadata").child("name")), name, why)


JOB = fields(
    _generated_selector,
    field(
        "spec",
        fields(
            pointer("parallelism", at_least_0),
            pointer("completions", at_least_0),
            pointer("activeDeadlineSeconds", at_least_0),
            pointer("backoffLimit", at_least_0),
            pointer("ttlSecondsAfterFinished", at_least_0),
            pointer("backoffLimitPerIndex", at_least_0),
            pointer("maxFailedIndexes", at_least_0),
            when(
                has("maxFailedIndexes"),
                when(
                    lacks("backoffLimitPerIndex"),
                    required("backoffLimitPerIndex", why="when maxFailedIndexes is specified"),
                ),
            ),
            pointer("managedBy", formatted(formats.domain_prefixed_path)),
            pointer("completionMode", one_of("NonIndexed", "Indexed")),
            _indexed,
            field("podFailurePolicy", FAILURE_POLICY),
            _success_policy,
            _replacement,
            field("template", TEMPLATE, absent={}),
            _ends,
            required("selector", SELECTOR),
            _selects_pods,
        ),
    ),
    _pod_names,
)
