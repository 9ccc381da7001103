"""The workshop as an attendee meets it: `make lab`, JupyterLab in a browser, and what is then on the screen."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from ekslab import client, state
from labkit.lab import Lab

from .conftest import ROOT, Attendee, JupyterLab

pytestmark = pytest.mark.browser
PICTURES = os.environ.get("LABKIT_SCREENSHOTS")  # a folder; read before the tests forget what a person has set
CHAPTERS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]-*.ipynb"))


needs_clients = pytest.mark.skipif(
    not (shutil.which("kubectl") and shutil.which("aws")), reason="kubectl and the AWS CLI are not on the PATH"
)


# What the terminal shows, null if there is none. (It draws on a canvas: the page has no text of it.)
TEXT = """(() => {
    const { shell } = window.jupyterapp;
    const found = [...shell.widgets('main'), ...shell.widgets('down')].find(shown => shown.content?._term?.buffer);
    if (!found) return null;
    const buffer = found.content._term.buffer.active;
    let text = '';
    for (let i = 0; i < buffer.length; i++) {
        const line = buffer.getLine(i);
        text += (line.isWrapped || !i ? '' : '\\n') + line.translateToString(true);
    }
    return text;
})()"""


def wait(page: Any, condition: str, **options: Any) -> Any:
    """Waits for a condition in the page, ten times a second: playwright would look 60 times, at all that there is."""
    return page.wait_for_function(condition, polling=100, **options)


class Screen:
    """A page of the browser with JupyterLab on it."""

    def __init__(self, page: Any, server: JupyterLab) -> None:
        self.page = page
        self.server = server
        page.goto(f"{server.url}/lab/?reset&token={server.token}")
        wait(page, "() => window.jupyterapp?.restored")
        page.evaluate("() => window.jupyterapp.restored.then(() => true)")

    def run(self, command: str, **arguments: Any) -> None:
        """Runs one of JupyterLab's commands, as its menus do."""
        self.page.evaluate(
            "([c, a]) => window.jupyterapp.commands.execute(c, a).then(() => true)", [command, arguments]
        )

    def picture(self, name: str) -> None:
        if PICTURES:
            self.page.screenshot(path=str(Path(PICTURES) / f"{name}.png"))

    def open(self, path: str, *, kernel: bool = True) -> None:
        """Opens a notebook; returns when its text is rendered and its kernel runs, unless it is to have none."""
        self.run("docmanager:open", path=path, kernelPreference={"shouldStart": kernel})
        wait(
            self.page,
            """([path, kernel]) => {
                const shown = window.jupyterapp.shell.currentWidget;
                const cells = shown?.content?.widgets ?? [];
                return shown?.context?.path === path && cells.length > 1
                    && cells.every(cell => cell.model.type !== 'markdown'
                        || cell.node.querySelector('.jp-MarkdownOutput')?.childElementCount)
                    && (!kernel || shown.sessionContext.session?.kernel?.connectionStatus === 'connected');
            }""",
            arg=[path, kernel],
            timeout=60_000,
        )

    def close(self) -> None:
        """Closes what is open, without asking whether to save it, and ends its kernel."""
        self.page.evaluate(
            """async () => {
                const shown = window.jupyterapp.shell.currentWidget;
                await shown.sessionContext?.shutdown();
                shown.dispose();
            }"""
        )

    def outputs(self, last: str) -> list[Any]:
        """Runs all cells of the notebook; the outputs of each when the last one has run."""
        self.run("notebook:clear-all-cell-outputs")
        self.run("notebook:run-all-cells")
        # JupyterLab may keep cells that are out of sight out of the page: its model has them all.
        outputs: list[Any] = wait(
            self.page,
            """() => {
                const cells = window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells
                    .filter(cell => cell.cell_type === 'code');
                return cells.every(cell => cell.execution_count) && cells[cells.length - 1].toJSON().outputs.length
                    ? cells.map(cell => cell.toJSON().outputs) : null;
            }""",
            timeout=240_000,
        ).json_value()
        assert not [output for cell in outputs for output in cell if output["output_type"] == "error"]
        assert re.search(last, json.dumps(outputs[-1]))
        return outputs

    def terminal(self) -> Terminal:
        # An empty JupyterLab opens its launcher, which takes the keyboard.
        wait(self.page, "() => [...window.jupyterapp.shell.widgets('main')].length")
        self.run("terminal:create-new")
        wait(self.page, f"() => {TEXT} !== null")
        return Terminal(self.page)


