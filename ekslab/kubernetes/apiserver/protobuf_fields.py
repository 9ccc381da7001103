"""Writes protobuf.json, the field numbers of Kubernetes' protobuf messages, from the Go modules that define them.

    go mod download -json k8s.io/api@v0.35.0 k8s.io/apimachinery@v0.35.0     # prints each module's Dir
    python -m ekslab.kubernetes.apiserver.protobuf_fields API_DIR APIMACHINERY_DIR

`generated.proto` has a field's number and type. The struct tags beside it have its name in JSON, and tell whether a
zero is written: it is if the field is a pointer, or isn't `omitempty`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import orjson

from ekslab.kubernetes.apiserver.protobuf import message_of
from ekslab.kubernetes.objects.resources import RESOURCES

_PREFIX = re.compile(r"^\.?k8s\.io\.(?:api|apimachinery\.pkg\.apis)\.(\w+)\.(\w+)\.(\w+)$")
_FIELD = r"^  (optional |repeated |)(map<string, )?([\w.]+)>? (\w+) = (\d+);"
_SCALARS = {"string": "str", "bytes": "bytes", "bool": "bool", "double": "double"} | dict.fromkeys(
    ("int32", "int64", "uint32", "uint64"), "int"
)
# Messages that JSON doesn't write as objects.
_SPECIAL = {
    "k8s.io.apimachinery.pkg.apis.meta.v1.Time": "time",
    "k8s.io.apimachinery.pkg.apis.meta.v1.MicroTime": "microtime",
    "k8s.io.apimachinery.pkg.apis.meta.v1.Duration": "duration",
    "k8s.io.apimachinery.pkg.apis.meta.v1.FieldsV1": "json",
    "k8s.io.apimachinery.pkg.api.resource.Quantity": "quantity",
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": "int-or-str",
    "k8s.io.apimachinery.pkg.runtime.RawExtension": "json",
}
# What requests carry besides the kinds that are stored.
_OTHERS = [
    *(f"meta/v1.{kind}Options" for kind in ("Create", "Delete", "Get", "List", "Patch", "Update")),
    *("meta/v1.Status", "autoscaling/v1.Scale", "policy/v1.Eviction", "core/v1.Binding"),
    *("authentication/v1.TokenRequest", "authorization/v1.LocalSubjectAccessReview"),
]

Messages = dict[str, dict[int, str]]


def read(api: Path, machinery: Path) -> Messages:
    """All messages of the two modules: their names, such as `core/v1.Pod`, and their fields by number.

    A field is `name type`. Its type has `*` before it for a list, `{` for a map, and `!` after it if zeros are written.
    A field without a name is inlined.
    """
    messages: Messages = {}
    for proto in [*api.glob("*/v*/generated.proto"), *machinery.glob("pkg/apis/meta/v1/generated.proto")]:
        package = f"{proto.parent.parent.name}/{proto.parent.name}"
        tags = _tags("\n".join(path.read_text() for path in proto.parent.glob("*.go") if "generated" not in path.name))
        for name, body in re.findall(r"^message (\w+) \{\n(.*?)^\}", proto.read_text(), re.MULTILINE | re.DOTALL):
            fields = re.findall(_FIELD, body, re.MULTILINE)
            wrapper = [f[3] for f in fields] == ["items"] and name not in tags  # `type ExtraValue []string`
            messages[f"{package}.{name}"] = {}
            for label, mapped, kind, field, number in fields:
                json_name, kept = tags.get(name, {}).get(int(number), (field, False))
                shape = "{" if mapped else "*" if label == "repeated " else ""
                messages[f"{package}.{name}"][int(number)] = (
                    f"{'' if wrapper else json_name} {shape}{_type(kind, package)}{'!' if kept else ''}"
                )
    return messages


def _tags(source: str) -> dict[str, dict[int, tuple[str, bool]]]:
    """The JSON name of each field of each struct, and whether zeros are written."""
    found: dict[str, dict[int, tuple[str, bool]]] = {}
    for name, body in re.findall(r"^type (\w+) struct \{\n(.*?)^\}", source, re.MULTILINE | re.DOTALL):
        found[name] = {}
        for declared, json_name, options, number in re.findall(
            r'^\s+(\S.*?)\s+`json:"([^",]*)([^"]*)" protobuf:"\w+,(\d+),', body, re.MULTILINE
        ):
            pointer = declared.split()[-1].startswith("*")
            found[name][int(number)] = json_name, pointer or "omitempty" not in options
    return found


def _type(kind: str, package: str) -> str:
    if kind in _SCALARS:
        return _SCALARS[kind]
    if special := _SPECIAL.get(kind.lstrip(".")) or _SPECIAL.get(f"k8s.io.apimachinery.pkg.apis.meta.v1.{kind}"):
        return special
    match = _PREFIX.match(kind)
    return f"{match[1]}/{match[2]}.{match[3]}" if match else f"{package}.{kind}"


def needed(messages: Messages, roots: list[str]) -> dict[str, dict[str, str]]:
    """The roots and what they are made of."""
    found: dict[str, dict[str, str]] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = {str(number): field for number, field in sorted(messages[name].items())}
        kinds = (field.rpartition(" ")[2].strip("*{!") for field in found[name].values())
        waiting += [kind for kind in kinds if "/" in kind]
    return dict(sorted(found.items()))


if __name__ == "__main__":
    kinds = [message_of(resource.api_version, resource.kind) for resource in RESOURCES]
    written = needed(read(Path(sys.argv[1]), Path(sys.argv[2])), [*kinds, *_OTHERS])
    lines = b",\n".join(orjson.dumps(name) + b":" + orjson.dumps(fields) for name, fields in written.items())
    Path(__file__).with_name("protobuf.json").write_bytes(b"{\n" + lines + b"\n}\n")
