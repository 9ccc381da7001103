"""What the API says of its types and fields, for `kubectl explain`.

The words are those of the models of the official Python client, which is installed with the lab. They are read from
its source files: importing the models of all kinds would take seconds and a lot of memory. `descriptions.yaml` has
words for fields that the models leave without.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from functools import cache
from importlib import resources
from pathlib import Path

import yaml

_PREFIXES = ("v1", "core_v1", "authentication_v1", "discovery_v1", "rbac_v1")
_FIELD = re.compile(r'^    (\w+): .*? = Field\((.*?)description=("(?:[^"\\\n]|\\.)*")', re.M)
_ALIAS = re.compile(r'serialization_alias="([^"]+)"')
_CLASS = re.compile(r'^class \w+\(BaseModel\):\n    """\n(.*?)\n\s*(?:Attributes:|""")', re.M | re.S)
# The form of clients before version 37: a property with a docstring for each field.
_PROPERTY = re.compile(
    r'^    @property\n    def (\w+)\(self\):\n        """Gets the .*?\n\n(.*?)\n\n        :return:', re.M | re.S
)
_MAP = re.compile(r"attribute_map(?:: [^=]+)? = \{(.*?)\}", re.S)


@cache
def own() -> dict[str, str]:
    """The lab's own descriptions, by the field's name."""
    loaded: dict[str, str] = yaml.safe_load(resources.files(__package__).joinpath("descriptions.yaml").read_text())
    return loaded


def describe(kind: str) -> tuple[str, dict[str, str]]:
    """The description of a type of the schema and of its fields; empty where the client has none."""
    source = _source(kind)
    if source is None:
        return "", {}
    found = _MAP.search(source)
    names: dict[str, str] = ast.literal_eval("{" + found[1] + "}") if found else {}
    fields = {}
    for match in _FIELD.finditer(source):
        alias = _ALIAS.search(match[2])
        fields[alias[1] if alias else match[1]] = str(ast.literal_eval(match[3]))
    for match in _PROPERTY.finditer(source):
        fields[names.get(match[1], match[1])] = " ".join(match[2].replace("# noqa: E501", "").split())
    about = _CLASS.search(source)
    return " ".join(about[1].split()) if about else "", fields


def _source(kind: str) -> str | None:
    spec = importlib.util.find_spec("kubernetes")
    if spec is None or spec.origin is None:
        return None
    models = Path(spec.origin).parent / "client" / "models"
    name = _file_name(kind)
    for candidate in (name, *(f"{prefix}_{name}" for prefix in _PREFIXES)):
        path = models / f"{candidate}.py"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return None


def _file_name(kind: str) -> str:
    """`HTTPGetAction` is described in `v1_http_get_action.py`."""
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", kind)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()