class Terminal:
    """JupyterLab's terminal, typed into with the keyboard."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self._typed = 0
        page.locator(".jp-Terminal:visible").click()
        self.says("echo ready")

    def enter(self, line: str) -> None:
        """Types a line, and doesn't wait."""
        self.page.keyboard.type(line)
        self.page.keyboard.press("Enter")

    def says(self, command: str) -> str:
        """Types a command and returns what the terminal shows of it, when the command has ended."""
        self._typed += 1
        end = f"end-{self._typed}-"
        self.enter(f"clear; {command}; echo {end}$?")
        shown: str = wait(
            self.page,
            f"end => {{ const text = {TEXT} ?? ''; return RegExp(`^${{end}}[0-9]`, 'm').test(text) ? text : null }}",
            arg=end,
            timeout=60_000,
        ).json_value()
        return shown


@pytest.fixture(scope="module")
def jupyterlab(attendee: Attendee) -> Iterator[JupyterLab]:
    with attendee.jupyterlab() as server:
        yield server


@pytest.fixture(scope="module")
def loaded(chromium: Any, jupyterlab: JupyterLab) -> Screen:
    return Screen(chromium.new_page(viewport={"width": 1400, "height": 1000}), jupyterlab)


@pytest.fixture
def screen(loaded: Screen) -> Iterator[Screen]:
    """JupyterLab with nothing open, which it takes long to load."""
    yield loaded
    loaded.page.evaluate(
        """() => ['main', 'down'].forEach(area =>
            [...window.jupyterapp.shell.widgets(area)].forEach(shown => shown.dispose()))"""
    )


def test_it_serves_the_checkout_on_loopback_and_asks_for_a_token(jupyterlab: JupyterLab, attendee: Attendee) -> None:
    import urllib.error
    import urllib.request

    assert jupyterlab.root == str(attendee.folder)
    assert jupyterlab.url.startswith("http://127.0.0.1:")
    assert jupyterlab.token
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{jupyterlab.url}/api/contents", timeout=10)


def test_tabs_that_a_person_has_open_in_another_jupyterlab_stay_there(
    jupyterlab: JupyterLab, attendee: Attendee
) -> None:
    import urllib.request

    address = f"{jupyterlab.url}/lab/api/workspaces?token={jupyterlab.token}"
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert "elsewhere" not in answer.read().decode()
    assert (attendee.home / ".jupyter/lab/workspaces").is_dir()


LOOK = """async () => {
    const texts = [...document.querySelectorAll('.jp-MarkdownOutput')];
    const all = kind => texts.flatMap(text => [...text.querySelectorAll(kind)]);
    const own = all('a[href]:not(.jp-InternalAnchorLink)').filter(link => link.origin === location.origin);
    const links = await Promise.all(own.map(async link =>
        [link.href, link.hash && link.pathname === location.pathname
            ? !!document.querySelector(`[data-jupyter-id="${decodeURIComponent(link.hash.slice(1))}"]`)
            : (await fetch(link.href)).ok]));
    const folds = all('details').map(fold => {
        fold.open = false;
        const closed = fold.offsetHeight;
        fold.open = true;
        return [fold.querySelector('summary')?.innerText ?? '', fold.offsetHeight > closed];
    });
    return {
        pictures: [...document.querySelectorAll('.jp-Notebook img')].map(img => [img.src, img.naturalWidth]),
        links, folds, text: texts.map(text => text.innerText).join('\\n'),
    };
}"""


