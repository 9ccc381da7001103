"""Alerts from files: plain and compressed, with lines that are none, and files that are none."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from labkit.alerts import read_file, to_frame
from labkit.alerts.tags import TagsDtype
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
    for file in (tmp_path / "none", broken, "\0"):
        with pytest.raises(LabError, match="can't be read: "):
            read_file(file)
    (tmp_path / "empty").touch()
    assert read_file(tmp_path / "empty").empty


def test_a_frame_kept_as_parquet_comes_back_as_it_was(tmp_path: Path) -> None:
    events = [
        {"message": line, "eventId": str(i), "logStreamName": f"node-{i % 3}", "timestamp": 1795407307836 + i}
        for i, line in enumerate(LINES)
    ]
    df = to_frame([*events, {"message": "Falco initialized"}])
    file = tmp_path / "alerts.parquet"
    df.to_parquet(file)
    for back in (pd.read_parquet(file), read_file(file)):
        pd.testing.assert_frame_equal(back, df)
        assert back.attrs == df.attrs
        assert isinstance(back["tags"].dtype, TagsDtype)
    empty = to_frame([])
    empty.to_parquet(file)
    pd.testing.assert_frame_equal(read_file(file), empty)


def test_parquet_is_read_without_labkit(tmp_path: Path) -> None:
    file = tmp_path / "alerts.parquet"
    to_frame(LINES).to_parquet(file)
    code = f"import pandas, json; print(json.dumps([list(t) for t in pandas.read_parquet({str(file)!r})['tags']]))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert json.loads(printed) == list(map(list, to_frame(LINES)["tags"]))


def test_parquet_that_is_no_frame_of_alerts_is_told(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(LabError, match=r"can't be read: it is no frame of alerts, as it has no column 'time'"):
        read_file(tmp_path / "other.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "other.parquet").read_bytes()[:500])
    with pytest.raises(LabError, match="can't be read: "):
        read_file(tmp_path / "cut.parquet")


def test_an_export_to_s3_is_a_folder_of_streams(tmp_path: Path) -> None:
    (tmp_path / "aws-logs-write-test").write_text("Permission Check Successful")
    for stream, lines in (("node-a", LINES[:2]), ("node-b", LINES[2:5])):
        (tmp_path / "task" / stream).mkdir(parents=True)
        text = "".join(f"2026-11-23T04:21:0{i}.250Z {line}\n" for i, line in enumerate(lines))
        (tmp_path / "task" / stream / "000000.gz").write_bytes(gzip.compress(text.encode()))
    df = read_file(tmp_path)
    assert df["logStreamName"].value_counts().to_dict() == {"node-a": 2, "node-b": 3}
    assert df["timestamp"].min() == pd.Timestamp("2026-11-23T04:21:00.250Z")
    assert df.attrs["skipped"] == {}
    assert sorted(df["output"]) == sorted(json.loads(line)["output"] for line in LINES[:5])


def test_a_cri_line_is_not_taken_for_an_exported_one(tmp_path: Path) -> None:
    file = tmp_path / "cri"
    file.write_text(f"2026-11-23T04:21:00.250Z stdout F {LINES[0]}\n")
    assert read_file(file)["output"].tolist() == [json.loads(LINES[0])["output"]]


@pytest.mark.parametrize("indent", [None, 4])
def test_what_the_aws_cli_prints_is_read_with_ids_and_times(tmp_path: Path, indent: int | None) -> None:
    event = {"message": LINES[0], "eventId": "7", "logStreamName": "node-a", "timestamp": 1795407307836}
    (tmp_path / "printed.json").write_text(json.dumps({"events": [event], "searchedLogStreams": []}, indent=indent))
    df = read_file(tmp_path / "printed.json")
    assert df["eventId"].tolist() == ["7"]
    assert df["timestamp"].tolist() == [pd.Timestamp(1795407307836, unit="ms", tz="UTC")]


@pytest.mark.parametrize("text", ["# Read me\n\nText.\n", "time,rule\n1,2\n", '{"evt.num": 1}\n{"evt.num": 2}\n'])
def test_a_file_without_an_alert_is_told_from_one_that_is_empty(tmp_path: Path, text: str) -> None:
    (tmp_path / "other").write_text(text)
    with pytest.raises(LabError, match=r"None of the 2 lines of '.*other' is an alert of Falco") as told:
        read_file(tmp_path / "other")
    assert "falcorules" in str(told.value.hint)
