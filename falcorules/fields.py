"""Falco's registry of fields and event types: names, types, arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

STRING_TYPES = frozenset({"CHARBUF", "FSPATH", "FSRELPATH"})
NUMBER_TYPES = frozenset(
    (
        *("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "DOUBLE", "RELTIME", "ABSTIME"),
        *("FLAGS8", "FLAGS16", "FLAGS32", "ENUMFLAGS8", "ENUMFLAGS16", "ENUMFLAGS32", "MODE", "PORT", "UID", "GID"),
        *("ERRNO", "FD", "PID", "SYSCALLID", "SIGTYPE"),
    )
)
ADDRESS_TYPES = frozenset({"IPADDR", "IPV4ADDR", "IPV6ADDR"})
NETWORK_TYPES = frozenset({"IPNET", "IPV4NET", "IPV6NET"})

# Fields whose argument may follow a dot: evt.arg.name is evt.arg with argument "name".
_EVENT_ARGUMENTS = ("evt.arg", "evt.rawarg")
# A name that starts like one of these and is unknown has a wrong argument.
_PREFIXES = (*_EVENT_ARGUMENTS, "evt.around")
# Ancestor fields take a level, or no argument in a condition, where they stand for all ancestors.
ANCESTORS = frozenset({"proc.apid", "proc.aname", "proc.aexe", "proc.aexepath", "proc.acmdline"})
_INDEXED = ANCESTORS | {"proc.args", "proc.aargs"}
# Times that are shown as text, though an event has a number.
TIMES = frozenset({"evt.time", "evt.time.s", "evt.time.iso8601", "evt.datetime", "evt.datetime.s"})
# Fields of what Falco no longer has (the entry of a system call, how long it took): always the same value.
FIXED: Mapping[str, str | int] = {
    "evt.dir": "<",
    "evt.latency.human": "0ns",
    **dict.fromkeys(("evt.latency", "evt.latency.s", "evt.latency.ns", "evt.latency.quantized", "evt.wait_latency"), 0),
}
# Fields of the container plugin, whose arguments are checked in its own words.
_PLUGIN = ("container.", "k8s.", "proc.is_container_")


@dataclass(frozen=True)
class FieldInfo:
    """A field. `argument` is "required", "optional" or ""."""

    name: str
    type: str
    is_list: bool = False
    argument: str = ""
    right_hand: bool = True
    transformable: bool = True
    filter_only: bool = False
    deprecated: bool = False
    # Known, but not listed.
    hidden: bool = False


@dataclass(frozen=True)
class Reference:
    """A use of a field in a condition or an output: the field, its argument, and the type of its value."""

    field: str
    argument: str | None
    info: FieldInfo
    text: str


class UnknownField(Exception):
    """A text names no field, or a field with a wrong argument. `message` is Falco's."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def _data(name: str) -> Any:
    return json.loads((Path(__file__).parent / "data" / name).read_bytes())


@cache
def fields() -> Mapping[str, FieldInfo]:
    """All fields by name."""
    registry = {}
    for name, text in _data("fields.json")["fields"].items():
        kind, _, flags = text.partition(" ")
        registry[name] = FieldInfo(
            name,
            kind,
            is_list="*" in flags,
            argument="required" if "!" in flags else "optional" if "?" in flags else "",
            right_hand="r" not in flags,
            transformable="t" not in flags,
            filter_only="f" in flags,
            deprecated="d" in flags,
            hidden="h" in flags,
        )
    return registry


@cache
def event_parameters() -> Mapping[str, tuple[tuple[str, str], ...]]:
    """The parameters (name, type) of each event that has its own, in order."""
    data = _data("events.json")
    return {
        name: tuple((parameter.partition(":")[0], parameter.partition(":")[2]) for parameter in text.split())
        for name, text in (data["events"] | data["other"]).items()
    }


@cache
def event_types() -> frozenset[str]:
    """Every name that `evt.type` can have."""
    return frozenset(event_parameters()) | generic_event_types()


@cache
def generic_event_types() -> frozenset[str]:
    """System calls without an event of their own, which are one event to Falco."""
    return frozenset(_data("events.json")["generic"].split())


@cache
def _parameter_types() -> Mapping[str, str]:
    """The type of each event parameter, taken from the first event that has it (which may be a former one)."""
    types: dict[str, str] = dict(_data("events.json")["former"])
    for parameters in event_parameters().values():
        for name, kind in parameters:
            types.setdefault(name, kind)
    return types


