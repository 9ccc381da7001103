"""Sorts alerts for a person who has to look into them: which belong together, what is rare, what is new.

Each function takes a frame of `labkit.alerts.read` (or rows of it) and gives a frame; `df.falco` has them as methods.
"""

from __future__ import annotations

from labkit.triage.ancestry import Tree, processes, tree
from labkit.triage.difference import compare
from labkit.triage.display import Incidents
from labkit.triage.grouping import incident, incidents
from labkit.triage.novelty import COMBINATION, first_seen, rare
from labkit.triage.places import places
from labkit.triage.stepwise import steps

__all__ = [
    "COMBINATION",
    "Incidents",
    "Tree",
    "compare",
    "first_seen",
    "incident",
    "incidents",
    "places",
    "processes",
    "rare",
    "steps",
    "tree",
]