def wrong(found: dict[str, Any], text: str) -> list[Any]:
    """What is broken of a chapter, or isn't there, by its text."""
    expected = {"pictures": r"!\[", "links": r"(?<!!)\[[^\]]*\]\((?!https?:)", "folds": "<details"}
    faults = [one for kind in expected for one in found[kind] if not all(one)]
    faults += [kind for kind, written in expected.items() if len(found[kind]) < len(re.findall(written, text))]
    return faults + re.findall(r"```|</?(?:details|summary|pre|code)", found["text"])


def test_every_chapter_has_its_pictures_links_and_folds(screen: Screen) -> None:
    for chapter in CHAPTERS:
        cells = nbformat.read(ROOT / "notebooks" / f"{chapter}.ipynb", 4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        screen.open(f"my-notebooks/{chapter}.ipynb", kernel=False)
        for theme in ("Light", "Dark"):
            screen.run("apputils:change-theme", theme=f"JupyterLab {theme}")
            wait(
                screen.page,
                """() => !document.getElementById('jupyterlab-splash')
                    && [...document.querySelectorAll('.jp-Notebook img')].every(picture => picture.complete)""",
            )
            screen.picture(f"{chapter}-{theme.lower()}")
            deadline = time.monotonic() + 20
            while faults := wrong(screen.page.evaluate(LOOK), text):  # links get their addresses one after the other
                assert time.monotonic() < deadline, (chapter, theme, faults)
                time.sleep(0.1)
        screen.close()


def test_a_link_to_a_file_opens_it(screen: Screen) -> None:
    screen.open("my-notebooks/04-custom-rules.ipynb", kernel=False)
    screen.page.get_by_role("link", name="custom-rules/whoami.yaml").click()
    wait(screen.page, "() => window.jupyterapp.shell.currentWidget.context?.path === 'custom-rules/whoami.yaml'")
    screen.close()
    screen.close()


@pytest.mark.parametrize(
    ("chapter", "said"),
    [
        ("00-start-here", "Chapter 00 is done"),
        ("06-metrics-and-alarms", "Chapter 06 is done"),
    ],
)
def test_run_all_reaches_the_checkpoint(screen: Screen, chapter: str, said: str) -> None:
    screen.open(f"notebooks/{chapter}.ipynb")
    screen.outputs(said)
    screen.picture(f"{chapter}-executed")
    screen.close()


def test_run_all_in_a_copy_stops_at_the_exercise(screen: Screen) -> None:
    screen.open("my-notebooks/03-default-rules.ipynb")
    screen.run("notebook:run-all-cells")
    cells: list[Any] = wait(
        screen.page,
        """() => {
            const cells = window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells
                .filter(cell => cell.cell_type === 'code').map(cell => cell.toJSON());
            return cells.some(cell => cell.outputs.some(output => output.output_type === 'error')) ? cells : null;
        }""",
        timeout=120_000,
    ).json_value()
    stopped = next(cell for cell in cells if any(output["output_type"] == "error" for output in cell["outputs"]))
    screen.picture("your-turn")
    assert stopped["source"] == 'lab.check("03-one-alerts", commands)'
    card, error = stopped["outputs"]
    assert "Your turn: Three commands of your own" in card["data"]["text/html"]
    assert error["traceback"] == ["Not yet: the cells below wait for this one."]
    assert screen.page.get_by_text("Traceback").count() == 0
    in_sight = """text => {
        const card = [...document.querySelectorAll('.jp-OutputArea-output b')].find(b => b.innerText.includes(text));
        const place = card?.getBoundingClientRect();
        return place && place.top > 0 && place.bottom < innerHeight;
    }"""
    wait(screen.page, in_sight, arg="Your turn: Three commands of your own")  # not the end of the notebook
    screen.close()


SHOWN = """
print('word ' * 60)
lab.preflight()
lab.ensure("nginx", "falco", "fluent-bit")
lab.status()
lab.pods("falco")
lab.attack("read-shadow", "drop-and-execute", "control-read-passwd", "whoami")
lab.attack("drop-and-execute")["drop-and-execute"]
attacks.catalogue()
lab.alerts().falco.table()
lab.show("manifests/iam/fluent-bit-trust.json", mark={"aud": "for STS", "sub": "for Fluent Bit"})
lab.show("custom-rules/whoami.yaml", mark="condition")
lab.cli("findings-forwarder")
lab.progress()
rules.check([lab.default_rules(), *sorted((lab.settings.root / "custom-rules/broken").glob("*.yaml"))])
rules.load(lab.default_rules()).explain("Netcat Remote Code Execution in Container")
rules.load(lab.default_rules()).replay(visit)
rules.load(lab.default_rules()).why("Read sensitive file untrusted", rules.open_events(visit))
"""

# Texts of outputs whose contrast is less than 4.5, and what is wider than the cell or the part it is in.
READ = """() => {
    const canvas = document.createElement('canvas');
    const context = canvas.getContext('2d', {willReadFrequently: true});
    const parsed = colour => {
        context.clearRect(0, 0, 1, 1);
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat([1]);
    const linear = v => v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4;
    const luminance = c => 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
    const faint = [], outputs = [...document.querySelectorAll('.jp-OutputArea-output')];
    let texts = 0;
    for (const output of outputs) {
        const walker = document.createTreeWalker(output, NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
            const text = walker.currentNode.data.trim(), element = walker.currentNode.parentElement;
            if (!text || !element.getClientRects().length) continue;
            const grounds = [];
            for (let at = element; at && grounds.at(-1)?.[3] !== 1; at = at.parentElement)
                grounds.push(parsed(getComputedStyle(at).backgroundColor));
            const ground = grounds.reduceRight((below, top) => over(top, below), [255, 255, 255, 1]);
            const own = luminance(over(parsed(getComputedStyle(element).color), ground)), other = luminance(ground);
            const contrast = (Math.max(own, other) + 0.05) / (Math.min(own, other) + 0.05);
            if (contrast < 4.5) faint.push([contrast.toFixed(2), text]);
            texts += 1;
        }
    }
    const parts = outputs.flatMap(output => [output, ...output.querySelectorAll('td, th, pre, div')]);
    const wide = parts.filter(p => p.scrollWidth > p.clientWidth + 1).map(p => p.innerText.slice(0, 80));
    const broken = parts.filter(p => getComputedStyle(p).wordBreak === 'break-all').map(p => p.innerText.slice(0, 80));
    return {faint, wide, broken, texts, outputs: outputs.length};
}"""


def test_results_are_read_easily_and_nothing_is_cut_off(screen: Screen, attendee: Attendee) -> None:
    begin = (
        "import falcorules as rules\nfrom labkit import Lab, attacks\nlab = Lab.connect()\n"
        "visit = lab.settings.root / 'custom-rules/recorded/visit.jsonl.gz'"
    )
    lines = SHOWN.strip().splitlines()
    cells = [nbformat.v4.new_code_cell(source) for source in (begin, *lines, "print('the end')")]
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernelspec})
    nbformat.write(notebook, attendee.folder / "notebooks" / "shown.ipynb")
    size = screen.page.viewport_size
    screen.page.set_viewport_size({"width": 1280, "height": 9000})  # cells out of sight may be out of the page
    try:
        screen.open("notebooks/shown.ipynb")
        screen.outputs("the end")
        for theme in ("Light", "Dark"):
            screen.run("apputils:change-theme", theme=f"JupyterLab {theme}")
            wait(screen.page, "() => !document.getElementById('jupyterlab-splash')")
            screen.picture(f"results-{theme.lower()}")
            found = screen.page.evaluate(READ)
            assert (found["faint"], found["wide"], found["broken"]) == ([], [], []), theme
            assert found["outputs"] >= len(lines) + 1  # and lines that said what was waited for, now empty
            assert found["texts"] > 500
        screen.close()
    finally:
        screen.page.set_viewport_size(size)


