"""A class at once, with kills: five attendees here, thirty by `python -m tests.class_of_thirty`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_attendees_at_the_same_moment_each_see_exactly_their_own(workshop: Path) -> None:
    command = [sys.executable, "-m", "tests.class_of_thirty", "--attendees", "5", "--killed", "2"]
    ran = subprocess.run(command, cwd=workshop, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "nothing is left" in ran.stdout
