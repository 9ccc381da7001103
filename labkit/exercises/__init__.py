"""The chapters' exercises and checkpoints: what is asked, how an answer is checked, hints, and what has been done.

A chapter's exercises are in the module of its number. `Lab.check`, `Lab.hint`, `Lab.checkpoint` and `Lab.progress` use
them.
"""

from __future__ import annotations

from labkit.exercises.checkpoint import checkpoint
from labkit.exercises.exercise import Exercise, Wrong, check, exercises, find, hint
from labkit.exercises.feedback import Feedback, NotYet
from labkit.exercises.progress import table
from labkit.exercises.store import Progress

__all__ = [
    "Exercise",
    "Feedback",
    "NotYet",
    "Progress",
    "Wrong",
    "check",
    "checkpoint",
    "exercises",
    "find",
    "hint",
    "table",
]