@needs_clients
def test_shell_cells_use_the_lab(screen: Screen, attendee: Attendee) -> None:
    cells = [
        nbformat.v4.new_code_cell("!labkit status; aws sts get-caller-identity --query Account --output text"),
        nbformat.v4.new_code_cell(
            "%%bash\nlabkit status\nkubectl get nodes -o name\naws sqs list-queues --output text"
        ),
        nbformat.v4.new_code_cell(
            "import boto3\nprint('boto3:', boto3.client('sts').get_caller_identity()['Account'])\n"
            "from labkit import Lab\n"
            "try:\n    Lab.connect(target='eks')\nexcept Exception as error:\n    print(type(error).__name__, error)"
        ),
    ]
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernelspec})
    nbformat.write(notebook, attendee.folder / "notebooks" / "mine.ipynb")
    screen.open("notebooks/mine.ipynb")
    shell, bash, python = ("".join(o["text"] for o in cell) for cell in screen.outputs("LABKIT_TARGET=eks make lab"))
    lab = state.read(attendee.folder / ".labkit")
    assert lab is not None
    assert f"pid {lab.pid}" in shell
    assert lab.account_id in shell.split()
    assert f"pid {lab.pid}" in bash
    assert "node/ip-10-0-1-23.ec2.internal" in bash
    assert f"boto3: {lab.account_id}" in python
    assert "TargetError" in python
    screen.close()
    assert attendee.elsewhere.connections == 0


