"""Chapters as an attendee of a class runs them, with own credentials: they pass, and change nothing that is others'.

`labkit run` with what `labkit class env 07` prints runs all nine; here are those that are about what is shared. The
cells run in this process, so that each request can be looked at.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import botocore.client
import nbformat
import pytest

from labkit.alerts import diagnose
from labkit.errors import AlertTimeoutError
from labkit.exercises import Progress
from labkit.kube import Kube
from labkit.lab import Lab
from tests.classroom.conftest import Attendee

Attend: TypeAlias = "Callable[[str], Attendee]"

NAME, NAMESPACE, PREFIX = "anna", "attendee-anna", "falco-workshop-anna"
READS = re.compile(r"(Describe|Get|List|Filter|Test|StartQuery|StopQuery|ReceiveMessage)")


@pytest.fixture
def requests(attend: Attend, monkeypatch: pytest.MonkeyPatch, workshop: Path) -> list[tuple[str, str]]:
    """What is asked of AWS and of the cluster from now on: the operation, and what it is about. An attendee's shell."""
    variables = attend(NAME).variables
    for name in [name for name in os.environ if name.startswith(("AWS_", "LABKIT_", "KUBE"))]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LABKIT_ROOT", str(workshop))
    monkeypatch.chdir(workshop / "notebooks")
    seen: list[tuple[str, str]] = []
    call, request = botocore.client.BaseClient._make_api_call, Kube.request

    def called(self: Any, operation: str, parameters: Any) -> Any:
        seen.append((operation, json.dumps(parameters, default=str)))
        return call(self, operation, parameters)

    def requested(self: Any, method: str, path: str, **more: Any) -> Any:
        seen.append((method, path))
        return request(self, method, path, **more)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", called)
    monkeypatch.setattr(Kube, "request", requested)
    return seen


@pytest.mark.parametrize("chapter", ["01-log-pipeline", "07-security-hub", "08-clean-up"])
def test_a_chapter_passes_and_all_that_it_changes_is_the_attendees(
    instructor: Lab, requests: list[tuple[str, str]], chapter: str, workshop: Path
) -> None:
    before = _shared(instructor)
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in nbformat.read(workshop / "notebooks" / f"{chapter}.ipynb", 4).cells:
        if cell.cell_type == "code" and "..." not in cell.source.replace('"..."', "").replace("[...]", ""):
            exec(compile(cell.source, chapter, "exec"), names)
    settings = names["lab"].settings
    assert (settings.attendee, settings.scope) == (NAME, NAMESPACE)
    assert Progress(settings).reached(chapter[:2])
    changes = [(operation, about) for operation, about in requests if not READS.match(operation)]
    foreign = [one for one in changes if not _is_own(*one)]
    assert foreign == []
    assert _shared(instructor) == before


def _is_own(operation: str, about: str) -> bool:
    """Whether a request that changes something is about what is the attendee's."""
    if operation in ("GET", "GetCallerIdentity"):
        return True
    if operation in ("PATCH", "POST", "DELETE", "PUT"):
        return about.startswith((f"/api/v1/namespaces/{NAMESPACE}/", f"/apis/apps/v1/namespaces/{NAMESPACE}/"))
    if operation in ("BatchImportFindings", "BatchUpdateFindings"):
        ids = re.findall(r'"Id": "(falco/[^"]*)"', about)
        return bool(ids) and all(f"/{NAMESPACE}/" in id_ for id_ in ids)
    return PREFIX in about


def _shared(instructor: Lab) -> list[Any]:
    """What all share, as it is."""
    kube, logs = instructor.kube, instructor.aws.client("logs")
    objects = [
        kube.get(kind, name, namespace) or {}
        for kind, name, namespace in (
            ("DaemonSet", "falco", "falco"),
            ("DaemonSet", "fluent-bit", "logging"),
            ("ConfigMap", "fluent-bit", "logging"),
            ("Pod", "canary", "falco"),
        )
    ]
    role = instructor.aws.client("iam").get_role_policy(
        RoleName="falco-workshop-fluent-bit", PolicyName="write-falco-alerts"
    )
    return [
        *((item["metadata"]["uid"], item.get("spec"), item.get("data")) for item in objects),
        role["PolicyDocument"],
        logs.describe_metric_filters(logGroupName="falco")["metricFilters"],
        logs.describe_subscription_filters(logGroupName="falco")["subscriptionFilters"],
    ]


def test_what_only_the_instructor_can_mend_is_said_to_be_so(attend: Attend, monkeypatch: pytest.MonkeyPatch) -> None:
    link = diagnose.Link("shipping", "No Fluent Bit is running.", 'lab.apply("fluent-bit")')
    monkeypatch.setattr(diagnose, "broken_link", lambda *_, **__: link)
    with pytest.raises(AlertTimeoutError, match=r"Broken link: shipping") as caught:
        attend(NAME).lab.wait_for_alert(where={"proc.name": "no-such-program"}, timeout=0)
    assert caught.value.hint == 'That is the class\'s: tell the instructor, who can mend it: lab.apply("fluent-bit")'
