"""Events: the protocol that rules are evaluated on, and events recorded as JSON lines."""

from __future__ import annotations

import gzip
import json
import math
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias

from falcorules.arguments import checked, shown
from falcorules.errors import EventError
from falcorules.fields import (
    ADDRESS_TYPES,
    ANCESTORS,
    NETWORK_TYPES,
    NUMBER_TYPES,
    STRING_TYPES,
    event_parameters,
    fields,
)
from falcorules.files import open_to_read, open_to_write

_LONGEST_LINE = 1 << 20  # bytes

Value: TypeAlias = "str | int | float | bool | bytes | list[Any]"


class Event(Protocol):
    """One event. Rules ask for fields by name, so that an event can compute them lazily.

    `get(field, argument)` returns the value, or None if the field is missing on this event. `%proc.aname[2]` asks for
    ("proc.aname", "2"), `evt.arg.name` and `evt.arg[1]` for ("evt.arg", "name") and ("evt.arg", "1"). Without an
    argument an ancestor field (proc.aname, proc.aexe, ...) is the list of the process itself and its ancestors.
    Addresses are text, times are nanoseconds since the epoch (int), a list field is a list.
    """

    @property
    def source(self) -> str: ...

    @property
    def type(self) -> str: ...

    @property
    def time(self) -> int: ...

    def get(self, field: str, argument: str | None = None) -> Any: ...


class RecordedEvent:
    """An event as a mapping of field names to values: `{"evt.type": "openat", "fd.name": "/etc/shadow", ...}`.

    Other fields are missing. `evt.arg` is a mapping by parameter name; ancestor fields are lists that start with the
    process itself.
    """

    __slots__ = ("_values", "source", "time", "type")

    def __init__(self, values: Mapping[str, Any]) -> None:
        if not isinstance(values, Mapping):
            raise EventError(f"{shown(values)} is not an event.", hint='Give its fields: {"evt.type": "openat", ...}.')
        self._values = values
        self.type: str = values.get("evt.type", "")
        self.time: int = values.get("evt.time", 0)
        self.source: str = values.get("evt.source", "syscall")

    def get(self, field: str, argument: str | None = None) -> Any:
        if argument is None:
            return self._values.get(field)
        return self._argument(field, argument)

    def _argument(self, field: str, argument: str) -> Any:
        written = self._values.get(f"{field}[{argument}]")
        if written is not None:
            return written
        part = _PARTS.get(field)
        if part is not None:
            return part(self._values, argument)
        value = self._values.get(field)
        if isinstance(value, list):
            return value[int(argument)] if argument.isdigit() and int(argument) < len(value) else None
        if isinstance(value, Mapping):
            if argument in value:
                return value[argument]
            if field == "evt.arg" and argument.isdigit():
                parameters = event_parameters().get(self.type, ())
                place = int(argument)
                return value.get(parameters[place][0]) if place < len(parameters) else None
            return None
        return self._values.get(f"{field}.{argument}")

    def to_dict(self) -> dict[str, Any]:
        """The field values, as a new dictionary."""
        return dict(self._values)

    def __repr__(self) -> str:
        return f"<RecordedEvent {self.type} {self._values.get('proc.cmdline', '')}>"


# Fields with an argument that a recording holds only as a whole: how to find the part.


def _word(values: Mapping[str, Any], argument: str) -> str | None:
    """An argument of the process. `proc.args` joins them with blanks; further blanks are counted to the last argument,
    as in `sh -c "echo a b"`."""
    text, count = values.get("proc.args"), values.get("proc.cmdnargs")
    if not isinstance(text, str) or not argument.isdigit():
        return None
    words = text.split(" ", count - 1 if isinstance(count, int) and count > 0 else -1)
    return words[int(argument)] if text and int(argument) < len(words) else None


def _ancestors_words(values: Mapping[str, Any], argument: str) -> str | None:
    """The arguments of an ancestor: its command line without its name."""
    names, lines = values.get("proc.aname"), values.get("proc.acmdline")
    if not isinstance(names, list) or not isinstance(lines, list) or not argument.isdigit():
        return None
    level = int(argument)
    return str(lines[level])[len(str(names[level])) + 1 :] if level < min(len(names), len(lines)) else None


def _variable(values: Mapping[str, Any], name: str) -> str | None:
    """A variable of an environment printed as `A=1 B=2`; empty if it isn't set, as in Falco."""
    text = values.get("proc.env")
    if not isinstance(text, str):
        return None
    match = re.search(rf"(?:^| ){re.escape(name)}=(.*?)(?= [A-Za-z_][A-Za-z0-9_]*=|$)", text, re.DOTALL)
    return match[1] if match else ""


