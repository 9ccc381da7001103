"""How results look in a terminal."""

from __future__ import annotations

from labkit.attacks import catalogue


def test_a_word_is_broken_only_where_a_table_would_not_fit_otherwise() -> None:
    text = catalogue()._table().text(100)
    assert max(map(len, text.splitlines())) <= 100
    for attack in catalogue():
        assert f"\n  {attack.name}  " in text  # it is to be typed after `labkit attack run`