@cache
def resolve(name: str, argument: str | None = None) -> Reference:
    """The field that `name[argument]` refers to. Raises UnknownField."""
    text = name if argument is None else f"{name}[{argument}]"
    info = fields().get(name)
    if name.startswith("arg"):
        raise UnknownField("filter error: proc.arg filter not implemented yet")
    for family in _EVENT_ARGUMENTS:
        if name == family or name.startswith(f"{family}."):
            return _event_argument(family, name[len(family) + 1 :], argument, text)
    if info is None and name.startswith("evt.around."):
        raise UnknownField("wrong syntax for evt.around")
    if info is None and name.startswith(_PREFIXES) and not name.startswith("evt.args"):
        raise UnknownField(f"filter syntax error: {text}")
    if name in ("evt.abspath", "evt.abspath.src", "evt.abspath.dst") and argument is None:
        return Reference("evt.abspath", name[12:] or None, fields()["evt.abspath"], text)
    if name.startswith("evt.type.is."):
        wanted = name.removeprefix("evt.type.is.")
        if argument is not None or not (wanted in event_types() or wanted.isdigit()):
            raise UnknownField(f"filter_check called with nonexistent field {text}")
        return Reference("evt.type.is", wanted, fields()["evt.type.is"], text)
    if argument is not None and name in ("evt.type.is", "thread.cgroup"):
        raise UnknownField(f"filter syntax error: {text}")
    if name.startswith("thread.cgroup.") and argument is None:
        subsystem = name.removeprefix("thread.cgroup.")
        if not re.fullmatch("[a-zA-Z_]+", subsystem):
            raise UnknownField(f"filter_check called with nonexistent field {text}")
        return Reference("thread.cgroup", subsystem, fields()["thread.cgroup"], text)
    if info is None:
        prefix = _longest_prefix(name) if name.startswith(_PLUGIN) else ""
        if argument is None and prefix and fields()[prefix].argument == "required":
            raise UnknownField(f"filter '{text}': {prefix} requires an argument but none provided")
        raise UnknownField(f"filter_check called with nonexistent field {text}")
    if name.startswith(_PLUGIN):
        _check_plugin_argument(info, argument, text)
    elif argument is None:
        if info.argument == "required":
            raise UnknownField(f"filter syntax error: {text}")
    elif not info.argument or name == "evt.abspath" or not _is_index(name, argument):
        raise UnknownField(f"filter_check called with nonexistent field {text}")
    else:
        if name in ("fd.types", "evt.around"):
            _check_number(argument)
        if "]" in argument:
            raise UnknownField(f"filter_check called with nonexistent field {text}")
    return Reference(name, argument or None, info, text)


def _longest_prefix(name: str) -> str:
    """The longest name of a field that `name` starts with; "" if there is none."""
    return max((known for known in fields() if name.startswith(known)), key=len, default="")


def _is_index(name: str, argument: str) -> bool:
    return name not in _INDEXED or _is_number(argument)


def _check_plugin_argument(info: FieldInfo, argument: str | None, text: str) -> None:
    if argument is None:
        if info.argument == "required":
            raise UnknownField(f"filter '{text}': {info.name} requires an argument but none provided")
        return
    read = text.partition(" ")[0].rstrip("\t\n\v\f\r")  # as far as Falco reads
    start = len(info.name) + 1
    given, closed, _ = read[start:].partition("]")
    fault = ""
    if len(read) == start:
        fault = "terminates with incomplete argument brackets"
    elif not closed:
        fault = "has unbalanced argument brackets"
    elif not info.argument:
        fault = f"does not allow nor require an argument but one is provided: {given}"
    if fault:
        raise UnknownField(f"filter '{read}': {info.name} {fault}")
    if start + len(given) + 1 != len(text):
        raise UnknownField(f"filter_check called with nonexistent field {text}")


def _event_argument(family: str, dotted: str, argument: str | None, text: str) -> Reference:
    base = fields()[family]
    if not dotted:
        if argument is None:
            raise UnknownField(f"filter syntax error: {text}")
        if family == "evt.rawarg":
            raise UnknownField("evt.arg fields must be expressed explicitly")
        _check_number(argument)
        if "]" in argument:
            raise UnknownField(f"filter_check called with nonexistent field {text}")
        return Reference(family, argument, base, text)
    if argument is not None or dotted not in _parameter_types():
        if any(dotted.startswith(name) for name in _parameter_types()):
            raise UnknownField(f"filter_check called with nonexistent field {text}")
        raise UnknownField(f"unknown event argument {text[len(family) + 1 :]}")
    if family == "evt.arg":
        return Reference(family, dotted, base, text)
    kind = _parameter_types()[dotted]
    return Reference(family, dotted, FieldInfo(family, kind, right_hand=False, transformable=False), text)


def _check_number(argument: str) -> None:
    """Raises UnknownField unless what stands before the first bracket is a number."""
    read = argument.partition("]")[0]
    if not _is_number(read):
        raise UnknownField(f"{read} is not a valid number")


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[\t\n\v\f\r ]*[+-]?[0-9]+", text) is not None
