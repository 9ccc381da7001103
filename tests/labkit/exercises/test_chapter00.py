"""Chapter 00's exercise on the embedded lab: what answers are told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ekslab.state import Endpoints
from labkit import Lab
from labkit.exercises import NotYet

NAME = "00-two-facts"


@pytest.fixture(scope="module")
def lab(embedded: Endpoints, workshop: Path) -> Lab:
    return Lab.connect(home=embedded.home, root=workshop)


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        (("OS", "kernel"), "^`log_format` isn't the OS: the same distribution can run Docker or containerd.$"),
        (("kubelet", "kernel"), "`log_format` isn't the kubelet: it asks another program"),
        (("runtime", "OS"), "^`driver` isn't the OS: a distribution can have several versions"),
        (("kernel", "runtime"), "isn't the kernel: .*\n`driver` isn't the runtime: it starts Falco's container"),
        (("architecture", "architecture"), "a line of text is the same.*\n.*there for each that EKS has"),
        (("kernal", "kernel"), "`log_format` is `'kernal'`, which is no column. Did you mean 'kernel'.*There are: OS"),
        (("runtime", 5.8), "`driver` is `5.8`, which is no column. There are: OS, architecture"),
        ((["runtime"], "kernel"), "`log_format` is `\\['runtime'\\]`, which is no column"),
    ],
)
def test_a_wrong_answer_is_told_why(lab: Lab, answers: tuple[Any, Any], told: str) -> None:
    with pytest.raises(NotYet) as caught:
        lab.check(NAME, *answers)
    assert re.search(told, caught.value.feedback.text), caught.value.feedback.text


@pytest.mark.parametrize("answers", [("runtime", "kernel"), ("containerd://2.1.4", " Kernel ")])
def test_a_right_answer_is_told_what_follows(lab: Lab, answers: tuple[str, str]) -> None:
    text = lab.check(NAME, *answers).text
    assert re.search(r"containerd://2.*CRI.*\n.* kernel is `6\.", text)


def test_one_answer_of_two_is_the_attendees_turn(lab: Lab) -> None:
    with pytest.raises(NotYet) as caught:
        lab.check(NAME, "runtime", ...)
    assert caught.value.feedback.verdict == "your turn"
