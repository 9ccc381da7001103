"""One alert as a card, in a notebook and as text."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from labkit.alerts import to_frame
from labkit.alerts.card import Alert, card

LINES = (Path(__file__).parent / "data" / "falco-alerts.jsonl").read_text().splitlines()


def alert(changes: dict[str, Any] | None = None, fields: dict[str, Any] | None = None) -> Alert:
    line = json.loads(LINES[0])
    line = {**line, **(changes or {}), "output_fields": {**line["output_fields"], **(fields or {})}}
    return card(to_frame([json.dumps(line)]).iloc[0])


def section(shown: str, title: str) -> str:
    return re.split(r"\n\n", shown.partition(f"\n{title}\n")[2])[0]


def seen(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_it_is_a_series_of_the_fields_that_have_a_value() -> None:
    shell = alert()
    assert isinstance(shell, pd.Series)
    assert (shell["rule"], shell["proc.name"], shell.get("fd.name")) == ("Terminal shell in container", "bash", None)
    assert "eventId" not in shell
    assert shell["time"].value == 1795407615177232855
    assert type(shell[["rule", "priority"]]) is pd.Series
    assert card(shell) is shell
    again = pickle.loads(pickle.dumps(shell))
    assert (type(again), repr(again)) == (Alert, repr(shell))


def test_as_text_nothing_is_cut_off() -> None:
    shown = repr(alert())
    assert shown.startswith("[Notice] Terminal shell in container\n2026-11-23 04:20:15.177232855 UTC\n")
    assert "ATT&CK: Execution, T1059" in shown
    assert max(map(len, shown.splitlines())) <= 100
    assert " ".join(json.loads(LINES[0])["output"].split()) in " ".join(shown.split())
    assert section(shown, "process").split()[:2] == ["proc.name", "bash"]
    assert "containerd-shim → bash" in section(shown, "ancestors")
    assert "k8s.pod.name" in section(shown, "container and pod")


@pytest.mark.parametrize("line", LINES)
def test_every_field_of_an_alert_is_on_both_cards(line: str) -> None:
    shown = card(to_frame([line]).iloc[0])
    text, html = ("".join(one.split()) for one in (repr(shown), seen(shown._repr_html_())))
    for name, value in json.loads(line)["output_fields"].items():
        if value not in (None, "<NA>"):
            assert name in text
            assert name in html
            assert "".join(str(value).split()) in text


def test_values_that_do_not_say_so_themselves_are_explained() -> None:
    shown = repr(alert())
    assert "34816 (a terminal, /dev/pts/0)" in shown
    assert "-1 (no login session is behind it" in shown
    assert "0 (no terminal)" in repr(alert(fields={"proc.tty": 0}))
    assert "isn't part of the image" in repr(alert(fields={"evt.arg.flags": "EXE_WRITABLE|EXE_UPPER_LAYER"}))


def test_what_is_missing_is_named_with_the_reason() -> None:
    title = "missing, and why that is normal"
    assert section(repr(alert()), title).split(maxsplit=1) == [
        "fd.name",
        "the event is about no file and no connection",
    ]
    new = section(repr(alert(fields={"k8s.pod.name": None, "container.image.tag": "<NA>"})), title)
    assert re.search(r"k8s\.pod\.name +Falco doesn't know it yet", new)
    assert "container.image.tag" in new
    on_host = section(repr(alert(fields={"container.id": "host", "k8s.pod.name": None})), title)
    assert "on the node itself" in on_host
    few = repr(alert({"output": "04:20:15.1: Warning read | gparent=<NA> ggparent=<NA> user=root"}))
    assert "gparent, ggparent  the process has fewer ancestors" in few


def test_ancestors_are_a_chain_from_the_oldest_on() -> None:
    shown = repr(alert(fields={"proc.aname[2]": "sh", "proc.aname[3]": "init"}))
    assert "init → sh → containerd-shim → bash" in shown


def test_what_an_intruder_typed_is_neither_html_nor_a_terminals_command() -> None:
    shown = alert({"rule": "<i>"}, {"proc.cmdline": "sh -c <script>\x1b[2J"})
    assert "<script>" not in shown._repr_html_()
    assert "&lt;script&gt;" in shown._repr_html_()
    assert "<i>" not in shown._repr_html_()
    assert "\x1b" not in repr(shown)


def test_a_priority_has_its_colour() -> None:
    assert "background:#4a8cc7" in alert()._repr_html_()
    assert "background:#a5133b" in alert({"priority": "Critical"})._repr_html_()


def test_an_alert_with_next_to_nothing_is_a_card_too() -> None:
    bare = card(to_frame([json.dumps({"rule": "Mine", "output": "seen"})]).iloc[0])
    assert repr(bare).startswith("[?] Mine")
    assert "seen" in bare._repr_html_()


def test_what_a_rule_does_not_output_is_not_called_missing_for_another_reason() -> None:
    short = alert(fields={"proc.pname": None, "user.loginuid": None})
    assert "the parent had ended already" not in repr(short)
    reason = "the rule doesn't output it, or the event has none"
    assert reason in section(repr(short), "missing, and why that is normal")


def test_a_field_with_an_absurd_index_is_shown_and_no_ancestor() -> None:
    name = f"proc.aname[{'9' * 5000}]"
    shown = repr(alert(fields={name: "init"}))
    assert "init" in shown
    assert "init →" not in shown
