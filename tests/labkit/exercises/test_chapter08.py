"""The exercise of chapter 08 on a lab of its own: what is forgotten, found and removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ekslab.state import Endpoints
from labkit import Lab
from labkit.exercises import NotYet
from labkit.kube.objects import LAB_LABELS


@pytest.fixture
def lab(new_lab: Callable[..., Endpoints], workshop: Path) -> Lab:
    return Lab.connect(home=new_lab().home, root=workshop)


def told(lab: Lab, found: Any) -> str:
    with pytest.raises(NotYet) as caught:
        lab.check("08-left-behind", found)
    return str(caught.value)


def test_what_is_wrong_is_said(lab: Lab) -> None:
    sqs = lab.aws.client("sqs")
    assert "That audit found nothing" in told(lab, lab.audit())
    assert "Give it the audit" in told(lab, "falco-workshop-mine")
    sqs.create_queue(QueueName="mine")  # not the workshop's name
    assert "Its name has to begin with `falco-workshop-`" in told(lab, lab.audit())
    lab.apply("log-group")
    assert "was made by the workshop's steps (`falco`)" in told(lab, lab.audit())
    lab.undo("log-group")
    sqs.create_queue(QueueName="falco-workshop-mine")
    assert "It was found, and is still there: SQS queue `falco-workshop-mine`" in told(lab, lab.audit())


def test_what_was_found_and_is_gone_is_right(lab: Lab) -> None:
    sns = lab.aws.client("sns")
    topic = sns.create_topic(Name="falco-workshop-forgotten")["TopicArn"]
    found = lab.audit()
    sns.delete_topic(TopicArn=topic)
    right = lab.check("08-left-behind", found)
    assert "the SNS topic `falco-workshop-forgotten` (has the workshop's name)" in right.text

    config_map = {"metadata": {"name": "mine", "labels": dict(LAB_LABELS)}}
    lab.kube.core.create_namespaced_config_map("default", config_map)
    found = lab.audit()
    lab.kube.core.delete_namespaced_config_map("mine", "default")
    assert "ConfigMap `default/mine`" in lab.check("08-left-behind", found).text
