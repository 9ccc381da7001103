"""What of the workshop has been done: exercises and checkpoints as a table."""

from __future__ import annotations

from labkit.exercises.exercise import exercises
from labkit.exercises.store import Progress
from labkit.settings import Settings
from labkit.show import Table, counted
from labkit.workbook import chapters


def table(settings: Settings) -> Table:
    """A row for each exercise and checkpoint, in the chapters' order."""
    progress = Progress(settings)
    rows = []
    for path in chapters(settings.root):
        number = path.stem[:2]
        for exercise in exercises().values():
            if exercise.chapter == number:
                taken = progress.hints(exercise.name)
                state = "solved" if progress.solved(exercise.name) else "to do"
                help_taken = f", {counted(min(taken, len(exercise.hints)), 'hint')}" if taken else ""
                help_taken += " and the solution" if taken > len(exercise.hints) else ""
                rows.append((path.stem, exercise.task, state + help_taken))
        rows.append((path.stem, "checkpoint", "reached" if progress.reached(number) else "to do"))
    done = sum(not state.startswith("to do") for _, _, state in rows)
    return Table(f"{done} of {len(rows)} done", ("chapter", "what", "state"), tuple(rows))
