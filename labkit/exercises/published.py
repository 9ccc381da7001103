"""Tells the instructor of a class how far an attendee is: ConfigMap `progress` in the attendee's own namespace."""

from __future__ import annotations

import json
from contextlib import suppress

from labkit.errors import LabError
from labkit.exercises.store import Progress
from labkit.kube.objects import WORKSHOP_LABELS, config_map
from labkit.target import Target

NAME, KEY = "progress", "progress.json"
"""The ConfigMap, and its key: exercises by name (`solved`, `hints`), and chapters by number (`reached`)."""


def publish(target: Target, progress: Progress) -> None:
    """Writes what has been done, for an attendee of a class. What can't be written is no reason to stop a chapter."""
    if not target.settings.attendee:
        return
    data = {KEY: json.dumps(progress.all())}
    with suppress(LabError):
        target.kube.apply_one(config_map(NAME, target.settings.app_namespace, data, labels=WORKSHOP_LABELS))
