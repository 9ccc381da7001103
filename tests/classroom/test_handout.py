"""What an attendee is given: settings, and credentials of that attendee alone."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from classroom import up as up_module
from classroom.handout import handout
from classroom.up import up
from labkit import Lab
from labkit.connect import running_embedded
from labkit.errors import LabError, StepError
from labkit.target import Target
from tests.classroom.conftest import Attendee


def test_a_shell_becomes_the_attendee_s_whoever_s_it_was(instructor: Lab) -> None:
    found = handout(instructor.target, "07")
    before = {"LABKIT_ROLE": "arn:aws:iam::1:role/x", "LABKIT_ENVIRONMENT": "embedded", "AWS_PROFILE": "mine"}
    before |= {"AWS_ACCESS_KEY_ID": "AKIA0", "KUBECONFIG": "/mine", "PATH": os.environ["PATH"]}
    script = f"{found.text}\nenv"
    ran = subprocess.run(["bash", "-c", script], env=before, capture_output=True, text=True, check=True)
    shell = dict(line.split("=", 1) for line in ran.stdout.splitlines() if "=" in line)
    assert found.variables.items() <= shell.items()
    assert not {"LABKIT_ROLE", "LABKIT_ENVIRONMENT", "AWS_PROFILE"} & set(shell)
    assert shell["LABKIT_TARGET"] == "eks"  # behind an endpoint, the embedded lab is an account like any other
    assert shell["LABKIT_ATTENDEE"] == "07"


def test_an_account_behind_an_endpoint_is_the_attendee_s_too(instructor: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = instructor.target
    for name, value in running_embedded(lab.settings.home).environment().items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    target = replace(lab, settings=replace(lab.settings, target="eks"))
    found = handout(target, "07")
    assert found.variables["AWS_ENDPOINT_URL"] == os.environ["AWS_ENDPOINT_URL"]
    assert "# For kubectl: aws eks update-kubeconfig --name falco-workshop --region us-east-1" in found.text


def test_credentials_end_after_twelve_hours_and_the_handout_says_so(instructor: Lab) -> None:
    found = handout(instructor.target, "07")
    assert found.ends is not None
    left = found.ends - dt.datetime.now(dt.UTC)
    assert dt.timedelta(hours=11, minutes=58) < left <= dt.timedelta(hours=12)
    assert f"{found.ends:%Y-%m-%d %H:%M} UTC" in found.text
    assert "labkit class env 07" in found.text
    other = handout(instructor.target, "08")
    assert found.variables["AWS_SECRET_ACCESS_KEY"] != other.variables["AWS_SECRET_ACCESS_KEY"]


def test_nobody_else_reads_an_attendee_s_folder(instructor: Lab, seven: Attendee) -> None:
    folder = seven.lab.settings.home
    assert folder.stat().st_mode & 0o077 == 0
    assert all(file.stat().st_mode & 0o077 == 0 for file in folder.iterdir() if file.is_file())


def test_who_is_not_in_the_class_gets_nothing(instructor: Lab) -> None:
    with pytest.raises(LabError, match="no attendee 'ghost'") as caught:
        handout(instructor.target, "ghost")
    assert "07, 08, anna" in str(caught.value.hint)


def test_a_cluster_without_access_entries_is_refused_before_anything_is_made(
    instructor: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    target: Target = replace(instructor.target)
    target.__dict__["cluster"] = {**target.cluster, "accessConfig": {"authenticationMode": "CONFIG_MAP"}}
    made: list[Any] = []
    monkeypatch.setattr(up_module, "note", lambda *_, **details: made.append(details))
    with pytest.raises(StepError, match="not by access entries") as caught:
        up(target, ["01"])
    assert "API_AND_CONFIG_MAP" in str(caught.value.hint)
    assert made == []
