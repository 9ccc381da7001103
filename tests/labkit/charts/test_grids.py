"""Heat map and ATT&CK matrix draw what their data says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from labkit.charts import attack_matrix, heat_map, heat_map_data, style
from tests.labkit.charts.seen import texts


def test_the_cells_of_the_heat_map_are_its_data(captured: pd.DataFrame) -> None:
    ax = heat_map(captured)
    table = heat_map_data(captured)
    (mesh,) = (c for c in ax.collections if c.get_array() is not None)
    assert np.array_equal(np.ma.filled(mesh.get_array(), 0), table.to_numpy())
    assert [label.get_text() for label in ax.get_yticklabels()] == list(table.index)
    written = sorted(text.get_text() for text in ax.texts if text.get_text().isdigit())
    assert written == sorted(str(n) for n in table.to_numpy().flat if n)


def test_what_the_heat_map_leaves_out_is_said(captured: pd.DataFrame) -> None:
    shown = int(heat_map_data(captured, 1, 2).to_numpy().sum())
    assert any(f"; shown: 1 place, 2 rules, {shown} of the alerts" in text for text in texts(heat_map(captured, 1, 2)))


def test_a_strip_below_tells_the_rules_priorities(make: Any) -> None:
    ax = heat_map(make({"rule": "mild"}, {"rule": "bad", "priority": "Critical"}, {"rule": "odd", "priority": "?"}))
    strip = [to_hex(patch.get_facecolor()) for patch in ax.patches]
    assert strip == [style.DARK.priorities[p] for p in ("Critical", "Notice", "(no priority)")]


def test_numbers_that_have_no_room_are_thousands(make: Any) -> None:
    df = make(*({"rule": f"rule {i}"} for i in range(20)))
    ax = heat_map(pd.concat([df] * 12_345, ignore_index=True))
    assert "12k" in texts(ax)
    assert "12,345" in texts(heat_map(pd.concat([df.head(1)] * 12_345, ignore_index=True)))


def cells(ax: Any) -> list[Rectangle]:
    return [patch for patch in ax.patches if isinstance(patch, Rectangle)]


def test_seen_covered_and_neither_look_different(make: Any) -> None:
    df = make(
        {"rule": "seen", "tags": ["mitre_execution", "T1059"]},
        {"rule": "gone", "tags": ["mitre_impact", "T1485"]},
    )
    ax = attack_matrix(df, [["mitre_execution", "T1059"], ["mitre_discovery", "T1033"], ["mitre_discovery", "T1033"]])
    seen, covered, gone = cells(ax)
    assert seen.get_fill()
    assert seen.get_linestyle() == "solid"
    assert covered.get_facecolor()[3] == 0
    assert gone.get_linestyle() == "--"
    said = texts(ax)
    assert said.count("no loaded rule") == 11
    assert {"T1059", "Command and Scripting Interpreter", "2 rules", "System Owner/User Discovery"} <= set(said)
    assert "2 alerts: 2 of 14 tactics seen, 2 covered" in said
    assert {"seen, no rule loaded now", "covered by rules, not seen"} <= set(said)


def test_without_rules_it_is_what_was_seen(captured: pd.DataFrame) -> None:
    said = texts(attack_matrix(captured))
    assert not any("covered" in text for text in said)
    assert "not seen" in said


def test_in_low_axes_techniques_have_no_names(captured: pd.DataFrame) -> None:
    assert "Command and Scripting Interpreter" in texts(attack_matrix(captured, figsize=(9, 12)))
    assert "Command and Scripting Interpreter" not in texts(attack_matrix(captured, figsize=(9, 5)))
