"""A notebook shows a chart once: in a real kernel, whatever pyplot does."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__)
CELLS = {
    "alone": "df.falco.timeline()",
    "inline": "%matplotlib inline\ndf.falco.by_pod()",
    "assigned": "ax = df.falco.by_pod()",
    "its figure": "ax.figure",
    "not the last": "df.falco.by_pod()\nNone",
    "displayed": "display(df.falco.tactics())",
    "drawn on": "ax = df.falco.timeline()\nax.axvline(df['time'].min(), color='white')\nax",
    "side by side": """
import matplotlib.pyplot as plt
fig, (left, right) = plt.subplots(1, 2, figsize=(13, 5))
df.falco.timeline(ax=left)
df.falco.by_pod(ax=right)""",
    "after pyplot": "df.falco.top_rules()",
    "not inline": "import matplotlib\nmatplotlib.use('agg')\ndf.falco.noise()",
}
BEGIN = f"""
from pathlib import Path
from labkit import charts
from labkit.alerts import to_frame
df = to_frame(Path({str(HERE.parents[1] / "alerts" / "data" / "falco-alerts.jsonl")!r}).read_text().splitlines())
"""


@pytest.fixture(scope="module")
def shown() -> dict[str, NotebookNode]:
    cells = [nbformat.v4.new_code_cell(source) for source in (BEGIN, *CELLS.values())]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(HERE.parent))
    return dict(zip(CELLS, notebook.cells[1:], strict=True))


def pictures(cell: NotebookNode) -> list[tuple[int, int]]:
    """Width and height in pixels of the pictures below a cell."""
    found = [output["data"]["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
    return [struct.unpack(">II", base64.b64decode(png)[16:24]) for png in found]


@pytest.mark.parametrize("name", [name for name in CELLS if name not in ("assigned", "not the last")])
def test_a_chart_is_shown_once(shown: dict[str, NotebookNode], name: str) -> None:
    assert len(pictures(shown[name])) == 1
    assert not [output for output in shown[name].outputs if output.output_type in ("stream", "error")]


@pytest.mark.parametrize("name", ["assigned", "not the last"])
def test_a_chart_that_is_not_the_last_expression_is_not_shown(shown: dict[str, NotebookNode], name: str) -> None:
    assert pictures(shown[name]) == []


def test_a_chart_is_as_wide_as_a_notebook_s_page(shown: dict[str, NotebookNode]) -> None:
    (output,) = shown["alone"].outputs
    assert output["metadata"]["image/png"]["width"] == 864
    assert pictures(shown["alone"])[0][0] == 2 * 864  # sharp on a screen with two dots per pixel
    assert output["data"]["text/plain"] == "<Chart: Alerts over time>"


def test_two_charts_are_side_by_side_in_one_figure(shown: dict[str, NotebookNode]) -> None:
    ((width, height),) = pictures(shown["side by side"])
    assert width > 2 * height
    texts = [output["data"]["text/plain"] for output in shown["side by side"].outputs]
    assert len(texts) == 2
    assert texts[0].startswith("<Axes: title={'left': 'Where alerts came from'}")
