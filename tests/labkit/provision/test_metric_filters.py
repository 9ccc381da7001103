"""Step `metric-filters`: made, mended and taken away; what others made stays."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ekslab.state import Endpoints
from labkit import Lab
from labkit.cli import main
from labkit.errors import LabError, StepError
from labkit.provision import metric_filters


@pytest.fixture
def fresh(new_lab: Callable[..., Endpoints], workshop: Path) -> Lab:
    """A lab in which there is a log group of others, and nothing else."""
    lab = Lab.connect(home=new_lab().home, root=workshop)
    lab.aws.client("logs").create_log_group(logGroupName="falco")
    return lab


def names(lab: Lab) -> list[str]:
    found = lab.aws.client("logs").describe_metric_filters(logGroupName="falco")["metricFilters"]
    return [str(one["filterName"]) for one in found]


def foreign(lab: Lab, **changes: Any) -> dict[str, Any]:
    """A filter of the name of the workshop's first that counts into another namespace."""
    request = metric_filters.requests(lab.target)[0]
    (transformation,) = request["metricTransformations"]
    return {**request, "metricTransformations": [{**transformation, "metricNamespace": "Foreign"}], **changes}


def test_filters_are_made_mended_and_deleted(fresh: Lab) -> None:
    made = fresh.apply("metric-filters")
    assert {change.action for change in made.changes} == {"created"}
    assert names(fresh) == sorted(change.name for change in made.changes)
    request = metric_filters.requests(fresh)[1]
    fresh.aws.client("logs").put_metric_filter(**{**request, "filterPattern": "{ $.rule = never }"})
    mended = fresh.apply("metric-filters")
    assert [change.name for change in mended.changes if change.action == "updated"] == [request["filterName"]]
    assert {change.action for change in fresh.undo("metric-filters").changes} == {"removed"}
    assert names(fresh) == []
    assert fresh.ledger.records("metric-filters") == []


def test_a_filter_of_others_is_neither_changed_nor_deleted(fresh: Lab) -> None:
    logs = fresh.aws.client("logs")
    logs.put_metric_filter(**foreign(fresh))
    before = logs.describe_metric_filters(logGroupName="falco")["metricFilters"]
    with pytest.raises(StepError, match="metric filter falco-workshop-alerts was there before the lab") as caught:
        fresh.apply("metric-filters")
    assert "LABKIT_PREFIX" in caught.value.hint
    fresh.teardown()
    assert logs.describe_metric_filters(logGroupName="falco")["metricFilters"] == before


def test_without_a_ledger_the_namespace_tells_whose_they_are(fresh: Lab) -> None:
    fresh.aws.client("logs").put_metric_filter(**foreign(fresh, filterName="foreign"))
    fresh.apply("metric-filters")
    fresh.ledger.path.unlink()
    left = [(item.kind, item.name) for item in fresh.audit().left]
    assert ("metric filter", "falco-workshop-alerts-by-rule") in left
    fresh.teardown()
    assert names(fresh) == ["foreign"]


def test_filters_go_with_their_log_group(fresh: Lab) -> None:
    fresh.apply("metric-filters")
    fresh.aws.client("logs").delete_log_group(logGroupName="falco")
    assert {state for name, state, _ in fresh.status().rows if name == "metric-filters"} == {"absent"}
    fresh.teardown()
    assert fresh.audit().clean


def test_a_log_group_that_is_made_again_names_the_steps_that_lost_what_was_in_it(fresh: Lab) -> None:
    assert fresh.apply("metric-filters").lost == ()
    fresh.apply("findings-forwarder")
    fresh.ensure("nginx")
    logs = fresh.aws.client("logs")
    logs.delete_log_group(logGroupName="falco")
    again = fresh.apply("log-group")
    assert again.action == "created"
    assert [change.name for change in again.lost] == ["metric-filters", "findings-forwarder"]
    assert 'lab.apply("metric-filters")' in repr(again)
    assert "subscription filter falco-workshop-forwarder: no longer there" in again._repr_html_()
    assert names(fresh) == []  # told, not put back

    logs.delete_log_group(logGroupName="falco")
    shell = CliRunner().invoke(main, ["apply", "metric-filters"], env={"LABKIT_HOME": str(fresh.settings.home)})
    assert shell.exit_code == 0, shell.output
    told = [line for line in shell.output.splitlines() if line.split()[:2] == ["lost", "step"]]
    assert len(told) == 1
    assert "`labkit apply findings-forwarder` puts back" in told[0]
    assert fresh.apply("findings-forwarder").lost == ()

    logs.delete_log_group(logGroupName="falco")
    assert [row[:2] for row in fresh.ensure("log-group").rows][1:] == [
        ("metric-filters", "lost"),
        ("findings-forwarder", "lost"),
    ]
    logs.delete_log_group(logGroupName="falco")
    assert [row[0] for row in fresh.ensure("metric-filters", "findings-forwarder").rows if row[1] == "lost"] == []

    fresh.undo("metric-filters")  # taken away on purpose
    fresh.undo("log-group")
    assert [change.name for change in fresh.apply("log-group").lost] == ["findings-forwarder"]


def test_a_filter_with_a_wrong_pattern_is_refused_with_the_place(fresh: Lab, workshop: Path, tmp_path: Path) -> None:
    shutil.copytree(workshop / "manifests", tmp_path / "own/manifests")
    own = tmp_path / "own/manifests/cloudwatch"
    text = (workshop / "manifests/cloudwatch/metric-filters.json").read_text()
    (own / "metric-filters.json").write_text(text.replace("$.rule = * &&", "$.rule = * &", 1))
    lab = Lab.connect(home=fresh.settings.home, root=own.parents[1])
    with pytest.raises(LabError, match=r"falco-workshop-alerts: .*\(position 14\)"):
        lab.apply("metric-filters")
    assert names(lab) == []
    assert lab.ledger.records("metric-filters") == []
