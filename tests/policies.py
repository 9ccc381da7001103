"""What the IAM policies that are shipped allow."""

from __future__ import annotations

import json
from pathlib import Path

_FOLDER = Path(__file__).parents[1] / "manifests" / "iam"


def allowed(*names: str) -> set[str]:
    """The actions of these documents of `manifests/iam`, such as `logs:GetLogEvents`."""
    actions: set[str] = set()
    for name in names:
        for statement in json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))["Statement"]:
            action = statement["Action"]
            actions |= {action} if isinstance(action, str) else set(action)
    return actions
