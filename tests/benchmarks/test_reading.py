from __future__ import annotations

import sys

import pytest

from benchmarks import client, pages, peers, reading


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> pages.Group:
    return pages.group(tmp_path_factory.mktemp("groups"), "usual", 200)


@pytest.fixture(scope="module")
def found(group: pages.Group) -> reading.Measures:
    readers = dict.fromkeys(("labkit", "boto3", "floor"), sys.executable)
    return reading.interleaved(readers, [group.name, group.name], turns=1, folder=group.file.parent)


def test_readers_hold_the_same_alerts(found: reading.Measures, group: pages.Group) -> None:
    first = {name: turns[0][group.name] for name, turns in found.items()}
    assert {measured["count"] for measured in first.values()} == {200}
    assert first["labkit"]["digest"] == first["boto3"]["digest"]
    assert all(len(turns) == 1 for turns in found.values())
    assert all(turn[group.name]["cpu"] > 0 for turns in found.values() for turn in turns)


def test_frames_that_differ_are_an_error(found: reading.Measures, group: pages.Group) -> None:
    other = {group.name: {**found["boto3"][0][group.name], "digest": "another"}}
    with pytest.raises(RuntimeError, match=f"different frames .*{group.name}"):
        reading.compare({"labkit": found["labkit"], "boto3": [other]})


def test_values_are_compared_and_not_dtypes() -> None:
    import pandas as pd

    df = pd.DataFrame({"rule": ["a", None], "user.uid": [1, None], "tags": [("x",), ()]})
    same = df.assign(rule=df["rule"].astype("category"), tags=[["x"], []], none=pd.NA)
    same["user.uid"] = same["user.uid"].astype("Int64")
    assert client.digest(df) == client.digest(same)
    for name, values in {"rule": ["b", None], "user.uid": [2, None], "tags": [("x",), ("y",)]}.items():
        assert client.digest(df) != client.digest(df.assign(**{name: values}))


def test_a_reader_that_fails_says_why(group: pages.Group) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)labkit failed:\n.*another-1"):
        reading.interleaved({"labkit": sys.executable}, ["another-1"], turns=1, folder=group.file.parent)


def test_tables_have_a_row_for_each_reader(found: reading.Measures, group: pages.Group) -> None:
    side = reading.side_by_side(group, found)
    assert [row[0] for row in side.rows] == [reading.LABELS[name] for name in found]
    labkit, boto3, floor = side.rows
    assert labkit[3] == 1
    assert floor[5] is None
    assert isinstance(boto3[5], int)
    assert all(len(row) == len(side.columns) for row in side.rows)
    growth = reading.growth(found, [200, 1_000_000])
    assert [len(row) for row in growth.rows] == [3] * 3
    aims = reading.aims({group: found})
    assert aims.columns[2:] == ("usual",)
    assert aims.rows[0][2] is None  # awswrangler wasn't there
    assert isinstance(aims.rows[2][2], int)


def test_without_the_network_the_peers_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "python", lambda: None)
    assert list(reading.interpreters()) == ["labkit", "boto3", "floor", "floor and messages"]
    monkeypatch.setattr(peers, "python", lambda: "/there/python")
    assert {python for name, python in reading.interpreters().items() if "awswrangler" in name} == {"/there/python"}
    assert reading.interpreters()["boto3"] == sys.executable
