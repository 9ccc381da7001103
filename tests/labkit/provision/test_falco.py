"""Values files, as Helm merges them, and the command shown for them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from labkit.errors import StepError
from labkit.provision.falco import helm_command, merged_values
from labkit.settings import Settings


def test_maps_merge_and_everything_else_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("tty: true\nfalco: {json_output: true, files: [a, b]}\nempty: {x: 1}\n")
    (tmp_path / "b.yaml").write_text("falco: {files: [c]}\nempty: null\ncustomRules: {r.yaml: text}\n")
    assert merged_values([tmp_path / "a.yaml", tmp_path / "b.yaml"]) == {
        "tty": True,
        "falco": {"json_output": True, "files": ["c"]},
        "customRules": {"r.yaml": "text"},
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- rule: x", "is a list at its top; Helm takes a map"),
        ("a: b: c", "is not YAML"),
        ("a: 2001-99-99", "is not YAML"),
        ("[" * 5_000, "is nested too deeply"),
        ("a: 1\n---\nb: 2\n", "is several documents at its top"),
        ("x: " + "y" * (1 << 20), "it is larger than 1 MiB"),
    ],
)
def test_a_values_file_that_helm_would_refuse_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "v.yaml").write_text(text)
    with pytest.raises(StepError, match=said) as caught:
        merged_values([tmp_path / "v.yaml"])
    assert caught.value.hint


def test_the_command_shown_can_be_copied(workshop: Path) -> None:
    lab: Any = SimpleNamespace(settings=Settings.load(environ={}, root=workshop))
    shown = helm_command(lab, [workshop / "manifests/falco/values.yaml", workshop / "custom-rules/whoami.yaml"])
    assert shown.splitlines()[0] == "helm upgrade --install falco falco \\"
    assert "--values manifests/falco/values.yaml" in shown
    assert "--values custom-rules/whoami.yaml" in shown
    assert "--version 9.1.0" in shown
