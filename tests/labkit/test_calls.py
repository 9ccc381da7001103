"""Wrong calls: what is obviously meant is accepted, the rest is refused in two lines. No lab is needed for that."""

from __future__ import annotations

import inspect
import math
import pydoc
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pandas as pd
import pytest

import labkit
from labkit import Lab, alerts, attacks, charts, respond
from labkit.alerts.times import utc
from labkit.aws import Aws
from labkit.calls import checked, duration, is_text, near, seconds, short_repr, shortened, texts
from labkit.errors import LabError, StoppedError
from labkit.helm import Helm
from labkit.kube import Kube
from labkit.kube.command import command
from labkit.provision.steps import STEPS
from labkit.respond import alarms, costs, findings, metrics, ocsf
from labkit.settings import Settings
from labkit.target import Target

NOW = pd.Timestamp("2026-11-23T04:00:00Z")
FIVE_MINUTES = pd.Timedelta(minutes=5)


def bare_lab() -> Lab:
    """A lab that is connected to nothing: arguments are checked before anything is asked for."""
    settings = Settings.load(environ={})
    nothing: Any = None
    return Lab(Target(settings, Aws(settings.region, hint=""), Kube(), Helm(), nothing, nothing))


def frame() -> pd.DataFrame:
    return alerts.to_frame([])


def client(service: str) -> Any:
    """A boto3 client that nothing is asked of."""
    return boto3.client(service, "us-east-1", aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="none")  # type: ignore[call-overload]


