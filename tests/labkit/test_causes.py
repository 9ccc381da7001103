"""Causes: every sign of the table is found in the words that the real programs use, and by the right row.

`causes.jsonl` has what is said in each case: words of kubelet, scheduler and controllers 1.33 to 1.35, containerd 2,
runc, Falco 0.44, Fluent Bit 5.1 and Helm 3.18.
"""

from __future__ import annotations

import json
import re
import string
from pathlib import Path
from typing import Any

import pytest

from labkit.causes import PATIENCE, Sign, cause, of_line, signs

SAID = [json.loads(line) for line in Path(__file__).with_name("causes.jsonl").read_text(encoding="utf-8").splitlines()]
ROWS = [(area, sign) for area, rows in signs().items() for sign in rows]


@pytest.mark.parametrize("said", SAID, ids=lambda said: f"{said['area']}-{said['name']}")
def test_what_is_said_has_its_cause(said: dict[str, Any]) -> None:
    known = {"container": "c", "namespace": "default", "pod": "p", "node": "n"}
    found = cause(said["area"], said["said"], said["reason"], **known)
    assert found is not None
    assert found.name == said["name"]
    assert "?" not in found.what + found.mend
    assert not re.search(r"[.;:] (?:left|is|are|for)\b", found.what)  # a word of the message taken with its full stop


@pytest.mark.parametrize(("area", "sign"), ROWS, ids=lambda value: value.name if isinstance(value, Sign) else value)
def test_a_row_is_well_formed(area: str, sign: Sign) -> None:
    known = {"namespace", "pod", "container", "node"} | set(re.compile(sign.text).groupindex)
    for text in (sign.what, sign.mend):
        assert {field for _, field, _, _ in string.Formatter().parse(text) if field} <= known
        assert not text or text[0].isupper() or text[0] in "`{" or text.startswith("lab.")
    assert sign.mend
    assert sign.ends in PATIENCE
    re.compile(sign.reason)


def test_every_row_has_an_example() -> None:
    shown = {(said["area"], said["name"]) for said in SAID}
    without = {(area, sign.name) for area, sign in ROWS} - shown
    of_helm = ("name-service", "values-type", "values", "not-emulated", "no-file")  # test_helm.py has them
    of_containers = ("falco-artifact", "no-web-identity")  # of one container only
    assert without <= {*(("helm", name) for name in of_helm), *(("pod", name) for name in of_containers)}


def test_a_row_may_be_for_one_container() -> None:
    said = "'region' is a required field"
    assert getattr(cause("pod", said, "CrashLoopBackOff", container="fluent-bit"), "name", "") == "no-web-identity"
    assert getattr(cause("pod", said, "CrashLoopBackOff", container="other"), "name", "") == "crash"
    fetching = cause("pod", "exit code 1", "CrashLoopBackOff", container="falcoctl-artifact-install")
    assert getattr(fetching, "name", "") == "falco-artifact"


def test_other_words_have_no_cause_and_the_last_line_of_a_log_counts() -> None:
    assert cause("pod", "", "ContainerCreating") is None
    assert cause("helm", "Error: something new") is None
    log = "[error] connection initialization error\n[error] Log stream a not found. Rejecting the chunk without retry."
    found = of_line("fluent-bit", f"{log}\n[ info] all is well\n")
    assert found is not None
    assert (found[0].name, found[1]) == ("stream-deleted", log.splitlines()[1])
    assert of_line("fluent-bit", "[ info] all is well") is None
