"""References to fields: which field and argument a name stands for, and Falco's errors for the rest."""

from __future__ import annotations

import pytest

from falcorules.fields import UnknownField, resolve


@pytest.mark.parametrize(
    ("name", "argument", "field", "of"),
    [
        ("proc.name", "", "proc.name", None),
        ("proc.aname", "1", "proc.aname", "1"),
        ("proc.args", "1", "proc.args", "1"),
        ("proc.env", "", "proc.env", None),
        ("proc.env", "HOME", "proc.env", "HOME"),
        ("fd.types", "1", "fd.types", "1"),
        ("evt.around", "5", "evt.around", "5"),
        ("evt.args", "", "evt.args", None),
        ("evt.arg", "0", "evt.arg", "0"),
        ("evt.arg.name", "", "evt.arg", "name"),
        ("evt.rawarg.flags", "", "evt.rawarg", "flags"),
        ("evt.abspath", "", "evt.abspath", None),
        ("evt.abspath.src", "", "evt.abspath", "src"),
        ("evt.type.is.open", "", "evt.type.is", "open"),
        ("evt.type.is.5", "", "evt.type.is", "5"),
        ("thread.cgroup.cpu", "", "thread.cgroup", "cpu"),
        ("k8s.pod.label", "app", "k8s.pod.label", "app"),
    ],
)
def test_a_name_stands_for_a_field_and_an_argument(name: str, argument: str, field: str, of: str | None) -> None:
    reference = resolve(name, argument)
    assert (reference.field, reference.argument) == (field, of)
    assert reference.text == (f"{name}[{argument}]" if argument else name)


NONE = "filter_check called with nonexistent field"
SYNTAX = "filter syntax error:"


@pytest.mark.parametrize(
    ("name", "argument", "message"),
    [
        ("nope", "", f"{NONE} nope"),
        ("proc.name", "1", f"{NONE} proc.name[1]"),
        ("proc.aname", "x", f"{NONE} proc.aname[x]"),
        ("proc.args", "x", f"{NONE} proc.args[x]"),
        ("proc.env", "a]", f"{NONE} proc.env[a]]"),
        ("fd.types", "x", "x is not a valid number"),
        ("evt.around", "", f"{SYNTAX} evt.around"),
        ("evt.around", "x", "x is not a valid number"),
        ("evt.arounds", "", f"{SYNTAX} evt.arounds"),
        ("evt.argsx", "", f"{NONE} evt.argsx"),
        ("evt.arg", "", f"{SYNTAX} evt.arg"),
        ("evt.arg", "x", "x is not a valid number"),
        ("evt.arg.name", "1", f"{NONE} evt.arg.name[1]"),
        ("evt.arg.namex", "", f"{NONE} evt.arg.namex"),
        ("evt.arg.nope", "", "unknown event argument nope"),
        ("evt.rawarg", "1", "evt.arg fields must be expressed explicitly"),
        ("evt.abspath", "x", f"{NONE} evt.abspath[x]"),
        ("evt.abspath.nope", "", f"{NONE} evt.abspath.nope"),
        ("evt.type.is.nope", "", f"{NONE} evt.type.is.nope"),
        ("evt.type.is", "open", f"{SYNTAX} evt.type.is[open]"),
        ("thread.cgroup", "", f"{SYNTAX} thread.cgroup"),
        ("thread.cgroup", "cpu", f"{SYNTAX} thread.cgroup[cpu]"),
        ("thread.cgroup.a1", "", f"{NONE} thread.cgroup.a1"),
        ("k8s.pod.label", "", "filter 'k8s.pod.label': k8s.pod.label requires an argument but none provided"),
        ("container.label", "a b", "filter 'container.label[a b]': container.label has unbalanced argument brackets"),
        (
            "container.id",
            "x",
            "filter 'container.id[x]': container.id does not allow nor require an argument but one is provided: x",
        ),
    ],
)
def test_what_names_no_field(name: str, argument: str, message: str) -> None:
    with pytest.raises(UnknownField) as caught:
        resolve(name, argument)
    assert caught.value.message == message


def test_a_filter_only_field_cannot_be_shown() -> None:
    with pytest.raises(UnknownField, match=r"^fd\.ip is filter only and cannot be used as a display field$"):
        resolve("fd.ip", in_output=True)
