"""`df.falco`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from labkit.charts import process_tree, summary_data


def test_a_frame_of_alerts_draws_itself(captured: pd.DataFrame) -> None:
    for draw in (captured.falco.timeline, captured.falco.top_rules, captured.falco.by_pod, captured.falco.tactics):
        assert isinstance(draw(), Figure)
    assert captured.falco.tree() == process_tree(captured)
    pd.testing.assert_frame_equal(captured.falco.summary(), summary_data(captured))


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
    assert isinstance(kept.falco.timeline(), Figure)
