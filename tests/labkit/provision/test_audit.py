"""What the audit finds has the command that removes it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from click.testing import CliRunner

from ekslab.state import Endpoints
from labkit import Lab
from labkit.cli import main
from labkit.provision import audit
from labkit.provision.manifests import ManifestPart
from labkit.provision.steps import STEPS


@pytest.fixture(scope="module")
def lab(new_lab: Callable[..., Endpoints], workshop: Path) -> Lab:
    """A lab that each test leaves empty."""
    return Lab.connect(home=new_lab().home, root=workshop)


def test_a_labelled_object_has_the_command_that_deletes_it(lab: Lab) -> None:
    lab.ensure("nginx")
    service: Any = lab.kube.get("Service", "nginx", "default")
    # As `kubectl expose deploy/nginx --name=n2` makes it, which copies the labels.
    made = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "n2", "namespace": "default", "labels": service["metadata"]["labels"]},
        "spec": {"selector": service["spec"]["selector"], "ports": [{"port": 80}]},
    }
    lab.kube.apply([made])
    assert lab.audit().cli.splitlines() == ["labkit teardown", "kubectl delete service n2 -n default"]
    lab.teardown()
    shell = CliRunner().invoke(main, ["audit"], env={"LABKIT_HOME": str(lab.settings.home)})
    assert shell.exit_code == 1
    assert shell.stdout.splitlines()[2:] == ["This removes it:", "  kubectl delete service n2 -n default"]
    assert "kubectl" in lab.audit()._repr_html_()
    lab.kube.delete([made])
    assert lab.audit().clean
    assert repr(lab.audit()) == "Nothing is left"


def test_what_has_the_workshops_prefix_has_the_command_that_deletes_it(lab: Lab) -> None:
    sqs, sns = lab.aws.client("sqs"), lab.aws.client("sns")
    queue = sqs.create_queue(QueueName="falco-workshop-mine")["QueueUrl"]
    topic = sns.create_topic(Name="falco-workshop-pager")["TopicArn"]
    group = lab.settings.log_group
    lab.aws.client("logs").create_log_group(logGroupName=group)
    assert {item.name: item.cli for item in lab.audit().left} == {
        "falco-workshop-mine": 'aws sqs delete-queue --queue-url "$(aws sqs get-queue-url '
        '--queue-name falco-workshop-mine --output text)"',
        "falco-workshop-pager": f"aws sns delete-topic --topic-arn {topic}",
        group: f"aws logs delete-log-group --log-group-name {group}",
    }
    sqs.delete_queue(QueueUrl=queue)
    sns.delete_topic(TopicArn=topic)
    lab.aws.client("logs").delete_log_group(logGroupName=group)
    assert lab.audit().clean


def test_a_revision_of_helm_goes_with_its_release(lab: Lab) -> None:
    name = "falco/sh.helm.release.v1.falco.v2"
    assert audit._removal(lab.target, "Secret", name) == (
        "helm uninstall falco --namespace falco --wait --ignore-not-found"
    )
    assert audit._removal(lab.target, "Namespace", "logging") == "kubectl delete namespace logging"


def test_every_part_of_every_step_has_a_command_with_its_names(lab: Lab) -> None:
    for step in STEPS:
        for part in step.parts(lab.target):
            command = audit._removal(lab.target, part.kind, part.name, part, step)
            assert command
            assert not re.search(r"[{}]|''", command), command
            assert command.startswith("kubectl delete ") == isinstance(part, ManifestPart)


def test_the_commands_are_operations_of_aws() -> None:
    session = botocore.session.get_session()
    for template in [*audit._COMMANDS.values(), *re.findall(r"\$\((.*?)\)", "".join(audit._COMMANDS.values()))]:
        program, service, command, *options = shlex.split(template)
        if program != "aws":
            continue
        model = session.get_service_model(service)
        operations = {xform_name(name, "-"): name for name in model.operation_names}
        members = model.operation_model(operations[command]).input_shape.members
        known = {f"--{xform_name(name, '-')}" for name in members}
        assert {option for option in options if option.startswith("--")} - {"--output", "--query"} <= known, template
