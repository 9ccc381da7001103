"""Exercises of chapter 05: a day of alerts, and who doesn't belong there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.calls import short_repr
from labkit.exercises import recorded_day
from labkit.exercises.exercise import Wrong, exercise
from labkit.show import counted
from labkit.target import Target

if TYPE_CHECKING:
    import pandas as pd

_KEYS = ("pod", "parent", "left_behind", "moved_to")


@exercise(
    "05-intruder",
    "Find the intruder among a day of alerts",
    hints=(
        "Noise repeats itself: the same program, the same pods, all day. Look for rules that alerted in one pod only, "
        "or once or twice that day. `day.falco.summary()` has both numbers.",
        "No visitor of a web server opens a shell in it: look at all alerts of the pod in which *Run shell untrusted* "
        'alerted, with `day[day["k8s.pod.name"] == "..."]`. Then look at what other pods did in the half hour that '
        "follows, leaving out builds and the operator.",
    ),
)
def intruder(target: Target, answer: Any) -> str:
    """`answer`: a dict of the pod, the parent of the first shell, the program left behind, and the second pod."""
    if not isinstance(answer, dict) or set(answer) != set(_KEYS):
        raise Wrong(f"It has to be a dict with the keys {', '.join(f'`{key}`' for key in _KEYS)}.")
    if odd := next((key for key in _KEYS if not isinstance(answer[key], str)), ""):
        raise Wrong(f"`{odd}` has to be text; it is `{short_repr(answer[odd])}`.")
    given = {key: answer[key].strip() for key in _KEYS}
    day = recorded_day.frame(target.settings.root)
    shell, visit = recorded_day.first_shell(day), recorded_day.intruder(day)
    first = str(shell["k8s.pod.name"])
    second = str(visit[visit["k8s.pod.name"] != first]["k8s.pod.name"].iloc[0])
    left = str(visit[visit["priority"] >= "Critical"]["proc.exepath"].iloc[0])
    if given["pod"].rpartition("/")[2] == second:
        raise Wrong(f"`pod`: `{second}` is where it went later. Where did it begin?")
    _pod(day, given["pod"], first, "`pod`")
    if given["parent"].casefold() != str(shell["proc.pname"]).casefold():
        raise Wrong(
            f"`pod` is right. But the first shell there wasn't started by `{given['parent']}`: look at `proc.pname` of "
            "the first alert that is about a shell."
        )
    _left(day, given["left_behind"], left)
    if given["moved_to"].rpartition("/")[2] == first:
        raise Wrong(f"`{first}` is where it began. Where did it go from there? Its last commands name a namespace.")
    _pod(day, given["moved_to"], second, "`moved_to`")
    critical = day["priority"] >= "Critical"
    builds = critical & (day["k8s.ns.name"] == "ci")
    return (
        f"It came through the web server in `{first}`, and soon had a shell. It looked for keys, connected to the "
        f"outside, left `{left}` running, asked the API server for pods, and opened a terminal in `{second}`, where it "
        f"emptied a log.\n\nOf {counted(len(day), 'alert')} that day {critical.sum()} were critical, and "
        f"{builds.sum()} of those were builds: a high priority alone doesn't find an intruder, and a low one may. "
        "The first shell was a `Notice`."
    )


def _pod(day: pd.DataFrame, given: str, right: str, key: str) -> None:
    """Raises `Wrong` if a pod isn't the right one, with what is known of the one that was given."""
    name = given.rpartition("/")[2]
    if name == right:
        return
    there = day[day["k8s.pod.name"] == name]
    if there.empty:
        raise Wrong(f"{key}: no pod `{given}` alerted that day.")
    programs = ", ".join(f"`{program}`" for program in sorted(there["proc.name"].dropna().unique())[:4])
    parents = ", ".join(f"`{parent}`" for parent in sorted(there["proc.pname"].dropna().unique())[:4])
    raise Wrong(
        f"{key}: `{given}` isn't it. It has {counted(len(there), 'alert')}, of the programs {programs}, started by "
        f"{parents}. Is that unusual for such a pod, or does it do that all day?"
    )


def _left(day: pd.DataFrame, given: str, right: str) -> None:
    if given == right:
        return
    if given == right.rpartition("/")[2]:
        raise Wrong(f"`left_behind`: `{given}` is the program; give its whole path, `proc.exepath`.")
    seen = day[day["proc.exepath"] == given]
    if seen.empty:
        raise Wrong(f"`left_behind`: no alert is about a program at `{given}`.")
    critical = seen[seen["priority"] >= "Critical"]
    what = "the image has that program, and the intruder didn't bring it along"
    if len(critical):
        namespace = critical["k8s.ns.name"].iloc[0]
        what = f"{counted(len(critical), 'pod')} ran it, all in the namespace {namespace}: builds do that"
    raise Wrong(f"`left_behind`: `{given}` isn't it: {what}.")
