"""The report of `labkit run` in a browser: offline, in both themes, by keyboard."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit import report

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
# Texts with less contrast than 4.5 to 1 with their background, which is the nearest that isn't transparent.
PALE = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true})
  const rgba = colour => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1)
    return [...canvas.getImageData(0, 0, 1, 1).data] }
  const light = colour => { const v = colour.map(x => (x /= 255) <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4)
    return .2126 * v[0] + .7152 * v[1] + .0722 * v[2] }
  const behind = e => { for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor)
    if (c[3] > 200) return c } return [255, 255, 255] }
  const pale = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  while (texts.nextNode()) { const text = texts.currentNode.textContent.trim(), e = texts.currentNode.parentElement
    if (!text || e.closest("script, style, .anchor-link, .skip")) continue
    const two = [light(rgba(getComputedStyle(e).color)), light(behind(e))]
    if ((Math.max(...two) + .05) / (Math.min(...two) + .05) < 4.5) pale.push(text) }
  return pale }"""

# Cells of tables in which a line has room for fewer than three letters, though a word of theirs is longer.
NARROW = """() => [...document.querySelectorAll("td, th")].filter(cell => {
  const words = cell.innerText.split(/\\s+/), style = getComputedStyle(cell)
  const room = cell.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight)
  const canvas = document.createElement("canvas").getContext("2d")
  canvas.font = style.font
  return cell.checkVisibility() && words.some(word => room + 1 < canvas.measureText(word.slice(0, 3)).width)
}).map(cell => cell.innerText)"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of the committed chapters, the last of which failed."""
    output = tmp_path_factory.mktemp("report")
    run = report.Run("embedded", [], output)
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]-*.ipynb")):
        shutil.copy(path, output)
        chapter = report.chapter_of(path, output)
        chapter.status, chapter.seconds = "passed", 2.0
        run.chapters.append(chapter)
    last = run.chapters[-1]
    notebook = nbformat.read(last.path, as_version=4)
    cell = [cell for cell in notebook.cells if cell.cell_type == "code"][-1]
    cell.metadata["papermill"] = {"exception": True}
    nbformat.write(notebook, output / last.path.name)
    last.status, last.cell, last.error = "failed", cell.source, "StepError: It is gone.\n  What to do: Look for it."
    for chapter in run.chapters:
        report.write_page(run, chapter)
    report.write_index(run)
    return output


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 1600])
def test_every_page_opens_offline_with_nothing_cut_off_pale_or_narrow(
    chromium: Any, folder: Path, theme: str, width: int
) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, offline=True)
    page, asked, wrong = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url) if request.url[:5] not in ("file:", "data:") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    pages = sorted(folder.glob("*.html"))
    assert len(pages) == 10
    for path in pages:
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path.name
        assert page.evaluate(PALE) == [], path.name
        assert page.evaluate(NARROW) == [], path.name
        assert page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor") == (
            "rgb(255, 255, 255)" if theme == "light" else "rgb(15, 20, 26)"
        )
    assert (asked, wrong) == ([], [])
    context.close()


def test_on_paper_it_is_light_with_its_badges_whatever_the_screen_was(chromium: Any, folder: Path) -> None:
    context = chromium.new_context(viewport={"width": 718, "height": 1000}, color_scheme="dark", offline=True)
    page = context.new_page()
    for path in (folder / "index.html", folder / "04-custom-rules.html", folder / "08-clean-up.html"):
        page.goto(path.as_uri())
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.evaluate(PALE) == [], path.name
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path.name
        assert page.evaluate(
            "[...document.querySelectorAll('*')].every(e => getComputedStyle(e).printColorAdjust === 'exact')"
        )
        page.emulate_media(media="screen")
    context.close()


def test_a_button_that_works_in_jupyterlab_only_is_not_shown(chromium: Any, folder: Path) -> None:
    page = chromium.new_page()
    page.goto(f"file://{folder}/03-default-rules.html")
    buttons = page.locator("[data-commandlinker-command]")
    assert buttons.count()
    assert not any(button.is_visible() for button in buttons.all())
    page.close()


def test_it_is_read_by_keyboard(chromium: Any, folder: Path) -> None:
    context = chromium.new_context(color_scheme="light", offline=True)
    page = context.new_page()

    def focused() -> str:
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", "the focus can't be seen"
        return str(page.evaluate("document.activeElement.textContent.trim()"))

    def tab() -> str:
        page.keyboard.press("Tab")
        return focused()

    page.goto((folder / "01-log-pipeline.html").as_uri())
    assert [tab() for _ in range(5)] == ["Skip to the content", "← Start here", "All chapters", "Falco →", "Dark"]
    page.keyboard.press("Enter")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 20, 26)"
    assert focused() == "Light"
    page.goto((folder / "index.html").as_uri())
    assert page.evaluate("document.documentElement.dataset.theme") == "dark", "the choice holds for every page"
    assert tab() == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    assert tab() == "08-clean-up", "the failure comes first"
    page.keyboard.press("Enter")
    page.wait_for_url("**/08-clean-up.html#cell-id=*")
    context.close()
