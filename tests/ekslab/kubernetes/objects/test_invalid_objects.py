"""Objects with one mistake each: the lab gives the answer that kube-apiserver 1.35 gave to the same object."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

SAMPLES = [json.loads(line) for line in Path(__file__).with_name("invalid_objects.jsonl").read_text().splitlines()]


@pytest.fixture
def posted(
    session: requests.Session, collection: Callable[[dict[str, Any]], str]
) -> Callable[[dict[str, Any]], requests.Response]:
    """The answer to an object that isn't kept."""
    strict = {"dryRun": "All", "fieldValidation": "Strict"}
    return lambda obj: session.post(collection(obj), json=obj, params=strict)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["name"])
def test_an_object_with_a_mistake_is_refused_as_on_a_cluster(posted, sample: dict[str, Any]) -> None:
    answer = posted(sample["object"])
    status = answer.json()
    causes = (status.get("details") or {}).get("causes") or ()
    given = [[cause["field"], cause["reason"].removeprefix("FieldValue"), cause["message"]] for cause in causes]
    assert (answer.status_code, given) == (sample["status"], sample.get("causes", []))
    if "message" in sample:
        assert status["message"] == sample["message"]


def test_every_cause_is_in_the_message_once(posted) -> None:
    twice = {"name": "a", "image": "n", "resizePolicy": [{"resourceName": "x", "restartPolicy": "NotRequired"}] * 2}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [twice]}}
    status = posted(pod).json()
    place = "spec.containers[0].resizePolicy"
    unsupported = f'{place}: Unsupported value: "x": supported values: "cpu", "memory"'
    assert status["message"] == f'Pod "p" is invalid: [{unsupported}, {place}[1]: Duplicate value: "x"]'
    assert len(status["details"]["causes"]) == 3
