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
        ("missing notin (a)", True),
        ("missing in (a)", False),
        (" app = web , version", True),
        ("app!=web", False),
        ("!app", False),
    ],
)
def test_label_selectors(selector, selected):
    assert parse_labels(selector)({"app": "web", "version": "1"}) is selected


def test_a_malformed_label_selector_is_refused():
    with pytest.raises(
        ApiError, match=r'^unable to parse requirement: found "app in web\)", expected: identifier$'
    ) as refused:
        parse_labels("app in web)")
    assert refused.value.code == 400
    with pytest.raises(ApiError, match=r"^invalid field selector: spec; can't understand 'spec'$"):
        parse_fields(r.PODS, "spec")


def test_field_selectors_know_only_the_fields_of_the_kind():
    pod = {"metadata": {"name": "a", "namespace": "n"}, "spec": {"nodeName": "x"}, "status": {"phase": "Running"}}
    assert parse_fields(r.PODS, "spec.nodeName=x,status.phase!=Failed")(pod)
    assert not parse_fields(r.PODS, "metadata.name=b")(pod)
    assert not parse_fields(r.PODS, "spec.nodeName=x,status.phase!=Running")(pod)
    assert parse_fields(r.PODS, "metadata.namespace==n,status.podIP=")(pod)
    assert parse_fields(r.NODES, "spec.unschedulable=true")({"metadata": {}, "spec": {"unschedulable": True}})
    event = {"metadata": {}, "source": {"component": "kubelet"}, "involvedObject": {"name": "p"}}
    assert parse_fields(r.EVENTS, "source=kubelet,involvedObject.name=p")(event)
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


@pytest.mark.parametrize(
    ("operator", "values", "labels", "holds", "text"),
    [
        ("In", ["a", "b"], {"k": "b"}, True, "k in (a,b)"),
        ("In", ["a"], {}, False, "k in (a)"),
        ("NotIn", ["a"], {"k": "a"}, False, "k notin (a)"),
        ("NotIn", ["a"], {}, True, "k notin (a)"),
        ("Exists", None, {"k": ""}, True, "k"),
        ("Exists", None, {}, False, "k"),
        ("DoesNotExist", None, {}, True, "!k"),
        ("DoesNotExist", None, {"k": ""}, False, "!k"),
    ],
)
def test_expressions(operator, values, labels, holds, text):
    selector = {"matchExpressions": [{"key": "k", "operator": operator, "values": values}]}
    assert matches(selector, labels) is holds
    assert selector_text(selector) == text


def test_a_selector_as_text_is_sorted():
    assert selector_text({"matchLabels": {"b": "2", "a": "1"}}) == "a=1,b=2"
    assert selector_text({}) == selector_text(None) == "<none>"
