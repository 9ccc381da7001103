from __future__ import annotations

import dataclasses
import re
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks import document, report
from benchmarks.__main__ import PARTS

TABLE = report.Table("Title", ("what", "one", "two"), [["a", 1234, 0.00456], ["long name", 12345.6, None]], ["A note."])


def part() -> report.Part:
    return report.Part("import", report.this_machine(), [TABLE])


def test_numbers_have_three_significant_digits() -> None:
    shown = ["", "x", "1,234", "12,300", "0.0046", "0.5", "99.9", "3"]
    assert [report.shown(v) for v in (None, "x", 1234, 12345.6, 0.00460, 0.5, 99.94, 3.0)] == shown


def test_a_table_is_aligned_in_a_terminal_and_has_all_cells_in_markdown() -> None:
    title, _, head, rule, *rows, note = TABLE.text().splitlines()
    assert (title, note) == ("Title", "A note.")
    assert len({len(line) for line in (head, rule, rows[0])}) == 1
    assert TABLE.markdown().splitlines() == [
        "| what | one | two |",
        "|---|--:|--:|",
        "| a | 1,234 | 0.00456 |",
        "| long name | 12,300 |  |",
    ]


def test_what_was_measured_is_read_again(tmp_path: Path) -> None:
    assert report.Part.load("import", tmp_path) is None
    part().save(tmp_path)
    found = report.Part.load("import", tmp_path)
    assert found is not None
    assert found.tables[0].markdown() == TABLE.markdown()
    assert found.machine.versions["pandas"]


def test_tables_are_put_in_their_place_and_nothing_else_changes() -> None:
    text = document.FILE.read_text()
    for name in PARTS:
        changed = document.replaced(text, name, "BODY")
        before, _, after = changed.partition("BODY")
        assert text.startswith(before), name
        assert text.endswith(after), name
        assert before.endswith(f"<!-- {name} -->\n"), name
    with pytest.raises(ValueError, match="no place for another"):
        document.replaced(text, "another", "")


def test_a_busy_machine_is_named() -> None:
    for load, named in ((0.1, False), (2.0, True)):
        machine = dataclasses.replace(report.this_machine(), load=load)
        assert ("**Measured with load**" in document.measured_on(machine)) is named


def test_the_page_has_tables_of_each_part_and_where_they_were_measured() -> None:
    text = document.FILE.read_text()
    for name in PARTS:
        found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end of {name} -->", text, re.S)
        assert found is not None, name
        rows = re.findall(r"^\|(.+)\|$", found[1], re.M)
        assert len(rows) > 2, name
        widths = [row.count("|") for row in rows]
        assert sum(a != b for a, b in pairwise(widths)) < found[1].count("**") / 2, name
        assert re.search(r"^\*Measured \d{4}-\d\d-\d\d \d\d:\d\d UTC on \d+ cores", found[1], re.M), name
        assert not re.search(r"\b(nan|inf|None)\b", found[1]), name
