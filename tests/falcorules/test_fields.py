"""References to fields: which field and argument a name stands for, and Falco's errors for the rest."""

from __future__ import annotations

import pytest

from falcorules.fields import UnknownField, resolve


@pytest.mark.parametrize(
    ("name", "argument", "field", "of"),
    [
        ("proc.name", None, "proc.name", None),
        ("proc.aname", "1", "proc.aname", "1"),
        ("proc.args", "1", "proc.args", "1"),
        ("proc.env", None, "proc.env", None),
        ("proc.env", "HOME", "proc.env", "HOME"),
        ("fd.types", "1", "fd.types", "1"),
        ("evt.around", "5", "evt.around", "5"),
        ("evt.args", None, "evt.args", None),
        ("proc.env", "", "proc.env", None),
        ("container.label", "", "container.label", None),
        ("evt.arg", "0", "evt.arg", "0"),
        ("evt.arg.name", None, "evt.arg", "name"),
        ("evt.rawarg.flags", None, "evt.rawarg", "flags"),
        ("evt.abspath", None, "evt.abspath", None),
        ("evt.abspath.src", None, "evt.abspath", "src"),
        ("evt.type.is.open", None, "evt.type.is", "open"),
        ("evt.type.is.5", None, "evt.type.is", "5"),
        ("thread.cgroup.cpu", None, "thread.cgroup", "cpu"),
        ("k8s.pod.label", "app", "k8s.pod.label", "app"),
    ],
)
def test_a_name_stands_for_a_field_and_an_argument(name: str, argument: str | None, field: str, of: str | None) -> None:
    reference = resolve(name, argument)
    assert (reference.field, reference.argument) == (field, of)
    assert reference.text == (name if argument is None else f"{name}[{argument}]")


NONE = "filter_check called with nonexistent field"
SYNTAX = "filter syntax error:"


@pytest.mark.parametrize(
    ("name", "argument", "message"),
    [
        ("nope", None, f"{NONE} nope"),
        ("proc.name", "1", f"{NONE} proc.name[1]"),
        ("proc.aname", "x", f"{NONE} proc.aname[x]"),
        ("proc.args", "x", f"{NONE} proc.args[x]"),
        ("proc.env", "a]", f"{NONE} proc.env[a]]"),
        ("fd.types", "x", "x is not a valid number"),
        ("evt.around", None, f"{SYNTAX} evt.around"),
        ("evt.around", "x", "x is not a valid number"),
        ("evt.arounds", None, f"{SYNTAX} evt.arounds"),
        ("evt.argsx", None, f"{NONE} evt.argsx"),
        ("evt.arg", None, f"{SYNTAX} evt.arg"),
        ("evt.arg", "x", "x is not a valid number"),
        ("evt.arg.name", "1", f"{NONE} evt.arg.name[1]"),
        ("evt.arg.namex", None, f"{NONE} evt.arg.namex"),
        ("evt.arg.nope", None, "unknown event argument nope"),
        ("evt.rawarg", "1", "evt.arg fields must be expressed explicitly"),
        ("evt.abspath", "x", f"{NONE} evt.abspath[x]"),
        ("evt.abspath.nope", None, f"{NONE} evt.abspath.nope"),
        ("evt.type.is.nope", None, f"{NONE} evt.type.is.nope"),
        ("evt.type.is", "open", f"{SYNTAX} evt.type.is[open]"),
        ("thread.cgroup", None, f"{SYNTAX} thread.cgroup"),
        ("thread.cgroup", "cpu", f"{SYNTAX} thread.cgroup[cpu]"),
        ("thread.cgroup.a1", None, f"{NONE} thread.cgroup.a1"),
        ("k8s.pod.label", None, "filter 'k8s.pod.label': k8s.pod.label requires an argument but none provided"),
        ("container.label", "a b", "filter 'container.label[a': container.label has unbalanced argument brackets"),
        (
            "container.label",
            " b",
            "filter 'container.label[': container.label terminates with incomplete argument brackets",
        ),
        ("container.id", "a b", "filter 'container.id[a': container.id has unbalanced argument brackets"),
        ("container.label", "a]b", f"{NONE} container.label[a]b]"),
        ("container.label.app", "x", f"{NONE} container.label.app[x]"),
        ("proc.name", "", f"{NONE} proc.name[]"),
        ("proc.aname", "", f"{NONE} proc.aname[]"),
        ("evt.arg", "", " is not a valid number"),
        ("evt.arg", "1]x", f"{NONE} evt.arg[1]x]"),
        ("fd.types", "1]x", f"{NONE} fd.types[1]x]"),
        ("evt.around.x", None, "wrong syntax for evt.around"),
        ("arg.name", None, "filter error: proc.arg filter not implemented yet"),
        (
            "container.id",
            "x",
            "filter 'container.id[x]': container.id does not allow nor require an argument but one is provided: x",
        ),
    ],
)
def test_what_names_no_field(name: str, argument: str | None, message: str) -> None:
    with pytest.raises(UnknownField) as caught:
        resolve(name, argument)
    assert caught.value.message == message