COUNTER = metrics.Counter("mine", "Alerts")
WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "a misspelt keyword": (lambda: bare_lab().alerts(strat="5m"), "Did you mean 'start'"),  # type: ignore[call-arg]
    "a keyword of another verb": (lambda: bare_lab().exec("p", "ls", namespce="x"), "Did you mean 'namespace'"),  # type: ignore[call-arg]
    "too many arguments": (lambda: bare_lab().alerts("5m", "1m", "X"), "It takes start, end, rule"),  # type: ignore[misc]
    "too few arguments": (lambda: bare_lab().exec(), "It takes target, argv"),  # type: ignore[call-arg]
    "a list for one name": (lambda: bare_lab().apply(["nginx"]), "It has to be text"),  # type: ignore[arg-type]
    "a number for a name": (lambda: bare_lab().alerts(rule=5), "It has to be text"),  # type: ignore[arg-type]
    "no timeout": (lambda: bare_lab().wait_for_log("x", timeout="soon"), '"5m"'),  # type: ignore[arg-type]
    "a timeout of nan": (lambda: bare_lab().wait_for_alert("x", timeout=float("nan")), "seconds from 0"),
    "a negative timeout": (lambda: bare_lab().notifications(timeout=-1), "seconds from 0"),
    "an endless timeout": (lambda: bare_lab().wait_for_alarm("x", timeout=1e99), "seconds from 0"),
    "no result of exec": (lambda: bare_lab().alerts_of("ls"), "what lab.exec(...) returned"),  # type: ignore[arg-type]
    "no frame": (lambda: bare_lab().wait_for_counts([1]), "a frame of alerts"),  # type: ignore[arg-type]
    "a setting misspelt": (lambda: Lab.connect(clutser="x"), "Did you mean 'cluster'"),
    "a setting in place": (lambda: Lab.connect("eks"), "It takes target, region, cluster, context"),  # type: ignore[misc]
    "a step misspelt": (lambda: bare_lab().ensure("flaco"), "Did you mean 'falco'"),
    "a step misspelt in a list": (lambda: bare_lab().ensure(["nginx", "flaco"]), "Did you mean 'falco'"),
    "a step that is none": (lambda: bare_lab().ensure(5), "text or several"),  # type: ignore[arg-type]
    "an attack misspelt": (lambda: bare_lab().attack(["read-shadwo"]), "Did you mean 'read-shadow'"),
    "a time that ends before it starts": (
        lambda: alerts.read(client("logs"), start="1h", end="2h"),
        "Give the earlier time first",
    ),
    "such a time of a query": (
        lambda: alerts.insights(client("logs"), "fields @message", start="1h", end="2h"),
        "Give the earlier time first",
    ),
    "such a time of a price": (
        lambda: alerts.insights_price(client("logs"), start="1h", end="2h"),
        'Give the earlier time first: "2h" ago is before',
    ),
    "an attack that is none": (lambda: attacks.find(5), "It has to be text"),  # type: ignore[arg-type]
    "a lab for a client": (lambda: alerts.read(bare_lab()), 'lab.aws.client("logs")'),
    "a rule's number": (lambda: bare_lab().alerts(rule=5), "It has to be text"),  # type: ignore[arg-type]
    "another way to read": (lambda: bare_lab().alerts(by="athena"), 'by="insights"'),
    "the newest by Insights": (lambda: bare_lab().alerts(by="insights", limit=5), "Leave limit="),
    "a pod's list": (lambda: bare_lab().alerts(pod=["a"]), "It has to be text"),  # type: ignore[arg-type]
    "what is no frame to go on after": (lambda: bare_lab().alerts(after=[1]), "lab.alerts()"),  # type: ignore[arg-type]
    "no events": (lambda: alerts.to_frame(5), "It has to be several values"),  # type: ignore[arg-type]
    "a file for events": (lambda: alerts.to_frame("alerts.jsonl"), "a list of messages"),
    "events of numbers": (lambda: alerts.to_frame([5]), "a list of messages"),  # type: ignore[list-item]
    "a chart's keyword": (lambda: frame().falco.top_rules(m=5), "It takes n"),
    "a chart's number": (lambda: frame().falco.by_pod("many"), "It has to be a whole number"),
    "counts of none": (lambda: charts.counts(pd.DataFrame({"a": [1]})), "metrics.compare"),
    "another frame": (lambda: charts.timeline(pd.DataFrame({"a": [1]})), "lab.alerts()"),
    "another frame's data": (lambda: charts.top_rules_data(pd.DataFrame({"a": [1]})), "lab.alerts()"),
    "no attack": (lambda: bare_lab().attack(), "attacks.catalogue()"),
    "a chart of no frame": (lambda: charts.timeline([1]), "lab.alerts()"),  # type: ignore[arg-type]
    "a chart of none": (lambda: frame().falco.top_rules(0), "from 1"),
    "a chart of anything": (lambda: pd.DataFrame({"a": [1]}).falco, "lab.alerts()"),
    "a command of nothing": (lambda: command([]), "Give one"),
    "a command of None": (lambda: command("ls", None), "Give it texts"),
    "a command with NUL": (lambda: command("ls", "a\0b"), "UTF-8 without NUL"),
    "a command that is no text": (lambda: command("\x01\udcff"), "UTF-8 without NUL"),
    "a client of another service": (
        lambda: metrics.read(client("logs"), COUNTER, "1h"),
        'lab.aws.client("cloudwatch")',
    ),
    "a lab for Security Hub": (lambda: findings.read(bare_lab(), "c"), 'lab.aws.client("securityhub")'),
    "a name for a queue": (lambda: alarms.notifications("queue", "url", timeout=0), 'lab.aws.client("sqs")'),
    "no counter": (lambda: metrics.read(client("cloudwatch"), "Alerts", "1h"), "metrics.counters()"),  # type: ignore[arg-type]
    "a column that is a number": (lambda: metrics.count(frame(), 5), "It has to be text"),  # type: ignore[arg-type]
    "a column misspelt": (lambda: metrics.count(frame(), "rool"), 'Count by "rule"'),
    "a period misspelt": (lambda: metrics.count(frame(), perod=60), "Did you mean 'period'"),  # type: ignore[call-arg]
    "data of a list": (lambda: metrics.metric_data("x", [1], [2]), "a column of a frame"),  # type: ignore[arg-type]
    "findings of a number": (lambda: findings.to_findings(5, account_id="1", region="r"), "or several values"),  # type: ignore[arg-type]
    "findings of nowhere": (lambda: findings.to_findings([], account="1"), "Did you mean 'account_id'"),  # type: ignore[call-arg]
    "an alarm's state": (
        lambda: alarms.wait_for_alarm(client("cloudwatch"), "x", "on", timeout=1),
        "INSUFFICIENT_DATA",
    ),
    "an alarm's time": (lambda: alarms.wait_for_alarm(client("cloudwatch"), "x", timeout="soon"), '"5m"'),  # type: ignore[arg-type]
    "a price misspelt": (lambda: costs.costs(alarm=2), "Did you mean 'alarms'"),
    "a quantity that is text": (lambda: costs.costs(alarms="two"), "a number from 0 on"),  # type: ignore[arg-type]
    "a table of no costs": (lambda: costs.table(5), "a frame of alerts"),  # type: ignore[arg-type]
    "an event without a place": (lambda: ocsf.to_ocsf({}), "account_id, region"),  # type: ignore[call-arg]
    "a time that is a number": (lambda: utc(5), "how long ago"),  # type: ignore[arg-type]
    "a time in the future": (lambda: utc(timedelta(minutes=-5)), "from 0 on"),
    "no time": (lambda: utc(pd.NaT), "Leave it out"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("call", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_call_is_refused_in_two_lines(call: Callable[[], object], said: str) -> None:
    with pytest.raises(LabError, match=r"\n  What to do: ") as caught:
        call()
    shown_in_a_notebook = "\n".join(caught.value._render_traceback_())
    assert said in caught.value.hint
    assert len(shown_in_a_notebook.splitlines()) == 2
    assert max(map(len, shown_in_a_notebook.splitlines())) < 400


@pytest.mark.parametrize(
    "when",
    [
        *("5m", "5 minutes", "5 min ago", "300s", "5 Minutes", "2026-11-23T04:55:00+01:00"),
        *(timedelta(minutes=5), FIVE_MINUTES, np.timedelta64(5, "m")),
        *(NOW - FIVE_MINUTES, (NOW - FIVE_MINUTES).to_pydatetime()),
    ],
)
def test_five_minutes_ago_may_be_said_in_any_way(when: Any) -> None:
    assert utc(when, now=NOW) == NOW - FIVE_MINUTES


@pytest.mark.parametrize("time", [300, 300.0, "300", "5m", "5 minutes", timedelta(minutes=5), np.float64(300)])
def test_a_timeout_may_be_said_in_any_way(time: Any) -> None:
    assert seconds(time) == 300


def test_a_command_may_be_a_list_with_numbers_and_paths() -> None:
    assert command(["ls", "/"]) == command("ls", "/") == command("ls", Path("/")) == ["ls", "/"]
    assert command(["ls -l"]) == ["ls -l"]  # a program with a blank in its name: lists are taken as they are
    assert command("head", "-n", 5, "/etc/passwd") == ["head", "-n", "5", "/etc/passwd"]


@pytest.mark.parametrize("package", [labkit, alerts, attacks, charts, respond], ids=lambda p: p.__name__)
def test_tab_and_help_show_the_public_names_and_no_others(package: Any) -> None:
    names = [name for name in dir(package) if not name.startswith("__")]
    assert set(package.__all__) <= set(names)
    assert not {"Any", "TYPE_CHECKING", "annotations", "importlib", "lazily"} & set(names)
    page = pydoc.plain(pydoc.render_doc(package))
    assert all(name in page for name in package.__all__)
    with pytest.raises(AttributeError, match="has no attribute"):
        package.nothing_of_that_name  # noqa: B018


def test_help_still_shows_a_verb_s_own_signature() -> None:
    parameters = ["self", "start", "end", "rule", "pod", "priority", "limit", "after", "by"]
    assert list(inspect.signature(Lab.alerts).parameters) == parameters
    assert "typed frame" in str(Lab.alerts.__doc__)


def test_every_verb_refuses_a_keyword_it_does_not_have() -> None:
    verbs = [name for name, member in vars(Lab).items() if not name.startswith("_") and inspect.isfunction(member)]
    assert len(verbs) > 20
    for name in verbs:
        with pytest.raises(LabError, match=rf"\b{name}\(\) can't be called like this"):
            getattr(bare_lab(), name)(**{"x": 1} if name != "apply" else {})


@pytest.mark.parametrize(
    "module",
    [alarms, costs, findings, metrics, ocsf, alerts.frame, alerts.live, alerts.query, alerts.reader, charts.data],
    ids=lambda module: module.__name__,
)
def test_every_public_function_checks_its_arguments(module: Any) -> None:
    functions = [
        function
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and not name.startswith("_")
        and inspect.signature(function).parameters
    ]
    assert functions
    for function in functions:
        between_modules = ("categories", "follow_events", "found", "frame_of", "unhurried_gc", "whole")
        if function.__name__ not in between_modules:
            with pytest.raises(LabError, match=r"can't be called like this|There is no price"):
                function(nonsense=1)


def test_similar_names_are_found_by_their_letters_and_by_a_part() -> None:
    assert near("Terminal shell", ["Terminal shell in container", "Other"]) == (
        "Did you mean 'Terminal shell in container'? "
    )
    assert near("FALCO", STEPS.ORDER).startswith("Did you mean 'falco'")
    assert near("xyzzy", STEPS.ORDER) == near("", STEPS.ORDER) == ""
    assert near("a" * 10**6, STEPS.ORDER) == ""


def test_a_value_is_shown_on_one_short_line() -> None:
    assert short_repr("a\nb" * 10**6) == "'" + "a\\nb" * 14 + "..."
    assert "\n" not in short_repr(pd.DataFrame({"a": range(100)}))


@pytest.mark.parametrize(
    ("text", "number"),
    [("90s", 90), ("1h 30m", 5400), ("1 hour and 5 minutes", 3900), ("1.5m", 90), ("2d", 172_800), ("1w", 604_800)],
)
def test_durations_are_sums_of_their_parts(text: str, number: float) -> None:
    assert duration(text) == number
    assert duration(f" {text.upper()} ") == number


@pytest.mark.parametrize("text", ["", "soon", "5", "m", "5 minutes ago", "5mm", "-5m"])
def test_a_text_that_is_no_duration_is_none(text: str) -> None:
    assert duration(text) is None


@pytest.mark.parametrize("value", [0, 604_800, "0", "1w", "604800.0"])
def test_the_shortest_and_the_longest_time_can_be_waited_for(value: Any) -> None:
    assert seconds(value) in (0.0, 604_800.0)


@pytest.mark.parametrize("value", [-0.1, 604_800.1, "604801", "-1", True, None, math.inf, math.nan, timedelta(days=8)])
def test_a_time_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(LabError, match=r"^wait is .*, which is no time to wait") as caught:
        seconds(value, "wait")
    assert "604800" in caught.value.hint


def test_texts_may_be_nested_in_lists() -> None:
    assert texts("a", "x") == ["a"]
    assert texts(["a", ("b", ["c"])], "x") == ["a", "b", "c"]
    for value in (b"a", {"a": 1}, 5, ["a", 5]):
        with pytest.raises(LabError, match=r"^x is .*, which is not text"):
            texts(value, "x")


def test_a_long_text_is_cut_to_its_width() -> None:
    assert shortened("a" * 200) == "a" * 200
    assert shortened("a" * 201) == "a" * 197 + "..."
    assert short_repr("a" * 58) == repr("a" * 58)
    assert short_repr("a" * 59) == f"'{'a' * 56}..."

    class Broken:
        def __repr__(self) -> str:
            raise ZeroDivisionError

    assert short_repr(Broken()) == "a Broken"


def test_at_most_three_similar_names_are_suggested_by_part_from_three_letters_on() -> None:
    assert near("pod", ["a-pod-of-some-length", "b-pod-of-some-length", "c-pod-of-length", "d-pod-of-length"]) == (
        "Did you mean 'a-pod-of-some-length' or 'b-pod-of-some-length' or 'c-pod-of-length'? "
    )
    assert near("po", ["a-pod-of-some-length"]) == ""
    assert near("abcd", ["abce"], cutoff=0.9) == ""


def test_texts_with_surrogates_are_no_texts() -> None:
    assert is_text("é\ud7ff\ue000")
    assert not is_text("a\ud800")
    assert not is_text("\udfff")


class Verbs:
    """A class whose public methods check their arguments, and no others."""

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def make(cls, name: str, n: int = 1) -> str:
        return cls(name).name * n

    def repeat(self, *words: str, timeout: float | None = None, **more: int) -> object:
        return words, timeout, more

    def path(self, value: Path | bool) -> object:
        return value

    def _private(self, name: str) -> object:
        return name


Checked = checked(Verbs)


def test_public_methods_check_their_arguments() -> None:
    assert Checked.make("a", n=2) == "aa"
    verbs: Any = Checked("a")
    assert verbs.repeat("a", "b", timeout="5m", x="anything") == (("a", "b"), 300.0, {"x": "anything"})
    assert verbs.repeat(timeout=None) == ((), None, {})
    assert (verbs.path(Path("/")), verbs.path(True)) == (Path("/"), True)
    assert verbs._private(5) == 5


@pytest.mark.parametrize(
    ("call", "said", "hint"),
    [
        (lambda: Checked(5), "Verbs(): name is 5.", "It has to be text."),  # type: ignore[arg-type]
        (
            lambda: Checked(),  # type: ignore[call-arg]
            "Verbs() can't be called like this: missing a required argument: 'name'.",
            "It takes name.",
        ),
        (lambda: Checked.make(5), "Verbs.make(): name is 5.", "It has to be text."),  # type: ignore[arg-type]
        (
            lambda: Checked.make("a", nam=1),  # type: ignore[call-arg]
            "Verbs.make() can't be called like this: It takes no 'nam'.",
            "Did you mean 'name' or 'n'? It takes name, n.",
        ),
        (lambda: Checked.make("a", 0), "Verbs.make(): n is 0.", "It has to be a whole number from 1 to 10,000."),
        (lambda: Checked.make("a", 10_001), "Verbs.make(): n is 10001.", "It has to be a whole number from 1 to"),
        (lambda: Checked("a").repeat("a", 5), "Verbs.repeat(): words is 5.", "It has to be text."),  # type: ignore[arg-type]
        (lambda: Checked("a").path("x"), "Verbs.path(): value is 'x'.", "It has to be a path or True or False."),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_argument_is_told_with_what_it_has_to_be(call: Callable[[], object], said: str, hint: str) -> None:
    with pytest.raises(LabError, match=r"^Verbs") as caught:
        call()
    assert caught.value.message == said
    assert caught.value.hint.startswith(hint)


def test_the_largest_number_of_rows_can_be_asked_for() -> None:
    assert len(Checked.make("a", 10_000)) == 10_000


@checked
def outer() -> None:
    inner()


@checked
def inner() -> None:
    raise KeyboardInterrupt


def test_the_stop_button_ends_a_call_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a script, Ctrl-C is what it is everywhere."""
    with pytest.raises(KeyboardInterrupt):
        outer()
    monkeypatch.setattr("labkit.calls._in_notebook", lambda: True)
    for _ in range(2):
        with pytest.raises(StoppedError, match=r"Stopped outer\(\)"):
            outer()
