"""Exercises of chapter 03: what the default rules see, and what they don't."""

from __future__ import annotations

import re
from typing import Any

from labkit.attacks import catalogue
from labkit.exercises.exercise import Wrong, exercise
from labkit.exercises.trying import command_line, command_lines, report, rules_of, run
from labkit.target import Target

_RULE = "Read sensitive file untrusted"


@exercise(
    "03-one-alerts",
    "Three commands of your own, of which exactly one raises an alert",
    hints=(
        "Rules look at which file is opened, which program is started, and with which arguments. Reading "
        "`/etc/passwd` or `/etc/hostname` is everyday work. Which other files should no web server open?",
        "The rule `Read sensitive file untrusted` knows more files than the one with the passwords. "
        '`labkit rules explain "Read sensitive file untrusted" --default-rules` in a terminal shows which; '
        "one of them is in every Debian image.",
    ),
)
def one_alerts(target: Target, commands: Any) -> str:
    """`commands`: three command lines. They are run in the nginx pod."""
    lines = command_lines(commands, 3)
    shown = {attack.command: attack.name for attack in catalogue()}
    for line in lines:
        if line in shown:
            raise Wrong(f"`{line}` is the catalogue's `{shown[line]}`. Find one that isn't on this page.")
        if "/etc/shadow" in line:
            raise Wrong(f"`{line}`: that file is on this page. Find another one, or another rule.")
    tried = report(target, lines)
    told = "\n".join(text for _, text in tried.values())
    alerting = sum(bool(rules) for rules, _ in tried.values())
    if alerting != 1:
        raise Wrong(f"{alerting or 'None'} of them raised an alert; it has to be one.\n\n{told}")
    return told


@exercise(
    "03-silent-read",
    "Read the first line of /etc/shadow, and raise no alert",
    hints=(
        "The rule leaves out programs that read account files because that is what they are for. Ask for the rule's "
        "expanded condition: which programs are those? Some of them do what you tell them.",
        "Shells are among them, and a shell can read a line of a file without starting a program: "
        "`help read` in a terminal's bash.",
    ),
)
def silent_read(target: Target, line: Any) -> str:
    """`line`: a command line that prints the first line of `/etc/shadow`."""
    line = command_line(line)
    done = run(target, line)
    first = re.search(r"^root:[^:\n]*:(\d*)(:\d*){6}\r?$", done.stdout, re.M)
    if first is None:
        if re.match(r"root:\S*:\S* +\w+:", done.stdout):
            rules = rules_of(target, done)
            seen = f" And Falco saw it: {', '.join(rules)}." if rules else ""
            raise Wrong(
                f"`{line}` printed the whole file, on one line: a shell joins the words of `$(...)` by spaces unless "
                f"it is in double quotes. Print the first line only.{seen}"
            )
        printed = (done.stdout or done.stderr).strip()[:200] or "nothing"
        raise Wrong(f"`{line}` didn't print the first line of `/etc/shadow`. It printed: {printed}")
    plain = re.sub(r"[\"'\\]", "", line)
    if first[0].strip() in plain or (len(first[1]) > 3 and first[1] in plain):
        raise Wrong("That prints what you know already. Read it from the file.")
    if "shadow" not in plain and not re.search(r"[*?\[$]", line):
        raise Wrong("It printed such a line, but doesn't name the file. Read it from `/etc/shadow`.")
    if rules := rules_of(target, done):
        ask = "Which programs does the rule leave out?"
        if _RULE not in rules:
            ask = (
                f"But not *{_RULE}*: that one left your program out. What else about the command does this one look at?"
            )
        raise Wrong(f"It printed the line, and Falco saw it: {', '.join(rules)}. {ask}")
    return (
        f"`{line}` printed the line, and no rule alerted. An intruder can do this, too: a rule with an exception for "
        "shells has a hole of the size of a shell. Rules raise the price of an attack; they don't make it impossible."
    )
