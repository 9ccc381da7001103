"""Work that keeps the event loop is interrupted; work that awaits is not, and neither is anything else."""

from __future__ import annotations

import asyncio
import gc
import threading
import time

import pytest

from ekslab.turns import LIMIT, TooLong, limited


def busy(seconds: float) -> int:
    """Uses the processor for so long."""
    turns, until = 0, time.thread_time() + seconds
    while time.thread_time() < until:
        turns += 1
    return turns


async def test_a_turn_without_an_end_is_interrupted() -> None:
    async def endless() -> None:
        busy(60)

    with pytest.raises(TooLong):
        await limited(endless())


async def test_many_short_turns_are_not() -> None:
    async def patient() -> str:
        for _ in range(6):
            busy(LIMIT / 4)
            await asyncio.sleep(0)
        return "done"

    assert await limited(patient()) == "done"


async def test_a_collection_of_garbage_is_not_the_works_own_time() -> None:
    ended: list[str] = []

    class Node:
        """Is collected, slowly, with a cycle that it is part of."""

        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            busy(LIMIT * 1.5)
            ended.append("node")

    async def collects() -> list[str]:
        busy(LIMIT / 4)
        Node()
        gc.collect()
        return ended

    assert await limited(collects()) == ["node"]


async def test_only_the_work_itself_is_interrupted() -> None:
    async def work() -> None:
        await asyncio.sleep(0.01)

    waiting = asyncio.create_task(limited(work()))
    await asyncio.sleep(0)
    busy(LIMIT * 1.5)  # of somebody else
    await waiting


async def test_errors_results_and_cancellation_go_through() -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    with pytest.raises(KeyError):
        await limited(fails())

    async def waits() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "tidied up"
        return ""

    task = asyncio.create_task(limited(waits()))
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "tidied up"

    async def times_out() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await limited(times_out())


def test_the_watch_of_a_thread_ends_with_it() -> None:
    async def work() -> None:
        await asyncio.sleep(0)

    def watches() -> tuple[int, int]:
        return len(gc.callbacks), sum(other.name == "turns" for other in threading.enumerate())

    before = watches()
    thread = threading.Thread(target=lambda: asyncio.run(limited(work())))
    thread.start()
    thread.join()
    deadline = time.monotonic() + 10
    while watches() != before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
