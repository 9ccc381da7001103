"""Exercises of chapter 05: an intruder in a day of alerts, and an exception for the noisiest rule of that day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.calls import short_repr
from labkit.exercises import recorded_day
from labkit.exercises.exercise import Wrong, exercise, keyed
from labkit.show import counted
from labkit.target import Target

if TYPE_CHECKING:
    import pandas as pd

    from falcorules import Alert, Engine, RecordedEvent

_KEYS = ("pod", "first_alert", "shell_to", "left_behind", "moved_to")
_SHELLS = ("ash", "bash", "dash", "sh")
_MOST_ERRORS = 3
# What is another's after a rollout.
_LATER = {
    "k8s.pod.name": f"{recorded_day.NOISY_PROGRAM}-6d5c9f7b48-x2k4q",
    "k8s.pod.uid": "6f9619ff-8b86-4d01-b42d-00cf4fc964ff",
    "container.id": "0123456789ab",
    **dict.fromkeys(("k8s.pod.ip", "fd.cip", "fd.lip"), "10.0.7.77"),
}
# Another program in another pod, which has the name of the noisy one.
_DISGUISED = {
    "container.image": "docker.io/library/nginx:1.29",
    "container.image.repository": "docker.io/library/nginx",
    "proc.exepath": f"/tmp/{recorded_day.NOISY_PROGRAM}",
    "k8s.ns.name": "shop",
    "k8s.pod.name": "another",
}


@exercise(
    "05-intruder",
    "Find the intruder among a day of alerts",
    hints=(
        "Noise repeats itself: the same program in the same kind of pod, all day. Take a pod whose row in the heat map "
        "has more rules than the rows of its siblings, and look at what it did that they didn't do.",
        "The pods of the blog start shells all day, for pictures. List the command lines of one pod's "
        "`Run shell untrusted` that don't begin with `sh -c convert`. The intruder's last commands in that pod name "
        "the pod that it went on to; its first alert there is of another rule, some minutes before the first shell. "
        "Or run `day.falco.incidents()`: it ranks what belongs together, and `day.falco.incident(1)` has the alerts of "
        "the first.",
    ),
)
def intruder(target: Target, answer: Any) -> str:
    """`answer`: a dict of the pod, the time of the first alert, where the shell's connection leads, the program that
    was left behind, and the second pod."""
    keyed(answer, _KEYS)
    texts = [key for key in _KEYS if key != "first_alert"]
    if odd := next((key for key in texts if not isinstance(answer[key], str)), ""):
        raise Wrong(f"`{odd}` has to be text; it is `{short_repr(answer[odd])}`.")
    given = {key: answer[key].strip() for key in texts}
    day = recorded_day.frame(target.settings.root)
    visit = recorded_day.intruder(day)
    first = str(visit["k8s.pod.name"].iloc[0])
    second = next(str(pod) for pod in visit["k8s.pod.name"] if pod != first)
    if given["pod"].rpartition("/")[2] == second:
        raise Wrong(f"`pod`: `{second}` is where it went later. Where did it begin?")
    _pod(day, given["pod"], first, "`pod`")
    _first_alert(day, visit, answer["first_alert"])
    _shell_to(visit, given["shell_to"])
    brought = visit[visit["priority"] >= "Critical"]["proc.exepath"].astype(str)
    _left(day, given["left_behind"], *brought.unique())
    if given["moved_to"].rpartition("/")[2] == first:
        raise Wrong(f"`{first}` is where it began. Where did it go from there? Its last commands name a pod.")
    _pod(day, given["moved_to"], second, "`moved_to`")
    critical = day["priority"] >= "Critical"
    minutes = (visit["time"].iloc[-1] - visit["time"].iloc[0]).total_seconds() / 60
    return (
        f"It came by a path with `../` through the web server in `{first}`, had commands run, looked for keys, started "
        "a program that it had brought along and a shell that answers to an address outside, asked the API server for "
        f"pods, and went on to `{second}`, where it read secrets and emptied a log: {len(visit)} alerts in "
        f"{minutes:.0f} minutes.\n\n"
        f"Of {counted(len(day), 'alert')} that day {critical.sum()} were critical, and only "
        f"{(visit['priority'] >= 'Critical').sum()} of those were the intruder's: a high priority alone doesn't find "
        "one, and a low one may. The first shell was a `Notice`, one of hundreds."
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
        f"{parents}. Is that unusual for such a pod, or do its siblings do that, too?"
    )


def _first_alert(day: pd.DataFrame, visit: pd.DataFrame, given: Any) -> None:
    """Raises `Wrong` unless a time, a text or a Timestamp, is in the minute of the intruder's first alert."""
    import pandas as pd

    if isinstance(given, int | float) and not isinstance(given, bool) and abs(given) < 1_000_000:  # no nanoseconds
        hour, rest = divmod(int(given), 100) if 100 <= given < 2400 else (9, 41)
        raise Wrong(
            f'`first_alert`: write the time in quotes, such as `"{hour:02}:{min(rest, 59):02}"`; it is the number '
            f"`{short_repr(given)}`."
        )
    date = day["time"].iloc[0]
    when: pd.Timestamp | None
    try:
        when = pd.Timestamp(f"{date:%Y-%m-%d} {given}" if isinstance(given, str) and "-" not in given else given)
        when = when.tz_localize("UTC") if when.tzinfo is None else when.tz_convert("UTC")
    except (ValueError, TypeError, OverflowError):
        when = None
    if when is None or pd.isna(when):
        raise Wrong(
            f'`first_alert` has to be a time, such as "09:41" or a value of `time`; it is `{short_repr(given)}`.'
        )
    minute = pd.Timedelta(minutes=1)
    start = visit["time"].iloc[0].floor("min")
    if start <= when < start + minute:
        return
    if when >= start:
        before = visit[visit["time"] < when.floor("min")]
        if when < visit["time"].iloc[-1] + minute:
            raise Wrong(
                f"`first_alert`: by {when:%H:%M} the intruder is there already, with {counted(len(before), 'alert')}. "
                "Look at what that pod's alerts were before the one that you have found."
            )
        raise Wrong(f"`first_alert`: at {when:%H:%M} the intruder has left.")
    raise Wrong(
        f"`first_alert`: at {when:%H:%M} the intruder isn't there yet. Not every alert of that pod is the intruder's."
    )


