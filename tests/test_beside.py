"""The comparison with real programs finds what differs. A real program is played by the project itself, here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.beside import chart, objects, rules
from tests.beside.__main__ import Compared, difference, main, report

FALCO = """
import sys, falcorules
print("Falco's log")
print(falcorules.check([sys.argv[-1]]).to_json(){change})
"""


@pytest.mark.parametrize(("change", "differs"), [("", 0), (".replace('warnings', 'warned')", 6)])
def test_reports_on_rule_files_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, differs: int
) -> None:
    falco = tmp_path / "falco.py"
    falco.write_text(FALCO.format(change=change))
    found = report(rules.compared([sys.executable, str(falco)], inputs=6, seed=3))
    assert found == differs
    assert f"6 inputs, {differs} differ" in capsys.readouterr().out


HELM = """
import sys
from ekslab.helm import chart
from ekslab.helm.errors import HelmError
from ekslab.helm.values import read
try:
    print(chart.manifest(chart.render("falco", "falco", read([], json_settings=[sys.argv[-1]]), warn=print)))
except HelmError as error:
    print(f"Error: {error}", file=sys.stderr)
    sys.exit(1)
"""


def test_the_charts_objects_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    helm = tmp_path / "helm.py"
    helm.write_text(HELM)
    assert report(chart.compared([sys.executable, str(helm)], "charts/falco", inputs=4, seed=1)) == 0
    assert "4 inputs, 0 differ" in capsys.readouterr().out


def test_what_differs_is_named_by_its_place() -> None:
    lines = difference(Compared("x", {"a": [1, {"b": "c"}], "same": []}, {"a": [1, {"b": "d"}], "same": []}))
    assert lines == ['.a[1].b\n      real "c"\n      here "d"']
    assert not difference(Compared("x", None, None))
    assert difference(Compared("x", None, {"a": 1}))[-1].splitlines()[-1].strip() == "here 1"


def test_each_mistake_has_a_name_and_leaves_the_valid_object_as_it_is() -> None:
    before = repr(objects.VALID)
    found = list(objects.mistakes())
    assert len(found) > 8000
    assert len({name for name, _, _ in found}) == len(found)
    assert {path for _, path, _ in found} >= {"/api/v1/namespaces/default/pods", "/api/v1/namespaces"}
    assert repr(objects.VALID) == before


@pytest.mark.parametrize(
    "what", [["rules"], ["settings"], ["chart", "--helm", "helm"], ["objects", "--server", "https://127.0.0.1:1"]]
)
def test_it_needs_the_real_program(what: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(what)
    assert "needs --" in capsys.readouterr().err
