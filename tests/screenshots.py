"""Writes `images/screenshot-*.png` and `images/console-*.png`: what an attendee sees in a browser. Needs Chromium.

`python -m tests.screenshots` takes them anew, `python -m tests.screenshots console` those of the console only; look at
each one before it is committed.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from PIL import Image

from ekslab import client
from labkit.lab import Lab
from tests.browser import chromium
from tests.notebooks.conftest import ROOT, Attendee, Elsewhere
from tests.notebooks.test_jupyterlab import Screen

IMAGES = ROOT / "images"
LARGEST = 150_000  # bytes
# What an attendee may write into the stub of chapter 04: right on the recording, but `cat` isn't all that prints files.
RULE = """%%rule passwd-lookup
- rule: Accounts looked up in container
  desc: A program that prints files opened /etc/passwd in a container.
  condition: open_read and container and fd.name = /etc/passwd and proc.name = cat
  output: Accounts were looked up | file=%fd.name command=%proc.cmdline user=%user.name
  priority: INFO
  tags: [container, filesystem, mitre_discovery, T1087.001]"""
# Picture -> the chapter, and what is in the code cells to run.
CELLS = {
    "screenshot-rule": ("04-custom-rules", ("target = None", "Lab.connect(", "%%rule", 'lab.check("04-own-rule"')),
    "screenshot-alert": (
        "03-default-rules",
        ("target = None", "Lab.connect(", "session = lab.exec(", "alert = lab.wait_for_alert("),
    ),
    "screenshot-day": (
        "05-alerts-in-pandas",
        (
            *("target = None", "Lab.connect(", "chapter_start =", "df = lab.alerts("),
            *("lab.read_alerts(", "day.falco.timeline()", "night.falco.heat_map("),
        ),
    ),
}
# A person's choices: all cells are on the page, and no question about news.
SETTINGS = {
    "notebook-extension/tracker.jupyterlab-settings": {"windowingMode": "none"},
    "apputils-extension/notification.jupyterlab-settings": {"fetchNews": "false"},
}

RUN = """async ([index, source]) => {
    const shown = window.jupyterapp.shell.currentWidget, cells = shown.content.model.sharedModel.cells;
    if (source) cells[index].setSource(source);
    shown.content.activeCellIndex = index;
    await window.jupyterapp.commands.execute('notebook:run-cell');
    return cells[index].toJSON().outputs.filter(output => output.output_type === 'error').map(output => output.evalue);
}"""


class Chapter:
    """A copy of a chapter, open in JupyterLab."""

    def __init__(self, screen: Screen, name: str) -> None:
        path = f"my-notebooks/{name}.ipynb"
        self.screen = screen
        self.cells = nbformat.read(Path(screen.server.root) / path, 4).cells
        screen.open(path)

    def at(self, part: str) -> int:
        """The number of the first code cell that has this text in it."""
        return next(n for n, cell in enumerate(self.cells) if cell.cell_type == "code" and part in cell.source)

    def run(self, part: str, source: str = "", *, fails: bool = False) -> None:
        """Runs the code cell that has this text in it, with another source if one is given."""
        errors = self.screen.page.evaluate(RUN, [self.at(part), source])
        assert bool(errors) == fails, errors

    def cell(self, part: str) -> Any:
        return self.screen.page.locator(".jp-Notebook:visible .jp-Cell").nth(self.at(part))


def take(screen: Screen, name: str) -> bytes:
    """Runs a picture's cells. What it shows: the page from the last cell but one on; of a chart, the chart."""
    chapter_name, parts = CELLS[name]
    chapter = Chapter(screen, chapter_name)
    for part in parts:
        chapter.run(part, RULE if part == "%%rule" else "", fails=part.startswith("lab.check("))
    picture: bytes
    if ".falco." in parts[-1]:
        screen.page.set_viewport_size({"width": 1280, "height": 1500})  # a chart may be higher than a window
        picture = chapter.cell(parts[-1]).locator(".jp-OutputArea-output").screenshot()
    else:
        chapter.cell(parts[-2]).evaluate("element => element.scrollIntoView({block: 'start'})")
        screen.page.wait_for_timeout(500)  # fonts and the status bar
        picture = screen.page.screenshot()
    return picture


