"""Text and YAML files."""

from __future__ import annotations

import stat
from pathlib import Path

from labkit.files import load_yaml, make_private


def test_what_is_read_again_is_what_the_file_says_now_whatever_was_done_with_it_before(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: {b: [1]}")
    load_yaml(file)[0]["a"]["b"].append(2)
    assert load_yaml(file) == [{"a": {"b": [1]}}]
    file.write_text("a: {b: [3]}\n---\nc")
    assert load_yaml(file) == [{"a": {"b": [3]}}, "c"]
    long = "x" * 70_000
    file.write_text(f"a: {long}")
    assert load_yaml(file) == [{"a": long}]


def test_a_private_folder_and_those_above_it_that_were_missing_are_closed_to_others(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir(mode=0o755)
    make_private(there / "state" / "drafts")
    make_private(there / "state")
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (there, there / "state", there / "state/drafts")] == [
        0o755,
        0o700,
        0o700,
    ]
