"""Exercises of chapter 03: what the default rules see."""

from __future__ import annotations

from typing import Any

from labkit.attacks import catalogue
from labkit.exercises.exercise import Wrong, exercise
from labkit.exercises.trying import command_lines, report
from labkit.target import Target


@exercise(
    "03-one-alerts",
    "Three commands of your own, of which exactly one raises an alert",
    hints=(
        "Rules look at which file is opened, which program is started, and with which arguments. Reading "
        "`/etc/passwd` or `/etc/hostname` is everyday work. Which files should no web server open?",
        "The rule *Read sensitive file untrusted* knows more files than `/etc/shadow`: look at the list "
        "`sensitive_file_names`, by `labkit rules explain` in a terminal. Any program that opens one of them will do.",
    ),
)
def one_alerts(target: Target, commands: Any) -> str:
    """`commands`: three command lines. They are run in the nginx pod."""
    lines = command_lines(commands, 3)
    shown = {attack.command: attack.name for attack in catalogue()}
    for line in lines:
        if line in shown:
            raise Wrong(f"`{line}` is the catalogue's `{shown[line]}`. Find one that isn't on this page.")
    tried = report(target, lines)
    told = "\n".join(text for _, text in tried.values())
    alerting = sum(bool(rules) for rules, _ in tried.values())
    if alerting != 1:
        raise Wrong(f"{alerting or 'None'} of them raised an alert; it has to be one.\n\n{told}")
    return told
