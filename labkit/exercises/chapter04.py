"""Exercises of chapter 04: a rule of the attendee's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from labkit.drafts.draft import Draft, DraftError
from labkit.exercises.exercise import Wrong, exercise
from labkit.target import Target

if TYPE_CHECKING:
    from falcorules import RecordedEvent

_LOOKING_UP = (
    *("id", "ls", "bash", "sh", "whoami", "sshd", "nginx", "ps", "sudo", "python3"),
    "frobnicate",  # of no list
)
_FILES = ("/etc/hosts", "/etc/passwd-", "/etc/group", "/etc/shadow", "/etc/hostname", "/var/lib/passwd")
_PRINTERS = ("cat", "head", "tail", "less", "grep", "awk", "sed", "cut", "sort")


@exercise(
    "04-own-rule",
    "A rule that alerts when a program that prints files opens /etc/passwd in a container",
    hints=(
        "Three things have to be true: a file was opened for reading (the default rules have a macro for that), in a "
        "container (for that, too), and it was that file. `labkit rules fields 'fd.*'` in a terminal says which "
        'field names a file. `lab.draft("passwd-lookup").why()` says what kept your rule silent.',
        "`open_read and container and fd.name = /etc/hosts` alerts on each program that reads the file `/etc/hosts`. "
        "What is left is to name another file, and the programs: `proc.name in (...)`, with a list in the brackets.",
    ),
)
def own_rule(target: Target, draft: Any) -> str:
    """`draft`: what `lab.draft(...)` gives. Its rules are tried on events like those of the recorded visit."""
    import falcorules

    if not isinstance(draft, Draft):
        raise Wrong('Give it the draft: `lab.check("04-own-rule", lab.draft("passwd-lookup"))`.')
    try:
        draft.demand()
    except DraftError as error:
        raise Wrong(error.message) from error
    own = set(draft.annotated.rules)
    if not own:
        raise Wrong("There is no rule in it, only a list or a macro: nothing alerts.")
    if taken := own & _names_of_others(draft):
        raise Wrong(f"A default rule has that name; yours would take its place: {', '.join(sorted(taken))}.")
    engine = falcorules.load(list(draft.files), matching="all")  # another rule's alert doesn't hide this one's

    def alerts(event: RecordedEvent) -> bool:
        return bool(own & set(engine.replay([event]).rules))

    read = _read_of_passwd(draft)
    if not alerts(read):
        if any(alerts(start) for start in _starts(draft)):
            raise Wrong(
                "It alerts when the program is started, not when the file is opened: `cd /etc; cat passwd` would get "
                "by, because the command line doesn't have the whole name. Ask for the event that opens the file."
            )
        raise Wrong(
            "It keeps silent when the visitor runs `cat /etc/passwd`. "
            f'`lab.draft("{draft.name}").why()` shows which part of the condition is false.'
        )
    for words, event, reason in _neighbours(read):
        if alerts(event):
            raise Wrong(f"It alerts on {words}, too. {reason}")
    for words, event, reason in _variants(read):
        if not alerts(event):
            raise Wrong(f"It keeps silent on {words}. {reason}")
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


def _names_of_others(draft: Draft) -> set[str]:
    """The names of the rules that are loaded before the draft, which are Falco's own."""
    import falcorules

    default = draft.files[0]
    return set(falcorules.annotate([default], default[0]).rules)


def _visit(draft: Draft) -> Iterator[RecordedEvent]:
    import falcorules

    return falcorules.open_events(draft.recording.with_name("visit.jsonl.gz"))


def _starts(draft: Draft) -> Iterator[RecordedEvent]:
    """The events of the workshop's visit in which a program was started with the file's name among its arguments."""
    return (
        event
        for event in _visit(draft)
        if event.get("evt.type") in ("execve", "execveat") and "/etc/passwd" in str(event.get("proc.cmdline"))
    )


def _read_of_passwd(draft: Draft) -> RecordedEvent:
    """The event of the workshop's visit in which `cat` opened the file."""
    return next(
        event
        for event in _visit(draft)
        if event.get("fd.name") == "/etc/passwd" and event.get("proc.name") == "cat" and event.get("evt.is_open_read")
    )


def _changed(event: RecordedEvent, **fields: Any) -> RecordedEvent:
    import falcorules

    return falcorules.RecordedEvent(
        event.to_dict() | {name.replace("__", "."): value for name, value in fields.items()}
    )


def _of_file(event: RecordedEvent, file: str) -> RecordedEvent:
    directory, _, name = file.rpartition("/")
    names = {"fd__directory": directory, "fd__filename": name, "fd__nameraw": file}
    command = f"cat {file}"
    return _changed(event, fd__name=file, proc__args=file, proc__cmdline=command, proc__pcmdline="sh", **names)


def _by(event: RecordedEvent, program: str) -> RecordedEvent:
    path = f"/usr/bin/{program}"
    command = f"{program} /etc/passwd"
    aname = [program, *event.to_dict()["proc.aname"][1:]]
    changed = {"proc__name": program, "proc__exe": program, "proc__exepath": path, "proc__cmdline": command}
    return _changed(event, **changed, proc__aname=aname, proc__pcmdline=f"sh -c {command}")


def _variants(event: RecordedEvent) -> Iterator[tuple[str, RecordedEvent, str]]:
    """Events on which the rule has to alert, too: what each is, and why."""
    user = _changed(event, user__name="www-data", user__uid=33, user__loginuid=33)
    yield "`cat /etc/passwd` by the user www-data", user, "An intruder in a web server is rarely root."
    container = _changed(
        event,
        container__id="0f1e2d3c4b5a",
        container__name="sidecar",
        container__image="docker.io/library/busybox:1.36",
        container__image__repository="docker.io/library/busybox",
        container__image__tag="1.36",
        k8s__pod__name="worker-1",
        k8s__ns__name="batch",
    )
    yield "`cat /etc/passwd` in another container", container, "The rule is about all of them: is there a macro?"


def _neighbours(event: RecordedEvent) -> Iterator[tuple[str, RecordedEvent, str]]:
    """Events on which the rule has to keep silent: what each is, and why an alert on it is noise."""
    for file in _FILES:
        other = _of_file(event, file)
        yield f"`cat {file}`", other, "Compare the whole name of the file, and with that of one file."
    for program in _LOOKING_UP:
        reason = "Name the programs that print files: those that don't have no end, and each that you forget is noise."
        yield f"`{program}`, which looks a name up in passing", _by(event, program), reason
    host = _changed(event, container__id="host", container__name="host", k8s__pod__name=None, k8s__ns__name=None)
    yield "`cat /etc/passwd` on the node itself", host, "The rule is about containers."
    write = _changed(event, evt__is_open_read=False, evt__is_open_write=True)
    yield "a program that opens the file for writing", write, "That is worth an alert, but another one."
