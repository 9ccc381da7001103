"""The memory of the lab's process, measured and limited."""

from __future__ import annotations

import mmap
import os
import sys

import pytest

from ekslab import memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the resident size")
SIZE = 64 * 1024**2


def test_the_resident_size_follows_what_the_process_holds() -> None:
    before = memory.resident()
    with mmap.mmap(-1, SIZE) as held:
        for page in range(0, SIZE, mmap.PAGESIZE):
            held[page] = 1
        grown = memory.resident() - before
        assert 0.9 * SIZE < grown < 1.5 * SIZE
    assert memory.resident() - before < 0.5 * SIZE
    assert memory.peak() >= before + 0.9 * SIZE


def test_it_is_full_above_the_limit_and_as_soon_as_it_is_below_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_FRESH", 0.0)
    monkeypatch.setattr(memory, "_limit", float("inf"))
    assert not memory.is_full()
    monkeypatch.setattr(memory, "FULL", memory.resident() // 2)
    memory.keep_below_full()
    assert memory.is_full()
    monkeypatch.setattr(memory, "FULL", memory.resident() * 4)
    memory.keep_below_full()
    assert not memory.is_full()


def test_an_answer_holds_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_FRESH", 3600.0)
    monkeypatch.setattr(memory, "_last", (float("-inf"), False))
    monkeypatch.setattr(memory, "_limit", 1)
    assert memory.is_full()
    monkeypatch.setattr(memory, "_limit", float("inf"))
    assert memory.is_full()


def test_what_a_process_shares_with_the_one_that_forked_it_is_not_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_inherited", 0)
    before = memory.resident()
    memory.begin_forked()
    assert memory.resident() < 0.1 * before
    held = bytearray(os.urandom(1)) * SIZE
    assert 0.9 * SIZE < memory.resident() < 0.1 * before + 1.1 * SIZE
    assert len(held) == SIZE
