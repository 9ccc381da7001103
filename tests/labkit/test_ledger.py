"""The ledger: what the lab made, and what it found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from labkit.errors import LabError
from labkit.ledger import Ledger, Record, discard

ROLE = Record("fluent-bit-role", "IAM role", "shipper", made=True)
GROUP = Record("log-group", "log group", "falco", made=False)


def test_what_is_written_is_read_back_in_order(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "home" / "ledger.json", lab="a")
    ledger.write(GROUP)
    ledger.write(ROLE)
    assert Ledger(ledger.path, lab="a").records() == [GROUP, ROLE]
    assert ledger.records("log-group") == [GROUP]
    assert ledger.records("falco") == []
    assert ledger.find(*ROLE.key) == ROLE
    assert ledger.find("log-group", "log group", "other") is None


def test_writing_again_replaces_in_place(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.json")
    ledger.write(GROUP)
    ledger.write(ROLE)
    changed = Record(*GROUP.key, made=True, details={"files": ["a.yaml"]})
    ledger.write(changed)
    assert ledger.records() == [changed, ROLE]


def test_forgetting_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.json")
    ledger.write(ROLE)
    ledger.forget(*GROUP.key)
    ledger.forget(*ROLE.key)
    ledger.forget(*ROLE.key)
    assert ledger.records() == []


def test_records_of_a_lab_that_is_gone_are_dropped(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger.json", lab="embedded lab 1").write(ROLE)
    ledger = Ledger(tmp_path / "ledger.json", lab="embedded lab 2")
    assert ledger.records() == []
    ledger.write(GROUP)
    assert ledger.records() == [GROUP]


@pytest.mark.parametrize("records", ["[", "[" * 200_000], ids=["cut short", "nested"])
def test_a_file_that_makes_no_sense_is_said_not_overwritten(tmp_path: Path, records: str) -> None:
    path = tmp_path / "ledger.json"
    path.write_text(f'{{"lab": "", "records": {records}')
    with pytest.raises(LabError, match="can't be read") as caught:
        Ledger(path).write(ROLE)
    assert "tag" in caught.value.hint
    assert path.read_text().endswith("[")


def test_several_processes_write_without_losing_anything(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"
    code = (
        "import sys; from pathlib import Path; from labkit.ledger import Ledger, Record, discard\n"
        "for i in range(20): Ledger(Path(sys.argv[1])).write(Record('s', sys.argv[2], str(i), True))"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), kind]) for kind in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len(Ledger(path).records()) == 60
    assert {file.name for file in tmp_path.iterdir()} == {"ledger.json", "ledger.lock"}


def test_what_a_killed_process_left_is_gone_after_the_next_change(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.json")
    killed = (
        "import os, signal, sys; from pathlib import Path; from labkit.ledger import Ledger, Record, discard;"
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL);"
        "Ledger(Path(sys.argv[1])).write(Record('log-group', 'log group', 'x' * 100_000, made=True))"
    )
    assert subprocess.run([sys.executable, "-c", killed, str(ledger.path)]).returncode == -9
    assert len(list(tmp_path.iterdir())) == 2  # the lock and what it was writing
    ledger.write(ROLE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger.json", "ledger.lock"]
    assert ledger.records() == [ROLE]


def test_a_ledger_is_discarded_with_the_steps_it_knew(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.json", lab="a")
    ledger.write(ROLE)
    ledger.write(GROUP)
    ledger.write(Record("log-group", "log group", "other", made=True))
    assert discard(ledger.path) == ["fluent-bit-role", "log-group"]
    assert not ledger.path.exists()
    assert discard(ledger.path) == []
    for text in ("{", "[]", "{}", '{"records": [{}]}', '{"records": 5}', "[" * 200_000):
        ledger.path.write_text(text)
        assert discard(ledger.path) == []
        assert not ledger.path.exists()


def test_a_change_that_changes_nothing_does_not_write_the_file_anew(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.json")
    ledger.forget(*ROLE.key)
    assert ledger.path.exists()
    ledger.write(ROLE)
    before = ledger.path.stat().st_ino
    ledger.write(ROLE)
    ledger.forget(*GROUP.key)
    assert ledger.path.stat().st_ino == before


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"lab": ""}', '{"lab": "", "records": [{"step": "x"}]}', '{"lab": "", "records": 5}']
)
def test_a_file_that_is_no_ledger_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "ledger.json").write_text(text)
    with pytest.raises(LabError, match=r"The ledger .*ledger\.json can't be read: ") as caught:
        Ledger(tmp_path / "ledger.json").records()
    assert caught.value.hint


def test_all_of_a_record_is_kept(tmp_path: Path) -> None:
    record = Record("s", "kind", "name", made=False, details={"files": ["a"]}, begun=True)
    Ledger(tmp_path / "ledger.json").write(record)
    assert Ledger(tmp_path / "ledger.json").find(*record.key) == record
    assert Record("s", "kind", "name", made=True).begun is False
