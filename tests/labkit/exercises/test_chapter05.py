"""The exercises of chapter 05, answered wrongly and rightly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import matplotlib.pyplot as plt
import pandas as pd
import pytest

import labkit.charts.accessor  # noqa: F401 - df.falco
from labkit import exercises
from labkit.exercises import NotYet, recorded_day
from labkit.settings import Settings
from labkit.target import Target

RULE = recorded_day.NOISY_RULE


@pytest.fixture(scope="module")
def day(workshop: Path) -> pd.DataFrame:
    return recorded_day.frame(workshop)


@pytest.fixture
def target(workshop: Path, tmp_path: Path) -> Target:
    """Only its settings are used."""
    return Target(Settings.load(environ={}, root=workshop, home=tmp_path), *cast(Any, [None] * 5))


@pytest.fixture(scope="module")
def right(day: pd.DataFrame) -> dict[str, Any]:
    """The answer, found as an attendee might: the pod with the most rules, and what it did that its siblings didn't."""
    rules = day.groupby(day["k8s.pod.name"].astype(str))["rule"].nunique()
    rules = rules[rules.index.str.startswith("blog-")]
    pod = str(rules.idxmax())
    there = day[day["k8s.pod.name"] == pod]
    brought = there[there["rule"] == "Drop and execute new binary in container"]
    moved_to = next(
        other for other in day["k8s.pod.name"].dropna().unique() if other in brought["proc.cmdline"].iloc[-1]
    )
    redirected = there[there["rule"].astype(str).str.startswith("Redirect")]
    return {
        "pod": pod,
        "first_alert": there[there["rule"] == "Directory traversal monitored file read"]["time"].iloc[0],
        "shell_to": redirected["fd.name"].iloc[0].split("->")[1].split(":")[0],
        "left_behind": brought["proc.exepath"].iloc[0],
        "moved_to": moved_to,
    }


def other(day: pd.DataFrame, deployment: str, not_this: str) -> str:
    pods = day["k8s.pod.name"].astype(str)
    return str(pods[pods.str.startswith(deployment) & (pods != not_this)].iloc[0])


def test_the_right_answer_in_several_forms(target: Target, right: dict[str, Any]) -> None:
    told = exercises.check(target, "05-intruder", right)
    assert told.right
    assert "39 alerts in 47 minutes" in told.text
    assert "only 3 of those were the intruder's" in told.text
    first = right["first_alert"]
    for when in (
        first.value,
        "13:07",
        "13:07:24",
        f"{first:%Y-%m-%d %H:%M}",
        str(first),
        first.tz_convert("Asia/Tokyo"),
    ):
        assert exercises.check(target, "05-intruder", right | {"first_alert": when}).right
    written = {"pod": f"shop/{right['pod']}", "moved_to": f" platform/{right['moved_to']} "}
    assert exercises.check(target, "05-intruder", right | written).right
    assert exercises.check(target, "05-intruder", right | {"shell_to": f"{right['shell_to']}:443"}).right


def test_the_cell_after_it_takes_a_pod_with_its_namespace_too(
    workshop: Path, right: dict[str, Any], day: pd.DataFrame
) -> None:
    notebook = json.loads((workshop / "notebooks/05-alerts-in-pandas.ipynb").read_text(encoding="utf-8"))
    sources = ["".join(cell["source"]) for cell in notebook["cells"]]
    cell = next(source for source in sources if source.endswith("visit.falco.sequence()"))
    prefixed = {"pod": f"shop/{right['pod']}", "moved_to": f" platform/{right['moved_to']} "}
    for answer in (right, right | prefixed):
        names: dict[str, Any] = {"day": day, "intruder": answer}
        exec(cell, names)
        assert len(names["visit"]) == 39
        assert set(names["visit"]["k8s.pod.name"]) == {right["pod"], right["moved_to"]}
        plt.close("all")


def test_the_second_pod_is_not_where_it_began(target: Target, right: dict[str, Any]) -> None:
    with pytest.raises(NotYet, match="is where it went later"):
        exercises.check(target, "05-intruder", right | {"pod": f"platform/{right['moved_to']}"})


