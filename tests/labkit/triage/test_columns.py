"""Columns as numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from labkit.triage.columns import codes, combined, commands, tuples
from tests.labkit.triage.conftest import alert


@pytest.mark.parametrize("dtype", ["string", "category", "object"])
def test_equal_values_have_equal_numbers_and_missing_ones_minus_one(dtype: str) -> None:
    found = codes(pd.Series(["b", "a", None, "b"], dtype=dtype))
    assert found[0] == found[3] != found[1]
    assert found[2] == -1


def test_combinations_are_numbered_as_they_appear() -> None:
    many = [np.arange(5) * 10**4 for _ in range(8)]  # a product of more than 2**62
    group, first = combined([np.array([1, 0, -1, 1, 0]), *many[:1]])
    assert group.tolist() == [0, 1, 2, 3, 4]
    group, first = combined([np.array([1, 0, -1, 1, 0]), np.array([2, 2, 2, 2, 3])])
    assert group.tolist() == [0, 1, 2, 0, 3]
    assert first.tolist() == [0, 1, 2, 4]
    assert combined(many)[0].tolist() == [0, 1, 2, 3, 4]


def test_values_of_an_owner_keep_their_order() -> None:
    found = tuples(np.array([1, 0, 1, 1, 1]), np.array([1, 0, 0, 1, -1]), ["a", "b"], 3)
    assert found == [("a",), ("b", "a"), ()]
    assert tuples(np.array([0]), np.array([-1]), [], 1) == [()]


@pytest.mark.parametrize(
    ("name", "line", "command"),
    [
        ("ls", "ls -la", "ls"),
        ("sh", "sh -c id", "sh -c id"),
        ("bash", "bash -lc '/usr/bin/id -u'", "bash -c id"),
        ("sh", "sh -e -c mkdir -p /x && y", "sh -c mkdir"),
        ("sh", "sh script.sh -c x", "sh"),
        ("bash", "bash", "bash"),
        ("sh", "sh -c : > /var/log/x", "sh -c :"),
        ("python3", "python3 -c print()", "python3"),
        ("sh", None, "sh"),
        (None, "sh -c id", None),
    ],
)
def test_a_shell_s_command_is_what_it_is_told_to_run(make: Any, name: str, line: str, command: str | None) -> None:
    number, names = commands(make(alert("01:00", proc_name=name, proc_cmdline=line)))
    assert [names[i] if i >= 0 else None for i in number] == [command]
