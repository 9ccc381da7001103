"""What of an object may change, and in which words kube-apiserver 1.35 refuses the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SAMPLES = [json.loads(line) for line in Path(__file__).with_name("changes.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["object"]["kind"])
def test_changes_are_taken_and_refused_as_on_a_cluster(session, collection, sample: dict[str, Any]) -> None:
    obj = sample["object"]
    url = collection(obj)
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
