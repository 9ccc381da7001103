"""Alerts from files: plain and compressed, with lines that are none, and files that are none."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from labkit.alerts import read_file, to_frame
from labkit.errors import LabError

LINES = (Path(__file__).parent / "data" / "falco-alerts.jsonl").read_text().splitlines()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_it_is_the_frame_of_its_lines(tmp_path: Path, compressed: bool, end: str) -> None:
    data = (end.join(LINES) + end).encode()
    file = tmp_path / "alerts"
    file.write_bytes(gzip.compress(data) if compressed else data)
    pd.testing.assert_frame_equal(read_file(file), to_frame(LINES))


def test_lines_that_are_no_alerts_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "alerts.jsonl"
    file.write_bytes("\n".join([LINES[0], "{", "Falco initialized", LINES[1][:50]]).encode() + b"\xff\xfe\n")
    found = read_file(str(file))
    assert len(found) == 1
    assert sum(found.attrs["skipped"].values()) == 3


def test_what_is_no_file_of_alerts_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gz"
    broken.write_bytes(gzip.compress(b"x" * 1000)[:20])
    for file in (tmp_path / "none", tmp_path, broken, "", "\0"):
        with pytest.raises(LabError, match="can't be read: "):
            read_file(file)
    (tmp_path / "empty").touch()
    assert read_file(tmp_path / "empty").empty
