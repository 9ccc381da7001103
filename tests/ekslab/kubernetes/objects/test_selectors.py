"""Selectors select."""

from __future__ import annotations

import pytest

from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.errors import ApiError
from ekslab.kubernetes.objects.selectors import matches, parse_fields, parse_labels, selector_text


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier!=db", True),
        ("app=api", False),
        ("app in (web, api)", True),
        ("app notin (web)", False),
        ("tier", False),
        ("!tier", True),
        ("app,version", True),
        ("missing!=x", True),
    ],
)
def test_label_selectors(selector, selected):
    assert parse_labels(selector)({"app": "web", "version": "1"}) is selected


def test_a_malformed_label_selector_is_refused():
    with pytest.raises(ApiError) as refused:
        parse_labels("app in web)")
    assert refused.value.code == 400


def test_field_selectors_know_only_the_fields_of_the_kind():
    pod = {"metadata": {"name": "a", "namespace": "n"}, "spec": {"nodeName": "x"}, "status": {"phase": "Running"}}
    assert parse_fields(r.PODS, "spec.nodeName=x,status.phase!=Failed")(pod)
    assert not parse_fields(r.PODS, "metadata.name=b")(pod)
    with pytest.raises(ApiError, match=r"field label not supported: spec\.nonsense"):
        parse_fields(r.PODS, "spec.nonsense=1")


def test_selector_objects():
    selector = {
        "matchLabels": {"app": "web"},
        "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}],
    }
    assert matches(selector, {"app": "web", "tier": "a"})
    assert not matches(selector, {"app": "web"})
    assert matches({}, {"anything": "x"})
    assert not matches(None, {})
    assert selector_text(selector) == "app=web,tier in (a,b)"
