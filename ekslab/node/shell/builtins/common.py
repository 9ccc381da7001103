"""What built-in commands share."""

from __future__ import annotations

from ekslab.node.kernel import ProcessExit
from ekslab.node.shell.interpreter import Shell

PIECE = 16_384  # characters that a built-in writes before others get their turn


async def put(shell: Shell, text: str) -> None:
    """Writes a built-in's output; a reader that is slow is waited for."""
    process = shell.process
    for start in range(0, len(text), PIECE):
        process.stdout.write(text[start : start + PIECE])
        await process.drain(1)
        await process.cooperate()


def fatal(shell: Shell, status: int) -> int:
    """A special built-in's error ends dash's scripts."""
    if not shell.bash and not shell.interactive:
        raise ProcessExit(status)
    return status