def test_wrong_answers_are_told_what_is_wrong_with_them(
    target: Target, right: dict[str, Any], day: pd.DataFrame
) -> None:
    sibling = other(day, "blog-", right["pod"])
    wrong: list[tuple[Any, str]] = [
        (right | {"pod": "blog"}, "`pod`: no pod `blog` alerted that day"),
        (right | {"pod": sibling}, f"`pod`: `{sibling}` isn't it. It has"),
        (right | {"first_alert": "13:10:51"}, "by 13:10 the intruder is there already, with 2 alerts. Look at what"),
        (right | {"first_alert": "12:22"}, "at 12:22 the intruder isn't there yet"),
        (right | {"first_alert": "17:30"}, "at 17:30 the intruder has left"),
        (right | {"first_alert": [9]}, "has to be a time, such as"),
        (right | {"first_alert": "at noon"}, "has to be a time, such as"),
        (right | {"first_alert": 1307}, '`first_alert`: write the time in quotes, such as `"13:07"`; it is the number'),
        (right | {"first_alert": 13}, 'write the time in quotes, such as `"09:41"`'),
        (right | {"first_alert": True}, "has to be a time, such as"),
        (right | {"shell_to": "10.0.3.9"}, "not `10.0.3.9`. `Redirect STDOUT/STDIN to"),
        (right | {"shell_to": "10.100.0.1"}, "its `fd.name` has both ends"),
        (right | {"left_behind": "fc-cache"}, "give its whole path"),
        (right | {"left_behind": "/tmp/.font-unix/kc"}, "but the intruder destroyed it in the end"),
        (right | {"left_behind": "/tmp/strace"}, "1 pod ran it, in the namespace shop, and not only in the hour"),
        (right | {"left_behind": "/usr/bin/grep"}, "the image has that program"),
        (right | {"left_behind": "/dev/shm/.u"}, "is a script, which a shell ran: the `proc.exepath` of that alert is"),
        (right | {"left_behind": "/dev/shm/.c"}, "no alert is about a program at `/dev/shm/.c`"),
        (right | {"left_behind": "/sbin/init"}, "no alert is about a program at `/sbin/init`"),
        (right | {"moved_to": right["pod"]}, "is where it began"),
        (right | {"moved_to": other(day, "config-sync-", right["moved_to"])}, "`moved_to`: `config-sync-"),
        (right | {"shell_to": 3}, "`shell_to` has to be text; it is `3`"),
        (right | {"more": "x"}, "Nothing was asked of `more`. "),
        ("nginx", "It has to be a dict, as the cell above began with: {'pod': ..., "),
    ]
    for answer, said in wrong:
        with pytest.raises(NotYet) as caught:
            exercises.check(target, "05-intruder", answer)
        assert said in str(caught.value)
        asked = list(answer.values()) if isinstance(answer, dict) else []
        for key in ("moved_to", "left_behind"):
            assert right[key] in asked or right[key] not in str(caught.value), "it gives the answer away"


def exception(fields: str, *values: Any) -> str:
    """An exception as an attendee writes it."""
    return (
        f"- rule: {RULE}\n  exceptions:\n    - name: known\n      fields: {fields}\n      values: {list(values)}\n"
        "  override: {exceptions: append}\n"
    )


IMAGE = "111122223333.dkr.ecr.us-east-1.amazonaws.com/platform/config-sync"
PATH = "/usr/local/bin/config-sync"


KNOWN = exception("[container.image.repository, proc.exepath]", [IMAGE, PATH])
OTHER = "- rule: Run shell untrusted\n  enabled: false\n  override: {enabled: replace}\n"


@pytest.mark.parametrize(
    "text",
    [
        KNOWN,
        "- macro: user_known_contact_k8s_api_server_activities\n"
        f"  condition: (container.image.repository = {IMAGE} and proc.exepath = {PATH} and not proc.tty > 0)\n"
        "  override: {condition: replace}\n",
    ],
)
def test_an_exception_that_is_about_the_noise_and_nothing_else(target: Target, text: str) -> None:
    told = exercises.check(target, "05-exception", text)
    assert told.text == "3,096 alerts become 1,175, and none of the intruder's is lost."


def test_an_exception_that_works_today_and_could_be_got_past(target: Target) -> None:
    told = exercises.check(target, "05-exception", exception("[proc.name]", ["config-sync"]))
    assert "But any program that calls itself so gets past it" in told.text
    assert "rollout" not in told.text
    both = KNOWN + exception("[container.image.repository]", [IMAGE.replace("config-sync", "toolbox")]).replace(
        "name: known", "name: tools"
    )
    assert (
        "26 alerts of other programs are gone, too: is that meant?"
        in exercises.check(target, "05-exception", both).text
    )