@needs_clients
def test_a_terminal_uses_the_lab_and_says_what_to_do_when_it_has_ended(screen: Screen, attendee: Attendee) -> None:
    home = attendee.folder / ".labkit"
    lab = state.read(home)
    assert lab is not None
    terminal = screen.terminal()
    said = terminal.says("kubectl get pods; kubectl get nodes; aws sts get-caller-identity; labkit status")
    screen.picture("terminal")
    assert re.search("^NAME +READY|No resources found in default namespace", said, re.M)  # as chapters left it
    assert re.search(r"ip-10-0-1-23.* Ready ", said)
    assert f'"Account": "{lab.account_id}"' in said
    assert f"pid {lab.pid}" in said
    said = terminal.says(
        "aws sqs create-queue --queue-name mine; kubectl config get-contexts; env | grep -e prod -e real"
    )
    assert f'"QueueUrl": "{lab.aws_url}/' in said
    assert "prod" not in said
    terminal.enter("bash")  # it would read the person's own files
    said = terminal.says("cd /tmp; labkit status; kubectl config current-context; echo [$AWS_PROFILE]")
    assert f"pid {lab.pid}" in said
    assert "falco-workshop.us-east-1.embedded\n[]" in said

    assert client.stop(home)
    said = terminal.says("kubectl get pods; aws sts get-caller-identity; labkit status")
    assert said.count("labkit up") == 3
    screen.picture("terminal-without-a-lab")
    said = terminal.says("labkit up; kubectl get nodes; aws sts get-caller-identity")
    assert re.search(r"ip-10-0-1-23.* Ready ", said)
    assert f'"Account": "{lab.account_id}"' in said
    back = state.read(home)
    assert back is not None
    assert (back.aws_url, back.kubernetes_url, back.credentials) == (lab.aws_url, lab.kubernetes_url, lab.credentials)
    assert attendee.elsewhere.connections == 0


