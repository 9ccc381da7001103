"""What the API server takes, the lab takes: variants of every kind, and what the project itself installs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.defaults import set_defaults
from ekslab.kubernetes.objects.schema import decode
from ekslab.kubernetes.objects.validation import validate
from tests.ekslab.kubernetes.objects.valid_objects import BASES, valid_objects

ROOT = Path(__file__).parents[4]


def wrong(obj: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The unknown fields of an object, and the causes for which it is refused."""
    resource = r.by_kind(obj["apiVersion"], obj["kind"])
    assert resource is not None
    decoded, unknown = decode(resource, obj)
    metadata = decoded["metadata"]
    # What the registry gives a new object.
    metadata["uid"] = "u"
    if not metadata.get("name"):
        metadata["name"] = f"{metadata['generateName']}x"
    set_defaults(resource, decoded)
    return unknown, [f"{cause.field}: {cause.detail}" for cause in validate(resource, decoded)]


@pytest.mark.parametrize("kind", BASES)
def test_valid_objects_stay_accepted(kind: str) -> None:
    objects = list(valid_objects(kind))
    assert len(objects) >= 60
    refused = [(obj, found) for obj in objects if (found := wrong(obj)) != ([], [])]
    assert refused == []


@pytest.mark.parametrize("kind", BASES)
def test_an_object_with_its_defaults_is_valid_and_gets_no_others(kind: str) -> None:
    for obj in valid_objects(kind):
        resource = r.by_kind(obj["apiVersion"], obj["kind"])
        assert resource is not None
        decoded, _ = decode(resource, obj)
        decoded["metadata"].update(uid="u", name=decoded["metadata"].get("name", "n"))
        set_defaults(resource, decoded)
        again, unknown = decode(resource, decoded)
        set_defaults(resource, again)
        assert (again, unknown) == (decoded, [])
        assert validate(resource, again, decoded) == []


MANIFESTS = [path for path in sorted((ROOT / "manifests").rglob("*.yaml")) if "apiVersion: " in path.read_text()]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_the_projects_manifests_are_valid(path: Path) -> None:
    for obj in yaml.safe_load_all(path.read_text()):
        if isinstance(obj, dict) and r.by_kind(str(obj.get("apiVersion")), str(obj.get("kind"))) is not None:
            assert wrong(obj) == ([], []), path
