"""Techniques seen, and those that rules cover."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from labkit.charts import attack_matrix_data
from labkit.errors import LabError


def test_a_row_is_a_tactic_with_a_technique(make: Any) -> None:
    df = make(
        {"rule": "a", "tags": ["container", "mitre_execution", "T1059"]},
        {"rule": "b", "tags": ["T1059", "mitre_execution", "mitre_impact"]},
        {"rule": "b", "tags": ["T1059", "mitre_execution", "mitre_impact"]},
        {"rule": "c", "tags": ["mitre_persistence", "TA0003"]},
        {"rule": "d", "tags": ["T1485"]},
        {"rule": "d", "tags": None},
    )
    table = attack_matrix_data(df)
    assert [str(dtype) for dtype in table.dtypes] == ["string", "string", "string", "int64", "int64", "Int64"]
    rows = table.fillna({"technique": "-"})[["tactic", "technique", "alerts", "seen"]].to_numpy().tolist()
    assert rows == [
        ["Execution", "T1059", 3, 2],
        ["Persistence", "-", 1, 1],
        ["Impact", "T1059", 2, 1],
    ]
    assert table["name"].tolist()[0] == "Command and Scripting Interpreter"
    assert table["covered"].isna().all()
    assert table.attrs == {"untagged": 2}


def test_covered_are_the_rules_that_are_loaded_and_enabled(make: Any) -> None:
    df = make({"rule": "a", "tags": ["mitre_execution", "T1059"]})
    rules = pd.DataFrame(
        {
            "rule": ["a", "b", "c", "d", "e"],
            "enabled": [True, True, False, True, True],
            "tags": [["mitre_execution", "T1059"], ["mitre_execution", "T1059"], ["mitre_impact"], [], None],
        }
    )
    for covered in (rules, rules[rules["enabled"]]["tags"], [["mitre_execution", "T1059"]] * 2):
        table = attack_matrix_data(df, covered)
        assert table[["tactic", "technique", "alerts", "covered"]].to_numpy().tolist() == [["Execution", "T1059", 1, 2]]
    assert attack_matrix_data(df.head(0), rules)["alerts"].tolist() == [0]


@pytest.mark.parametrize("covered", ["mitre_execution", 5, ["mitre_execution"], pd.DataFrame({"rule": ["a"]}), [5]])
def test_what_are_no_rules_is_refused(captured: pd.DataFrame, covered: Any) -> None:
    with pytest.raises(LabError, match="no rules"):
        attack_matrix_data(captured, covered)
