"""Tables of roles and their bindings."""

from __future__ import annotations

from ekslab.kubernetes.objects.errors import Cause
from ekslab.kubernetes.objects.resources import Object
from ekslab.kubernetes.objects.validation import formats
from ekslab.kubernetes.objects.validation.metadata import SELECTOR, is_selector
from ekslab.kubernetes.objects.validation.rules import (
    Causes,
    Place,
    Rule,
    Scope,
    each,
    equals,
    field,
    fields,
    formatted,
    invalid,
    one_of,
    required,
    when,
)

_GROUP = "rbac.authorization.k8s.io"
_KINDS = ("ServiceAccount", "User", "Group")
_urls_only = "rules cannot apply to both regular resources and non-resource URLs"


def _policy_rule(*, is_namespaced: bool) -> Rule:
    namespaced = (invalid("namespaced rules cannot apply to non-resource URLs"),) if is_namespaced else ()
    return fields(
        required("verbs", why="verbs must contain at least one value"),
        field("nonResourceURLs", *namespaced),
        when(
            lambda rule: bool(rule.get("nonResourceURLs")),
            when(
                lambda rule: any(rule.get(name) for name in ("apiGroups", "resources", "resourceNames")),
                field("nonResourceURLs", invalid(_urls_only)),
            ),
            otherwise=(
                required("apiGroups", why="resource rules must supply at least one api group"),
                required("resources", why="resource rules must supply at least one resource"),
            ),
        ),
    )


def _is_selector(value: Object, at: Place, _: Scope) -> Causes:
    return () if is_selector(value) else (Cause.invalid(str(at), None, "invalid label selector."),)


ROLE = fields(field("rules", each(_policy_rule(is_namespaced=True))))
CLUSTER_ROLE = fields(
    field("rules", each(_policy_rule(is_namespaced=False))),
    field(
        "aggregationRule",
        fields(
            required(
                "clusterRoleSelectors",
                each(SELECTOR, _is_selector),
                why="at least one clusterRoleSelector required if aggregationRule is non-nil",
            )
        ),
    ),
)


def _subject(*, is_namespaced: bool) -> Rule:
    return fields(
        required("name"),
        when(
            equals("kind", "ServiceAccount"),
            field("name", formatted(formats.dns_subdomain)),
            field("apiGroup", one_of("")),
            *(() if is_namespaced else (required("namespace"),)),
            otherwise=(
                when(
                    equals("kind", "User", "Group"),
                    field("apiGroup", one_of(_GROUP), absent=""),
                    otherwise=(field("kind", one_of(*_KINDS), absent=""),),
                ),
            ),
        ),
    )


def _binding(*roles: str, is_namespaced: bool) -> Rule:
    return fields(
        field(
            "roleRef",
            fields(
                field("apiGroup", one_of(_GROUP), absent=""),
                field("kind", one_of(*roles), absent=""),
                required("name", formatted(formats.path_segment)),
            ),
            absent={},
        ),
        field("subjects", each(_subject(is_namespaced=is_namespaced))),
    )


ROLE_BINDING = _binding("Role", "ClusterRole", is_namespaced=True)
CLUSTER_ROLE_BINDING = _binding("ClusterRole", is_namespaced=False)