def _shell_to(visit: pd.DataFrame, given: str) -> None:
    redirected = visit[visit["rule"] == "Redirect STDOUT/STDIN to Network Connection in Container"]
    connection = str(redirected["fd.name"].iloc[0])
    client, server = (end.rpartition(":") for end in connection.split("->"))
    if given.rpartition("->")[2] in (server[0], "".join(server)):
        return
    if given in (client[0], "".join(client)):
        raise Wrong(f"`shell_to`: `{given}` is the pod's own end of the connection.")
    raise Wrong(
        f"`shell_to`: not `{given}`. `{redirected['rule'].iloc[0]}` is about shells whose input and output are a "
        "connection; its `fd.name` has both ends."
    )


def _left(day: pd.DataFrame, given: str, right: str, *removed: str) -> None:
    if given == right:
        return
    if given == right.rpartition("/")[2]:
        raise Wrong(f"`left_behind`: `{given}` is the program; give its whole path, `proc.exepath`.")
    if given in removed:
        raise Wrong(f"`left_behind`: `{given}` was brought along, too, but the intruder destroyed it in the end.")
    seen = day[day["proc.exepath"] == given]
    if seen.empty:
        if shell := _shell_of_script(day, given):
            raise Wrong(
                f"`left_behind`: `{given}` is a script, which a shell ran: the `proc.exepath` of that alert is the "
                f"shell's, `{shell}`. A program is meant."
            )
        raise Wrong(f"`left_behind`: no alert is about a program at `{given}`.")
    critical = seen[seen["priority"] >= "Critical"]
    what = "the image has that program, and the intruder didn't bring it along"
    if len(critical):
        namespace = critical["k8s.ns.name"].iloc[0]
        what = f"{counted(len(critical['k8s.pod.name'].unique()), 'pod')} ran it, in the namespace {namespace}"
        what += ": builds do that" if namespace == "ci" else ", and not only in the hour of the intruder"
    raise Wrong(f"`left_behind`: `{given}` isn't it: {what}.")


def _shell_of_script(day: pd.DataFrame, path: str) -> str:
    """The path of the shell that ran a script, according to the alerts; empty if none did."""
    words = day["proc.cmdline"].astype("string").fillna("").str.split(n=2)
    ran = day[(words.str[1] == path).fillna(False) & day["proc.name"].isin(_SHELLS)]
    return str(ran["proc.exepath"].iloc[0]) if len(ran) else ""


