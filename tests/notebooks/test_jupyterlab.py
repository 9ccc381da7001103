"""A chapter as an attendee runs it: JupyterLab in a browser, "Run All", and what is then on the screen."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labkit.embedded.state import Endpoints

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
PICTURES = os.environ.get("LABKIT_SCREENSHOTS")  # a folder; read before the tests forget what a person has set


@pytest.fixture(scope="module")
def jupyterlab(new_lab: Callable[..., Endpoints], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A JupyterLab on a copy of the workshop's folder; gives its address."""
    folder = tmp_path_factory.mktemp("attendee")
    for name in ("notebooks", "manifests", "custom-rules", "images"):
        shutil.copytree(ROOT / name, folder / name)
    endpoints = new_lab()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "jupyterlab.log"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"),
            *(
                f"--port={port}",
                "--ServerApp.port_retries=0",
                "--IdentityProvider.token=",
                f"--ServerApp.root_dir={folder}",
            ),
            "--LabApp.expose_app_in_browser=True",
        ],
        env=os.environ | {"LABKIT_HOME": str(endpoints.home), "JUPYTER_CONFIG_DIR": str(folder / ".jupyter")},
        stderr=log.open("w"),
    )
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    while not _answers(f"{address}/api/status"):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    yield address
    process.send_signal(signal.SIGINT)
    process.terminate()
    process.wait(timeout=30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as status:
            return bool(json.load(status)["started"])
    except OSError:
        return False


@pytest.fixture(scope="module")
def chromium() -> str:
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert found, "Install Chromium, or set CHROMIUM to its path."
    return found


@pytest.mark.parametrize(
    ("chapter", "said"),
    [
        ("00-start-here", "Everything this workshop needs is there"),
        ("06-metrics-and-alarms", "The alarm was raised and its notification read"),
    ],
)
def test_run_all_in_jupyterlab_reaches_the_checkpoint(jupyterlab: str, chromium: str, chapter: str, said: str) -> None:
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(f"{jupyterlab}/lab/tree/notebooks/{chapter}.ipynb?reset")
        page.wait_for_function(
            "() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.connectionStatus"
            " === 'connected'",
            timeout=60_000,
        )
        page.evaluate("() => window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
        expect(page.locator(".jp-OutputArea-output")).to_have_count(0)
        page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        # JupyterLab keeps cells that are out of sight out of the page: ask its model, as the page would be asked.
        outputs = page.wait_for_function(
            """() => {
                const cells = window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells
                    .filter(cell => cell.cell_type === 'code');
                return cells.every(cell => cell.execution_count) && cells[cells.length - 1].toJSON().outputs.length
                    ? cells.map(cell => cell.toJSON().outputs) : null;
            }""",
            timeout=240_000,
        ).json_value()
        if PICTURES:
            page.screenshot(path=str(Path(PICTURES) / f"{chapter}.png"))
        browser.close()
    assert not [output for cell in outputs for output in cell if output["output_type"] == "error"]
    assert re.search(said, json.dumps(outputs[-1]))