def _type_of_descriptor(values: Mapping[str, Any], number: str) -> list[str] | None:
    """The type of a file descriptor, as a list. Known are the standard descriptors and the event's own."""
    standard = {"0": "proc.stdin.type", "1": "proc.stdout.type", "2": "proc.stderr.type"}
    field = "fd.type" if str(values.get("fd.num")) == number else standard.get(number, "")
    kind = values.get(field)
    return None if kind is None else [kind]


def _labelled(field: str) -> Callable[[Mapping[str, Any], str], str | None]:
    """A label in a field that lists them as `a:1, b:2`."""

    def find(values: Mapping[str, Any], name: str) -> str | None:
        text = values.get(field)
        labels = text.split(", ") if isinstance(text, str) else []
        return next((label[len(name) + 1 :] for label in labels if label.startswith(f"{name}:")), None)

    return find


def _cgroup(values: Mapping[str, Any], name: str) -> str | None:
    text = values.get("thread.cgroups")
    groups = text.split(" ") if isinstance(text, str) else []
    return next((group[len(name) + 1 :] for group in groups if group.startswith(f"{name}=")), None)


def _raw_argument(values: Mapping[str, Any], name: str) -> Any:
    """An event argument as a number or text, if another field has it: results, descriptors, text."""
    raw, shown = values.get("evt.rawarg"), values.get("evt.arg")
    if isinstance(raw, Mapping) and name in raw:
        return raw[name]
    if f"evt.rawarg.{name}" in values:
        return values[f"evt.rawarg.{name}"]
    if not isinstance(shown, Mapping) or name not in shown:
        return None
    if name == "res" or (name == "fd" and "res" not in shown):
        return values.get("evt.rawres")
    if name == "fd":
        return values.get("fd.num")
    kind = dict(event_parameters().get(values.get("evt.type", ""), ())).get(name)
    return shown[name] if kind in STRING_TYPES else None


_PARTS: dict[str, Callable[[Mapping[str, Any], str], Any]] = {
    "evt.rawarg": _raw_argument,
    "proc.args": _word,
    "proc.aargs": _ancestors_words,
    "proc.env": _variable,
    "fd.types": _type_of_descriptor,
    "container.label": _labelled("container.labels"),
    "k8s.pod.label": _labelled("k8s.pod.labels"),
    "thread.cgroup": _cgroup,
}


class TypedEvent:
    """An event whose values have the types of their fields; a value of another type is missing."""

    __slots__ = ("_event", "source", "time", "type")

    def __init__(self, event: Event) -> None:
        self._event = event
        self.type = event.type
        self.time = event.time
        self.source = event.source

    def get(self, field: str, argument: str | None = None) -> Any:
        value = self._event.get(field, argument)
        info = fields().get(field)
        if value is None or info is None:
            return value
        if info.is_list or (argument is None and field in ANCESTORS and isinstance(value, list)):
            items = value if isinstance(value, list | tuple) else [value]
            return [item for item in items if _is_of(item, info.type)]
        return value if _is_of(value, info.type) else None


def _is_of(value: Any, kind: str) -> bool:
    if kind in STRING_TYPES or kind in ADDRESS_TYPES or kind in NETWORK_TYPES:
        return isinstance(value, str)
    if kind == "BYTEBUF":
        return isinstance(value, str | bytes)
    if kind == "BOOL":
        return isinstance(value, bool)
    if kind in NUMBER_TYPES:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return True


@checked
def read_events(lines: Iterable[str | bytes], *, name: str = "events") -> Iterator[RecordedEvent]:
    """Events from JSON lines. Raises EventError for a line that isn't an event."""
    if isinstance(lines, str | bytes):
        raise EventError(
            f"{name} is one text, not lines: {shown(lines)}",
            hint="Give it a list of lines; falcorules.open_events() reads a file.",
        )
    for number, line in enumerate(lines, start=1):
        if not isinstance(line, str | bytes):
            raise EventError(f"{name}, line {number} is not text: {shown(line)}", hint="Give it lines of JSON.")
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            values = json.loads(line)
        except UnicodeDecodeError:
            hint = "Save the file as UTF-8; if it is compressed, its name has to end in .gz."
            raise EventError(f"{where} is not text in UTF-8", hint=hint) from None
        except json.JSONDecodeError as error:
            raise EventError(f"{where} is not JSON: {error}", hint="One JSON object per line.") from None
        except (ValueError, RecursionError):  # what Python's integers and its stack have no room for
            raise EventError(f"{where} has a number or nested lists beyond what can be read", hint=_VALUES) from None
        if not isinstance(values, dict) or not isinstance(values.get("evt.type"), str):
            raise EventError(
                f"{where} is not an event",
                hint='An event is an object of field names and values with at least "evt.type".',
            )
        wrong = next((field for field, value in values.items() if not _can_have(field, value)), None)
        if wrong is not None:
            raise EventError(f"{where}: no field can have the value of {wrong}", hint=_VALUES)
        if type(values.get("evt.time", 0)) is not int:
            hint = "It is an integer: nanoseconds since 1970-01-01, in UTC."
            raise EventError(f"{where}: evt.time has to be a number of nanoseconds", hint=hint)
        yield RecordedEvent(values)


