"""Work that keeps the event loop is interrupted; work that awaits is not, and neither is anything else."""

from __future__ import annotations

import asyncio
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
