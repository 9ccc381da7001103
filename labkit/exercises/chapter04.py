"""Exercises of chapter 04: a rule of the attendee's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from labkit.drafts.draft import Draft, DraftError
from labkit.exercises.exercise import Wrong, exercise
from labkit.target import Target

if TYPE_CHECKING:
    from falcorules import RecordedEvent

_PRINTERS = ("cat", "head", "tail", "less", "grep", "awk", "sed", "cut", "sort")


@exercise(
    "04-own-rule",
    "A rule that alerts when a program that prints files opens /etc/passwd in a container",
    hints=(
        "Three things have to be true: a file was opened for reading (the default rules have a macro for that), in a "
        "container (for that, too), and it was *that* file. `labkit rules fields 'fd.*'` in a terminal says which "
        'field names a file. `lab.draft("passwd-lookup").why()` says what kept your rule silent.',
        "`open_read and container and fd.name = /etc/hosts` alerts on each program that reads the file `/etc/hosts`. "
        "What is left is to name another file, and the programs: `proc.name in (...)`, with a list in the brackets.",
    ),
)
def own_rule(target: Target, draft: Any) -> str:
    """`draft`: what `lab.draft(...)` gives. Its rules are tried on events like those of the recorded visit."""
    if not isinstance(draft, Draft):
        raise Wrong('Give it the draft: `lab.check("04-own-rule", lab.draft("passwd-lookup"))`.')
    try:
        draft.demand()
    except DraftError as error:
        raise Wrong(error.message) from error
    own = set(draft.annotated.rules)
    if not own:
        raise Wrong("There is no rule in it, only a list or a macro: nothing alerts.")

    def alerts(event: RecordedEvent) -> bool:
        return bool(own & set(draft.engine.replay([event]).rules))

    read = _read_of_passwd(draft)
    if not alerts(read):
        raise Wrong(
            "It keeps silent when the visitor runs `cat /etc/passwd`. "
            f'`lab.draft("{draft.name}").why()` shows which part of the condition is false.'
        )
    for words, event, reason in _neighbours(read):
        if alerts(event):
            raise Wrong(f"It alerts on {words}, too. {reason}")
    missed = [f"`{name}`" for name in _PRINTERS if not alerts(_by(read, name))]
    if missed:
        raise Wrong(
            f"It sees `cat /etc/passwd`, but not {', '.join(missed)}: an intruder without `cat` takes one of these. "
            "A list keeps the condition short."
        )
    return (
        f"It alerts when one of {len(_PRINTERS)} programs prints the file, and keeps silent on its neighbours: another "
        "file, a program that looks a name up in passing, a program on the node, and a write. Now ship it."
    )


def _read_of_passwd(draft: Draft) -> RecordedEvent:
    """The event of the workshop's visit in which `cat` opened the file."""
    import falcorules

    visit = draft.recording.with_name("visit.jsonl.gz")
    return next(
        event
        for event in falcorules.open_events(visit)
        if event.get("fd.name") == "/etc/passwd" and event.get("proc.name") == "cat" and event.get("evt.is_open_read")
    )


def _changed(event: RecordedEvent, **fields: Any) -> RecordedEvent:
    import falcorules

    return falcorules.RecordedEvent(
        event.to_dict() | {name.replace("__", "."): value for name, value in fields.items()}
    )


def _by(event: RecordedEvent, program: str) -> RecordedEvent:
    path = f"/usr/bin/{program}"
    command = f"{program} /etc/passwd"
    return _changed(event, proc__name=program, proc__exe=program, proc__exepath=path, proc__cmdline=command)


def _neighbours(event: RecordedEvent) -> Iterator[tuple[str, RecordedEvent, str]]:
    """Events on which the rule has to keep silent: what each is, and why an alert on it is noise."""
    hosts = _changed(event, fd__name="/etc/hosts", proc__cmdline="cat /etc/hosts")
    yield "`cat /etc/hosts`", hosts, "Which field names the file?"
    shadow = _changed(event, fd__name="/etc/passwd-", proc__cmdline="cat /etc/passwd-")
    yield "`cat /etc/passwd-`", shadow, "Compare the whole name of the file."
    yield (
        "`id`, which looks a name up in passing",
        _by(event, "id"),
        "`ls -l` and every shell do that: it would drown you.",
    )
    host = _changed(event, container__id="host", container__name="host", k8s__pod__name=None, k8s__ns__name=None)
    yield "`cat /etc/passwd` on the node itself", host, "The rule is about containers."
    write = _changed(event, evt__is_open_read=False, evt__is_open_write=True)
    yield "a program that opens the file for writing", write, "That is worth an alert, but another one."
