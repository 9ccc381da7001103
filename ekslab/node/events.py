"""Falco's view of system calls: a `KernelEvent` answers with Falco's field names and computes a field when asked.

Values are as Falco 0.44 extracts them. `fields/` has one module for each class of fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ekslab.node.container import Container
from ekslab.node.fields import calls, containers, descriptors, processes
from ekslab.node.fields.common import ArgumentExtract, Extract, Value
from ekslab.node.kernel import Kernel, SystemCall

_FIELDS: dict[str, Extract] = {**calls.FIELDS, **processes.FIELDS, **descriptors.FIELDS, **containers.FIELDS}
_ARGUMENT_FIELDS: dict[str, ArgumentExtract] = {
    **calls.ARGUMENT_FIELDS,
    **processes.ARGUMENT_FIELDS,
    **containers.ARGUMENT_FIELDS,
}


class KernelEvent:
    """One system call, as `falcorules.Event` asks for it. None stands for what the event doesn't have (`<NA>`)."""

    __slots__ = ("call", "time", "type")
    source = "syscall"

    def __init__(self, call: SystemCall) -> None:
        self.call = call
        self.type = call.type
        self.time = call.time

    def __repr__(self) -> str:
        return f"<{self.call.number} {self.call.process.name} {self.type} {calls.arguments_text(self.call)}>"

    @property
    def container(self) -> Container | None:
        return self.call.process.container

    def get(self, field: str, arg: str | None = None) -> Value | None:
        extract = _FIELDS.get(field)
        if extract is not None:
            return extract(self.call)
        with_argument = _ARGUMENT_FIELDS.get(field)
        if with_argument is not None:
            return with_argument(self.call, arg)
        if field.startswith("evt.arg."):
            return calls.argument(self.call, field.removeprefix("evt.arg."))
        return None

    def recorded(self, fields: Iterable[str] | None = None) -> dict[str, object]:
        """The event as plain data, Falco field name -> value, in the form that `falcorules replay` reads."""
        if fields is None:
            fields = [*_FIELDS, *processes.ARGUMENT_FIELDS]
        values: dict[str, object] = {}
        for field in fields:
            value = self.get(field)
            if value is not None:
                values[field] = value
        values["evt.arg"] = {argument.name: argument.value for argument in calls.arguments(self.call)}
        return values


def subscribe(
    kernel: Kernel, callback: Callable[[KernelEvent], object], types: Iterable[str] | None = None
) -> Callable[[], None]:
    """Calls back at every system call of a kernel, as `Kernel.subscribe` does, with the event that Falco sees."""
    return kernel.subscribe(lambda call: callback(KernelEvent(call)), types)
