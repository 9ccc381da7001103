"""`df.falco`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.axes import Axes

from labkit import triage
from labkit.alerts.card import Alert
from labkit.charts import summary_data
from labkit.errors import LabError


def test_a_frame_of_alerts_draws_itself(captured: pd.DataFrame) -> None:
    for draw in (captured.falco.timeline, captured.falco.top_rules, captured.falco.by_pod, captured.falco.tactics):
        assert isinstance(draw(), Axes)
    pd.testing.assert_frame_equal(captured.falco.summary(), summary_data(captured))


def test_one_alert_is_a_card(captured: pd.DataFrame) -> None:
    first = captured.falco.card(0)
    assert isinstance(first, Alert)
    assert first["rule"] == captured["rule"].iloc[0]
    assert captured.falco.card()["time"] == captured["time"].iloc[-1]
    with pytest.raises(LabError, match="no row 60: the frame has 60 alerts"):
        captured.falco.card(60)
    with pytest.raises(LabError, match="whole number"):
        captured.falco.card("0")


def test_alerts_are_a_table_in_which_nothing_is_cut_off(captured: pd.DataFrame) -> None:
    shown = captured.falco.table()
    assert shown.title == "60 alerts"
    assert [row[4] for row in shown.rows] == [" ".join(text.split()) for text in captured["proc.cmdline"].fillna("")]
    assert shown.rows[0][:4] == ("04:20:15.177232855", "Notice", "Terminal shell in container", "web-0")
    assert "background:#4a8cc7" in shown._repr_html_()


def test_another_frame_is_told_that_it_is_none() -> None:
    with pytest.raises(AttributeError, match="not Falco alerts"):
        _ = pd.DataFrame({"a": [1]}).falco


def test_a_frame_without_its_types_is_told_so(captured: pd.DataFrame) -> None:
    with pytest.raises(AttributeError, match="lost their types"):
        _ = captured.astype({"priority": str}).falco


def test_a_kept_frame_can_still_be_drawn(captured: pd.DataFrame, tmp_path: Path) -> None:
    captured.to_pickle(tmp_path / "alerts.pkl")
    kept = pd.read_pickle(tmp_path / "alerts.pkl")
    pd.testing.assert_frame_equal(kept, captured)
    assert isinstance(kept.falco.timeline(), Axes)


def test_alerts_are_sorted_by_triage(captured: pd.DataFrame) -> None:
    falco = captured.falco
    pd.testing.assert_frame_equal(falco.incidents("1m"), triage.incidents(captured, "1m"))
    pd.testing.assert_frame_equal(falco.incident(1, "1m"), triage.incident(captured, 1, "1m"))
    pd.testing.assert_frame_equal(falco.first_seen("rule"), triage.first_seen(captured, "rule"))
    pd.testing.assert_frame_equal(falco.rare("rule", n=1), triage.rare(captured, "rule", n=1))
    pd.testing.assert_frame_equal(falco.compare(captured[:30]), triage.compare(captured, captured[:30]))
    pd.testing.assert_frame_equal(falco.processes(), triage.processes(captured))
    pd.testing.assert_frame_equal(falco.steps(5), triage.steps(captured, 5))


def test_an_incident_has_a_tree_and_a_sequence(captured: pd.DataFrame) -> None:
    first = captured.falco.incident()
    assert captured.falco.tree() == triage.tree(captured)
    assert captured.falco.tree(1) == triage.tree(first) != triage.tree(captured)
    for draw in (captured.falco.process_tree, captured.falco.sequence):
        shown = draw(1)
        assert isinstance(shown, Axes)
        (detail,) = [text for text in shown.texts if "place" in text.get_text()]
        assert detail.get_text().startswith(f"{len(first)} alerts in 1 place")
    with pytest.raises(LabError, match="no incident 99"):
        captured.falco.sequence(99)


def test_a_long_table_shows_its_beginning_and_dates_where_there_are_several(captured: pd.DataFrame) -> None:
    assert captured.falco.table(5).title == "60 alerts; the first 5 are shown"
    assert len(captured.falco.table(5).rows) == 5
    assert captured.falco.table().title == "60 alerts"
    assert not captured.falco.table().rows[0][0].startswith("2026")
    later = captured.assign(time=captured["time"] + pd.Timedelta("3D"))
    both = pd.concat([captured.head(1), later.head(1)])
    assert [row[0][:10] for row in both.falco.table().rows] == [f"{time:%Y-%m-%d}" for time in both["time"]]