@contextmanager
def _attendee() -> Iterator[Attendee]:
    """A new attendee with the workshop's folder, and a lab that ends with it."""
    with tempfile.TemporaryDirectory() as place:
        folder, home = Path(place, "falco-workshop"), Path(place, "home")
        for name in ("notebooks", "manifests", "custom-rules", "images"):
            shutil.copytree(ROOT / name, folder / name)
        shutil.copy(ROOT / "Makefile", folder)
        settings = home / ".jupyter/lab/user-settings/@jupyterlab"
        for name, chosen in SETTINGS.items():
            (settings / name).parent.mkdir(parents=True, exist_ok=True)
            (settings / name).write_text(json.dumps(chosen))
        environ = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        try:
            yield Attendee(folder, home, Elsewhere(), environ | {"HOME": str(home), "SHELL": "/bin/bash"})
        finally:
            client.stop(folder / ".labkit")


def _small(picture: bytes) -> bytes:
    """The PNG with a palette in place of true colours: a third of the bytes."""
    written = io.BytesIO()
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(96, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(written, "PNG", optimize=True)
    assert len(written.getvalue()) < LARGEST
    return written.getvalue()


# Picture of the console -> its view, and what is clicked on before it is taken.
CONSOLE = {
    "console-pipeline": ("pipeline", ""),
    "console-rules": ("rules", ""),
    "console-alarms": ("alarms", ".list-row"),
    "console-findings": ("findings", ".list-row"),
}


def console_pictures(browser: Any) -> Iterator[tuple[str, bytes]]:
    """Pictures of the console of a lab in which some attacks have raised alerts, an alarm and findings."""
    with tempfile.TemporaryDirectory() as home:
        lab = Lab.connect(home=home, root=ROOT)
        try:
            lab.ensure()
            page = browser.new_page(viewport={"width": 1280, "height": 760}, color_scheme="light")
            page.goto(client.console(client.running(home)))
            page.locator(".station[data-state=ok]").nth(4).wait_for()
            lab.attack("terminal-shell", "read-shadow", "search-aws-credentials", "symlink-shadow", "clear-log")
            lab.exec("deploy/nginx", "whoami")
            lab.attack("drop-and-execute")
            lab.wait_for_alarm(f"{lab.settings.prefix}-critical-alert")
            page.locator(".station[data-state=alarm]").wait_for()
            for name, (view, clicked) in CONSOLE.items():
                page.evaluate("view => { location.hash = `/${view}` }", view)
                page.locator(f"#main.view-{view} .list-row").first.wait_for()
                if clicked:
                    page.locator(clicked).first.click()
                    page.locator("#drawer .hand-box").wait_for()
                page.wait_for_timeout(3000)  # what has just come is no longer lit
                page.wait_for_function("() => !document.body.innerText.includes('Drawing')")
                yield name, page.screenshot()
        finally:
            client.stop(home)


def main() -> None:
    with chromium() as browser:
        for name, taken in console_pictures(browser):
            (IMAGES / f"{name}.png").write_bytes(_small(taken))
            print(f"images/{name}.png")
    if sys.argv[1:] == ["console"]:
        return
    with _attendee() as attendee, attendee.jupyterlab() as server, chromium() as browser:
        screen = Screen(browser.new_page(viewport={"width": 1280, "height": 860}), server)
        for name in CELLS:
            picture = _small(take(screen, name))
            (IMAGES / f"{name}.png").write_bytes(picture)
            print(f"images/{name}.png", len(picture), "bytes")
            screen.close()


if __name__ == "__main__":
    main()