def test_the_button_of_a_chapter_opens_a_shell_in_the_pod_below_it(screen: Screen, attendee: Attendee) -> None:
    page = screen.page

    def shows(pattern: str) -> None:
        """Waits until the terminal shows it; `""` until there is no terminal."""
        shown = f"p => {{ const text = {TEXT}; return p ? new RegExp(p, 'm').test(text ?? '') : text === null }}"
        wait(page, shown, arg=pattern, timeout=60_000)

    lab = Lab.connect(home=attendee.folder / ".labkit", root=attendee.folder)
    lab.undo("nginx")
    page.set_viewport_size({"width": 1280, "height": 900})
    screen.open("my-notebooks/03-default-rules.ipynb", kernel=False)
    button = page.get_by_role("button", name="Open a shell in the nginx pod")
    button.click()
    shows("Namespace default has no nginx")
    shows("^Press Enter")
    screen.picture("pod-shell-without-nginx")
    page.keyboard.press("Enter")
    shows("")
    lab.ensure("nginx")
    button.click()
    shows("not on your computer")
    shows("root@nginx-[^ ]+:/# ")
    page.keyboard.type("cat /etc/ngi\t\t\t")
    shows("^root.*cat /etc/nginx/")
    page.keyboard.press("Control+u")
    page.keyboard.type("ls /usr/\t\t")
    shows("^bin/ .*local/ ")
    screen.picture("pod-shell")
    assert button.is_visible()  # the terminal is below the chapter
    box = page.locator(".jp-Terminal:visible").bounding_box()
    assert box is not None
    assert box["width"] > 900
    page.keyboard.press("Control+u")
    page.keyboard.type("exit")
    page.keyboard.press("Enter")
    shows("")
    screen.close()


def test_on_eks_a_terminal_has_what_the_person_has_and_labkit(chromium: Any, attendee: Attendee) -> None:
    before = client.find(attendee.folder / ".labkit")
    with attendee.jupyterlab(LABKIT_TARGET="eks") as server:
        page = chromium.new_page()
        terminal = Screen(page, server).terminal()
        said = terminal.says(
            "echo $AWS_PROFILE $KUBECONFIG $AWS_ENDPOINT_URL; echo ${LABKIT_HOME-none}; alias kubectl; type -a labkit"
        )
        page.close()
    assert f"prod {attendee.home}/.kube/config {attendee.elsewhere.url}\nnone\n" in said
    assert "alias kubectl='kubectl --kubeconfig" in said
    assert f"{sys.prefix}/bin/labkit" in said
    assert client.find(attendee.folder / ".labkit") == before


def test_it_opens_the_first_chapter_and_ctrl_c_ends_it(attendee: Attendee) -> None:
    running = attendee.servers()
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(attendee.folder)
        environ = attendee.environ | {"BROWSER": f"{attendee.home}/bin/browser %s"}
        os.execvpe("make", attendee.make_lab(browser=""), environ)
    said = b""

    def until(text: bytes) -> None:
        nonlocal said
        while text not in said:
            assert select.select([terminal], [], [], 60)[0], said
            said += os.read(terminal, 4096)

    until(b"/lab/tree/my-notebooks/00-start-here.ipynb?token=")  # for those who copy it into a browser
    opened = attendee.home / "opened.html"
    deadline = time.monotonic() + 30
    while not (opened.exists() and "00-start-here" in opened.read_text()):
        assert time.monotonic() < deadline, said
        time.sleep(0.1)
    assert "/lab/tree/my-notebooks/00-start-here.ipynb?token=" in opened.read_text()
    os.write(terminal, b"\x03")
    until(b"(y/[n])?")
    os.write(terminal, b"y\n")
    with contextlib.suppress(OSError):  # EIO: all that had the terminal open have ended
        until(b"never said")
    assert os.waitpid(pid, 0)[0] == pid
    assert b"Shutdown confirmed" in said
    assert attendee.servers() == running


def test_the_console_opens_beside_the_notebook(screen: Screen) -> None:
    screen.open("my-notebooks/03-default-rules.ipynb")
    for part in ("target = None", "from labkit import Lab", "lab.console()"):
        screen.page.evaluate(
            """async part => {
                const shown = window.jupyterapp.shell.currentWidget, cells = shown.content.model.sharedModel.cells;
                shown.content.activeCellIndex =
                    cells.findIndex(cell => cell.cell_type === 'code' && cell.getSource().includes(part));
                await window.jupyterapp.commands.execute('notebook:run-cell');
            }""",
            part,
        )
    screen.page.locator("button[data-commandlinker-command='falco-workshop:console']").click()
    console = screen.page.frame_locator("iframe[title='Console of the lab']")
    console.locator("#st-alerts[data-state=ok]").wait_for(timeout=20_000)
    assert "token=" not in console.locator("body").evaluate("() => location.href")
