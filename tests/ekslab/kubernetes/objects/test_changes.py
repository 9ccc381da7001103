"""What of an object may change, and in which words kube-apiserver 1.35 refuses the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from ekslab.kubernetes.objects import resources as r

SAMPLES = [json.loads(line) for line in Path(__file__).with_name("changes.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def session(running) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(running.ca)
        session.headers["Authorization"] = f"Bearer {running.credentials.kubernetes_token}"
        yield session


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["object"]["kind"])
def test_changes_are_taken_and_refused_as_on_a_cluster(session, running, sample: dict[str, Any]) -> None:
    obj = sample["object"]
    resource = r.by_kind(obj["apiVersion"], obj["kind"])
    assert resource is not None
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    url = f"{running.url}{root}{'/namespaces/default' if resource.namespaced else ''}/{resource.plural}"
    assert session.post(url, json=obj).status_code == 201
    try:
        for change in sample["changes"]:
            answer = session.patch(
                f"{url}/changed",
                params={"dryRun": "All"},
                data=json.dumps(change["patch"]),
                headers={"Content-Type": "application/merge-patch+json"},
            )
            said = answer.json()
            causes = ((said.get("details") or {}).get("causes") or ()) if answer.status_code >= 400 else ()
            given = [[c["field"], c["reason"].removeprefix("FieldValue"), c["message"].split("\n")[0]] for c in causes]
            assert (change["patch"], answer.status_code, given) == (
                change["patch"],
                change["status"],
                change.get("causes", []),
            )
            assert said.get("message") == change.get("message", said.get("message"))
    finally:
        session.delete(f"{url}/changed", json={"gracePeriodSeconds": 0})