_VALUES = "Values are text, numbers of 64 bits, true, false, null, or lists of these (evt.arg: an object of these)."
_LEAST, _MOST = -(1 << 63), (1 << 64) - 1


def _can_have(field: str, value: Any) -> bool:
    """Whether a value may be recorded: a single value, a list, or an object if the field needs an argument."""
    if isinstance(value, list):
        return all(map(_is_single, value))
    if isinstance(value, dict):
        info = fields().get(field)
        return info is not None and info.argument == "required" and all(map(_is_single, value.values()))
    return _is_single(value)


def _is_single(value: Any) -> bool:
    if value is None or isinstance(value, str | bool):
        return True
    if isinstance(value, int):
        return _LEAST <= value <= _MOST
    return isinstance(value, float) and math.isfinite(value)


@checked
def open_events(file: Path | str) -> Iterator[RecordedEvent]:
    """Events from a file of JSON lines; `.gz` is decompressed, "-" is standard input. Raises EventError."""
    name = str(file)
    if name == "-":
        if sys.stdin is None:
            raise EventError("Can't read events from standard input: it is closed", hint="Redirect a recording to it.")
        yield from read_events(_lines(sys.stdin.buffer, "standard input"), name="standard input")
        return
    try:
        with open_to_read(name) as raw:
            stream = gzip.GzipFile(fileobj=raw, mode="rb") if name.endswith(".gz") else raw
            yield from read_events(_lines(stream, name), name=name)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        hint = "The file is damaged or cut short, or was not compressed by gzip: copy it again, or record anew."
        raise EventError(f"Can't read events from {name}: {error}", hint=hint) from error
    except OSError as error:
        hint = "Name a file of recorded events: one JSON object per line."
        raise EventError(f"Can't read events from {name}: {error.strerror}", hint=hint) from error


def _lines(file: BinaryIO | gzip.GzipFile, name: str) -> Iterator[bytes]:
    """The lines of a stream, as they arrive."""
    number = 0
    while line := file.readline(_LONGEST_LINE + 1):
        number += 1
        if len(line) > _LONGEST_LINE:
            hint = "Name a file of recorded events: one JSON object per line."
            raise EventError(f"{name}, line {number} is longer than {_LONGEST_LINE >> 20} MiB", hint=hint)
        yield line


def recorded(event: Event) -> dict[str, Any]:
    """An event in its recorded form: every field that has a value, evaluated now."""
    values: dict[str, Any] = {}
    for name, info in fields().items():
        if info.argument == "required" or info.filter_only or info.deprecated or info.hidden:
            continue
        value = event.get(name)
        if value is not None:
            values[name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    arguments = {
        name: value
        for name, _ in event_parameters().get(event.type, ())
        if (value := event.get("evt.arg", name)) is not None
    }
    return {**values, "evt.type": event.type, "evt.time": event.time, "evt.source": event.source, "evt.arg": arguments}


def as_line(event: Event) -> str:
    """An event in its recorded form as a line of JSON, with its line break."""
    return json.dumps(recorded(event), separators=(",", ":"), ensure_ascii=False, default=str) + "\n"


def write_lines(file: Path | str, lines: Iterable[str]) -> None:
    """Writes recorded events; a name that ends in `.gz` is compressed. Raises EventError."""
    try:
        with (
            open_to_write(file) as raw,
            gzip.GzipFile(fileobj=raw, mode="wb") if str(file).endswith(".gz") else raw as stream,
        ):
            stream.writelines(line.encode("utf-8", "replace") for line in lines)
    except OSError as error:
        hint = "Name a file that can be written, in a folder that is there."
        raise EventError(f"Can't write events to {file}: {error.strerror}", hint=hint) from error