@exercise(
    "05-exception",
    "Quieten the noisiest rule of the day, and lose nothing of the intruder",
    hints=(
        "An exception has a `name`, `fields`, and `values`: lists of one value for each field. It is added to a rule "
        "by its name, and `override: {exceptions: append}`.",
        "What tells the noise from all else is the image together with the program's path: `fields: "
        "[container.image.repository, proc.exepath]`. The day's frame has the values, in columns of these names.",
    ),
)
def exception(target: Target, answer: Any) -> str:
    """`answer`: rules as text, or a draft of `%%rule`, that are loaded after Falco's."""
    import falcorules

    text = getattr(answer, "text", answer)
    if not isinstance(text, str):
        raise Wrong(f"It has to be the text of a rule file; it is `{short_repr(answer)}`.")
    files = [falcorules.default_rules(), ("exception.yaml", text)]
    report = falcorules.check(files)
    if report.errors:
        raise Wrong(_refused(files, text) or f"Falco refuses it: {report.errors[0].message.strip()}")
    before = recorded_day.raised(target.settings.root)
    events = recorded_day.events(target.settings.root)
    after = {_identity(a) for a in falcorules.load(files).replay(events)}
    gone = [alert for alert in before if _identity(alert) not in after]
    new = len(after) - len(before) + len(gone)
    visit = set(recorded_day.intruder(recorded_day.frame(target.settings.root))["evt.time"].tolist())
    noise = [alert for alert in before if _is_noise(alert)]
    _hides_nothing([alert for alert in gone if alert.time in visit], noise)
    left = sum(_identity(alert) in after for alert in noise)
    if not gone:
        raise Wrong(
            f"Nothing changes: there are still {len(before):,} alerts. Do the values agree with those of the alerts, "
            "letter by letter?"
        )
    if left > len(noise) // 20:
        raise Wrong(
            f"{counted(len(gone), 'alert')} fewer (of {_rules(gone)}), and nothing of the intruder is lost. But "
            f"{left:,} of {len(noise):,} that make the noise are left."
        )
    if new:
        raise Wrong(f"There are {counted(new, 'alert')} that weren't there before: it is more than an exception.")
    return _told(files, events, before, gone)


def _identity(alert: Alert) -> tuple[int, str]:
    return alert.time, alert.rule


def _is_noise(alert: Alert) -> bool:
    fields = alert.output_fields
    return alert.rule == recorded_day.NOISY_RULE and fields.get("proc.name") == recorded_day.NOISY_PROGRAM


def _refused(files: list[tuple[str, str]], text: str) -> str:
    """The errors of the last file: where, in plain words, and in Falco's; empty if none is known."""
    import falcorules

    lines = text.split("\n")
    told = []
    for mark in falcorules.annotate(files, files[-1][0]).errors[:_MOST_ERRORS]:
        line = lines[mark.line].strip().replace("`", "'") if mark.line >= 0 else ""
        where = f"Line {mark.line + 1}, `{line}`: " if line else f"Line {mark.line + 1}: " if mark.line >= 0 else ""
        own = f" (Falco: {mark.said})" if mark.said and mark.said != mark.words else ""
        told.append(f"{where}{mark.words}{own}")
    return "\n\n".join(["Falco refuses it.", *told]) if told else ""


def _rules(alerts: list[Alert]) -> str:
    return ", ".join(f"`{rule}`" for rule in sorted({alert.rule for alert in alerts}))


def _hides_nothing(lost: list[Alert], noise: list[Alert]) -> None:
    """Raises `Wrong` if alerts of the intruder are lost."""
    if not lost:
        return
    noisy_pods = {str(alert.output_fields["k8s.pod.name"]) for alert in noise}
    pods = {str(alert.output_fields["k8s.pod.name"]) for alert in lost}
    where = "in both of its pods"
    if len(pods) == 1:
        where = "in the noisy pod, where it ran other programs" if pods <= noisy_pods else "in the pod where it began"
    ask = "What do the alerts of the noise have in common that those don't have?"
    if all(alert.rule != recorded_day.NOISY_RULE for alert in lost):
        ask = f"The noise is of `{recorded_day.NOISY_RULE}`: leave other rules as they are."
    raise Wrong(
        f"It is too wide: {counted(len(lost), 'alert')} of the intruder would be gone (of {_rules(lost)}), {where}. "
        f"{ask}"
    )


def _told(
    files: list[tuple[str, str]], events: list[RecordedEvent], before: tuple[Alert, ...], gone: list[Alert]
) -> str:
    """What there is to say of a right answer: how much is gone, and what might get past it on another day."""
    import falcorules

    told = [f"{len(before):,} alerts become {len(before) - len(gone):,}, and none of the intruder's is lost."]
    if others := [alert for alert in gone if alert.rule != recorded_day.NOISY_RULE]:
        told.append(f"{counted(len(others), 'alert')} of {_rules(others)} are gone, too: is that meant?")
    if programs := len(gone) - len(others) - sum(map(_is_noise, gone)):
        told.append(f"{counted(programs, 'alert')} of other programs are gone, too: is that meant?")
    engine = falcorules.load(files)
    time = next(alert.time for alert in gone if _is_noise(alert))
    ordinary = next(event.to_dict() for event in events if event.time == time)
    if not _silent(engine, ordinary | _LATER):
        told.append(
            "But it holds for the pods or containers of today only: after the next rollout they have other names, and "
            "the noise is back. The image and the program's path stay."
        )
    if _silent(engine, ordinary | _DISGUISED):
        told.append(
            "But any program that calls itself so gets past it, in any pod. Names are easily given; an image with the "
            "path of its program isn't."
        )
    return "\n\n".join(told)


def _silent(engine: Engine, fields: dict[str, Any]) -> bool:
    import falcorules

    return not engine.replay([falcorules.RecordedEvent(fields)]).alerts