def test_an_exception_that_is_over_with_the_next_rollout(target: Target, day: pd.DataFrame) -> None:
    noise = day[(day["rule"] == RULE) & (day["proc.name"] == "config-sync")]
    pods = [str(pod) for pod in noise["k8s.pod.name"].unique()]
    told = exercises.check(
        target, "05-exception", exception("[k8s.pod.name, proc.name]", *([pod, "config-sync"] for pod in pods))
    )
    assert told.right
    assert "after the next rollout they have other names, and the noise is back" in told.text
    lasts = exception("[container.image.repository, proc.exepath, fd.sip]", [IMAGE, PATH, "10.100.0.1"])
    assert "rollout" not in exercises.check(target, "05-exception", lasts).text


def test_what_else_is_gone_is_named_by_its_rule(target: Target) -> None:
    also = OTHER.replace("Run shell untrusted", "Disallowed SSH Connection Non Standard Port")
    told = exercises.check(target, "05-exception", KNOWN + also)
    assert "of `Disallowed SSH Connection Non Standard Port` are gone, too: is that meant?" in told.text
    assert "other programs" not in told.text


def test_a_check_without_an_answer_says_that_it_is_missing(target: Target) -> None:
    with pytest.raises(NotYet, match=r'The answer is missing: `lab.check\("05-intruder", ...\)`'):
        exercises.check(target, "05-intruder")


def test_the_last_hint_names_the_incidents_and_hints_have_no_asterisks(target: Target) -> None:
    hints = [exercises.hint(target, "05-intruder").text for _ in range(2)]
    assert "day.falco.incidents()" in hints[1]
    assert not any("*" in hint for hint in hints)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (exception("container.image.repository", IMAGE), "It is too wide: 5 alerts of the intruder would be gone"),
        (exception("[k8s.ns.name]", ["platform"]), "in the noisy pod, where it ran other programs"),
        (f"- rule: {RULE}\n  enabled: false\n", "10 alerts of the intruder would be gone (of `Contact K8S"),
        (OTHER, "10 alerts of the intruder would be gone (of `Run shell untrusted`), in the pod where it began."),
        (KNOWN + OTHER, f"in the pod where it began. The noise is of `{RULE}`: leave other rules as they are."),
        (
            OTHER.replace("Run shell untrusted", "Execution from /dev/shm"),
            "1 alert of the intruder would be gone (of `Execution from /dev/shm`), in the noisy pod, where it ran",
        ),
        (
            OTHER.replace("Run shell untrusted", "Disallowed SSH Connection Non Standard Port"),
            "fewer (of `Disallowed SSH Connection Non Standard Port`), and nothing of the intruder is lost",
        ),
        (f"- rule: {RULE}\n  enabled: false\n", "in both of its pods. What do the alerts of the noise have in common"),
        (exception("[proc.exepath]", ["config-sync"]), "Nothing changes: there are still 3,096 alerts"),
        (
            exception("[proc.exepath, fd.lport]", [PATH, 40000]).replace("values", "comps: [=, '>']\n      values"),
            "1,921 that make the noise are left",
        ),
        ("- rule: x", "Line 1, `- rule: x`: The keys `condition`, `desc`, `output` and `priority` are missing."),
        (KNOWN.partition("  override")[0], f"Line 1, `- rule: {RULE}`: There is a rule of this name already"),
        (KNOWN.partition("  override")[0], "(Falco: Item has no mapping for key 'enabled')"),
        (KNOWN.replace("append", "replace"), "To add an exception, use `exceptions: append`"),
        (exception("[container.image.repository, proc.exepath]", IMAGE, PATH), "`values` is a list of lists"),
        (KNOWN.replace("Server From", "Server from"), f"Did you mean '{RULE}'?"),
        (KNOWN.replace("      fields", "     fields"), "The indentation of this line fits nothing above it"),
        (exception("[proc.path]", ["x"]), "There is no field `proc.path`. Did you mean 'proc.exepath'?"),
        (exception("[proc.path]", ["x"]), "Falco refuses it."),
        ("no rules", "A rules file is a list of items"),
        (
            exception("[container.image.repository, proc.exepath]", [IMAGE, PATH])
            + "- rule: All shells\n  desc: x\n  priority: NOTICE\n  output: x\n"
            "  condition: evt.type = execve and proc.name = convert\n",
            "alerts that weren't there before: it is more than an exception",
        ),
        (3, "the text of a rule file; it is `3`"),
    ],
)
def test_exceptions_that_hide_the_intruder_or_leave_the_noise(target: Target, text: Any, said: str) -> None:
    with pytest.raises(NotYet) as caught:
        exercises.check(target, "05-exception", text)
    assert said in str(caught.value)
