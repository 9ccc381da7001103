"""Exercises of chapter 08: something that was forgotten."""

from __future__ import annotations

from typing import Any

from labkit.exercises.exercise import Wrong, exercise
from labkit.provision.audit import Audit, Left, audit
from labkit.show import counted
from labkit.target import Target


@exercise(
    "08-left-behind",
    "Leave something behind, find it by the audit, and remove it",
    hints=(
        "The audit looks for names that begin with the workshop's prefix, and for the workshop's label on objects in "
        'the cluster. A queue is quickly made: `lab.aws.client("sqs").create_queue(QueueName=...)`.',
        "Three cells: one that makes a queue whose name begins with `falco-workshop-`, one with `found = lab.audit()`, "
        "one that deletes the queue: `delete_queue(QueueUrl=...)` with the URL that `get_queue_url` tells.",
    ),
)
def left_behind(target: Target, found: Any) -> str:
    """`found`: the audit that found it. The thing has to be gone by now."""
    if not isinstance(found, Audit):
        raise Wrong("Give it the audit that found what you left: `found = lab.audit()`.")
    if found.clean:
        raise Wrong(
            "That audit found nothing. Had you made something before it? Its name has to begin with "
            f"`{target.settings.prefix}-`, or it has to carry the workshop's label."
        )
    mine = [item for item in found.left if not _made(item)]
    if not mine:
        names = ", ".join(f"`{item.name}`" for item in found.left[:3])
        raise Wrong(f"What that audit found was made by the workshop's steps ({names}). Leave something of your own.")
    now = audit(target)
    if not now.clean:
        names = ", ".join(f"{item.kind} `{item.name}`" for item in now.left[:5])
        also = "" if len(now.left) <= 5 else f" and {counted(len(now.left) - 5, 'thing')} more"
        if {(item.kind, item.name) for item in mine} & {(item.kind, item.name) for item in now.left if not _made(item)}:
            raise Wrong(
                f"It was found, and is still there: {names}{also}. Remove it: `lab.teardown()` removes only its own."
            )
        raise Wrong(f"Yours is gone, and this is still there: {names}{also}. `lab.teardown()` removes what steps made.")
    names = ", ".join(f"the {item.kind} `{item.name}` ({item.why})" for item in mine[:3])
    return (
        f"The audit found {names}. The teardown left it alone, since the ledger says nothing of it: what a tool "
        "deletes, and what it looks for, are two lists, and the second has to be longer."
    )


def _made(item: Left) -> bool:
    """Whether a step has made what an audit found."""
    return item.why.startswith("made by step")
