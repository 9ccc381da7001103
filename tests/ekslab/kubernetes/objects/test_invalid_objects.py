"""Objects with one mistake each: the lab gives the answer that kube-apiserver 1.35 gave to the same object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from ekslab.kubernetes.objects import resources as r

SAMPLES = [json.loads(line) for line in Path(__file__).with_name("invalid_objects.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def session(running) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(running.ca)
        session.headers["Authorization"] = f"Bearer {running.credentials.kubernetes_token}"
        yield session


def posted(session: requests.Session, url: str, obj: dict[str, Any]) -> requests.Response:
    resource = r.by_kind(obj["apiVersion"], obj["kind"])
    assert resource is not None
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    namespace = "/namespaces/default" if resource.namespaced else ""
    path = f"{url}{root}{namespace}/{resource.plural}"
    return session.post(path, json=obj, params={"dryRun": "All", "fieldValidation": "Strict"})


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["name"])
def test_an_object_with_a_mistake_is_refused_as_on_a_cluster(session, running, sample: dict[str, Any]) -> None:
    answer = posted(session, running.url, sample["object"])
    status = answer.json()
    causes = (status.get("details") or {}).get("causes") or ()
    given = [[cause["field"], cause["reason"].removeprefix("FieldValue"), cause["message"]] for cause in causes]
    assert (answer.status_code, given) == (sample["status"], sample.get("causes", []))
    if "message" in sample:
        assert status["message"] == sample["message"]


def test_every_cause_is_in_the_message_once(session, running) -> None:
    twice = {"name": "a", "image": "n", "resizePolicy": [{"resourceName": "x", "restartPolicy": "NotRequired"}] * 2}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [twice]}}
    status = posted(session, running.url, pod).json()
    place = "spec.containers[0].resizePolicy"
    unsupported = f'{place}: Unsupported value: "x": supported values: "cpu", "memory"'
    assert status["message"] == f'Pod "p" is invalid: [{unsupported}, {place}[1]: Duplicate value: "x"]'
    assert len(status["details"]["causes"]) == 3
