"""The runner: notebooks in order, a report, and what happens when a cell fails."""

from __future__ import annotations

import html
import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from ekslab import client, state
from ekslab.state import Endpoints
from labkit import report, runner
from labkit.cli import main
from labkit.connect import start_embedded
from labkit.environment import embedded
from labkit.errors import RunError
from labkit.kernels import Template
from labkit.settings import Settings
from labkit.waiting import poll


def _notebook(path: Path, *sources: str) -> None:
    cells = [new_markdown_cell(f"# Chapter {path.stem}"), new_code_cell("who = 'nobody'")]
    cells[1].metadata["tags"] = ["parameters"]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells + [new_code_cell(s) for s in sources], metadata=metadata), path)


def _last(runs: Iterator[report.Run]) -> report.Run:
    *_, last = runs
    return last


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template]:
    template = Template(tmp_path_factory.mktemp("template") / "kernels.log")
    yield template
    template.stop()


@pytest.fixture(autouse=True)
def _one_template(template: Template, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels of runs in this process are forked from one process, which outlives them."""

    class Shared(Template):
        def __init__(self, log: Path) -> None:
            self.log = log
            self._process = template._process

        def stop(self) -> None:
            pass

    monkeypatch.setattr("labkit.runner.Template", Shared)
    monkeypatch.setattr("labkit.cli.run.Template", Shared)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "notebooks").mkdir()
    return tmp_path / "notebooks"


def test_chapters_are_found_in_order_and_chosen_by_number(folder: Path) -> None:
    for name in ("03-c", "00-a", "01-b"):
        _notebook(folder / f"{name}.ipynb")
    (folder / "notes.ipynb").touch()
    assert [p.stem for p in runner.find_chapters(folder)] == ["00-a", "01-b", "03-c"]
    assert [p.stem for p in runner.find_chapters(folder, ["03", "00"])] == ["00-a", "03-c"]
    assert [p.stem for p in runner.find_chapters(folder, ["3", "1"])] == ["01-b", "03-c"]
    with pytest.raises(RunError, match="no chapter '07'"):
        runner.find_chapters(folder, ["07"])


def test_a_folder_without_notebooks_is_an_error_that_says_where_to_be(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="workshop's folder"):
        runner.find_chapters(tmp_path)


def test_a_failing_cell_stops_the_run_and_is_in_every_report(folder: Path, tmp_path: Path) -> None:
    _notebook(folder / "00-good.ipynb", "print('hello', who)")
    _notebook(folder / "01-bad.ipynb", "broken = 1", "assert broken == 2, 'not <two>'")
    _notebook(folder / "02-never.ipynb", "print('never')")
    output = tmp_path / "out"
    run = _last(runner.execute(runner.find_chapters(folder), output, parameters={"who": "you"}))
    assert [c.status for c in run.chapters] == ["passed", "failed", "not run"]
    assert not run.passed
    failed = run.failed_chapter
    assert failed is not None
    assert failed.cell == "assert broken == 2, 'not <two>'"
    assert failed.error == "AssertionError: not <two>"
    assert "hello you" in (output / "00-good.html").read_text()

    index = report.write_index(run).read_text()
    assert "not &lt;two&gt;" in index
    assert '<a href="00-good.html">' in index
    assert "02-never.html" not in index
    report.write_junit(run, tmp_path / "junit.xml")
    suite = ET.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert "not <two>" in (failure.text or "")


def test_a_page_carries_its_pictures_and_keeps_what_can_be_unfolded(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    _notebook(folder / "00-a.ipynb", "print('hello')")
    notebook = nbformat.read(folder / "00-a.ipynb", as_version=4)
    text = "![a picture](../images/a.svg)\n\n<details><summary>More</summary>\n\n```bash\nls\n```\n</details>"
    notebook.cells.append(new_markdown_cell(text))
    nbformat.write(notebook, folder / "00-a.ipynb")
    _last(runner.execute(runner.find_chapters(folder), tmp_path / "out"))
    page = (tmp_path / "out" / "00-a.html").read_text()
    assert re.findall(r"<(?:script|link|img)[^>]*https?://[^>]*>", page) == []
    assert 'src="data:image/svg+xml;base64,' in page
    assert "../images/a.svg" not in page
    unfolded = page[page.index("<details>") : page.index("</details>")]
    assert "<summary>More</summary>" in unfolded
    assert "ls" in unfolded.replace("<summary>More</summary>", "")


def test_a_run_on_the_embedded_lab_never_reaches_for_a_real_account(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manifests").mkdir()
    _notebook(
        folder / "00-a.ipynb",
        "import os; print(sorted(n for n, v in os.environ.items() if v in ('production', '/real')))",
        "print(os.environ['KUBECONFIG'] == os.path.join(os.environ['LABKIT_HOME'], 'kubeconfig'))",
        "from labkit.settings import Settings; print(Settings.load().target)",
    )
    monkeypatch.chdir(tmp_path)
    for name, value in {"LABKIT_TARGET": "eks", "AWS_PROFILE": "production", "KUBECONFIG": "/real"}.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(main, ["run", "--target", "embedded", "--output", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    done = nbformat.read(tmp_path / "out" / "00-a.ipynb", as_version=4)
    printed = "".join(output.text for cell in done.cells if cell.cell_type == "code" for output in cell.outputs)
    assert printed == "[]\nTrue\nembedded\n"
    assert os.environ["AWS_PROFILE"] == "production"


def test_a_run_from_a_terminal_of_a_lab_leaves_that_lab_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in JupyterLab's terminals, and after `eval "$(labkit env)"`."""
    (tmp_path / "manifests").mkdir()
    _notebook(
        folder / "00-a.ipynb",
        "import os; print(sorted(f'{n}={v}' for n, v in os.environ.items() if HOME in v))",
        "from labkit import Lab; lab = Lab.connect(); print(lab.settings.home == lab.settings.root / 'out/.labkit')",
        "print(lab.settings.aws_port, lab.settings.kubernetes_port, os.environ['AWS_ENDPOINT_URL'] != URL)",
    )
    monkeypatch.chdir(tmp_path)
    lab = start_embedded(Settings.load(home=tmp_path / "attendee"))
    try:
        source = nbformat.read(folder / "00-a.ipynb", as_version=4)
        source.cells[1].source = f"HOME, URL = {str(lab.home)!r}, {lab.aws_url!r}"
        nbformat.write(source, folder / "00-a.ipynb")
        for name, value in embedded(lab).of_process(os.environ).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("LABKIT_AWS_PORT", str(lab.aws_port))
        monkeypatch.setenv("LABKIT_ROOT", "/elsewhere")
        result = CliRunner().invoke(main, ["run", "--output", str(tmp_path / "out")])
        assert result.exit_code == 0, result.output
        done = nbformat.read(tmp_path / "out" / "00-a.ipynb", as_version=4)
        printed = "".join(o.get("text", "") for cell in done.cells[2:] for o in cell.outputs)
        assert printed == "[]\nTrue\n0 0 True\n"
        assert client.find(lab.home) == lab
        assert client.find(tmp_path / "out" / ".labkit") is None
        assert os.environ["LABKIT_HOME"] == str(lab.home)
    finally:
        client.stop(lab.home)


@pytest.mark.parametrize("output", ["notebooks", "my-notebooks", ".", "..", ".labkit"])
def test_a_run_refuses_to_replace_the_chapters(
    output: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manifests").mkdir()
    _notebook(folder / "00-a.ipynb", "print('hello')")
    before = (folder / "00-a.ipynb").read_bytes()
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["run", "--output", output])
    assert result.exit_code == 1
    assert "The output can't go to" in result.output
    assert "such as build/run" in result.output
    assert (folder / "00-a.ipynb").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifests", "notebooks"]


def test_a_run_that_is_killed_leaves_neither_lab_nor_kernel(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    _notebook(
        folder / "00-a.ipynb",
        "import os, pathlib, time; pathlib.Path('kernel').write_text(f'{os.getpid()} {os.getppid()}')",
        "while True: pass",
    )
    command = [sys.executable, "-m", "labkit.cli", "run", "--here", "--output", str(tmp_path / "out")]
    old = [tmp_path / "out" / name for name in ("index.html", "junit.xml", "00-a.html")]
    for path in old:
        path.parent.mkdir(exist_ok=True)
        path.write_text("passed")
    run = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"LABKIT_HOME": str(tmp_path / "home")})
    noted = folder / "kernel"
    assert poll(lambda: (noted.exists() and noted.read_text()) or None, "the kernel", 60)
    lab = state.read(tmp_path / "home")
    assert lab is not None
    run.kill()
    run.wait()
    assert not any(path.exists() for path in old), "they say how another run ended"
    assert client._wait_for_exit(lab.pid, 20)
    for pid in noted.read_text().split():
        assert client._wait_for_exit(int(pid), 20)


def test_a_run_into_the_folder_of_another_waits_for_it(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    _notebook(folder / "00-a.ipynb", "import pathlib; assert pathlib.Path('go').exists()")
    command = [sys.executable, "-m", "labkit.cli", "run", "--only", "0", "--output", str(tmp_path / "out")]
    with runner.alone(tmp_path / "out"):
        second = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        assert second.stderr is not None
        assert second.stderr.readline() == f"Waiting for another run into {tmp_path / 'out'} ...\n"
        assert not (tmp_path / "out" / "kernels.log").exists()
        (folder / "go").touch()
    assert second.wait(60) == 0
    second.stderr.close()
    assert "1 of 1 chapters passed" in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.parametrize("text", ["<<<<<<< HEAD", "", "[]", "{}", "\udcff"])
def test_a_chapter_that_is_no_notebook_is_named(
    text: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manifests").mkdir()
    (folder / "01-b.ipynb").write_text(text, errors="surrogateescape")
    monkeypatch.chdir(tmp_path)
    for command in (["run", "--output", str(tmp_path / "out")], ["start-over"]):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 1
        assert "notebooks/01-b.ipynb isn't a notebook" in result.output
        assert "git checkout notebooks/01-b.ipynb" in result.output
        assert "fault of labkit" not in result.output


def test_a_chapter_has_a_kernel_to_itself_in_its_folder(folder: Path, tmp_path: Path) -> None:
    sources = (
        "import sys, os; print(os.getcwd(), 'pandas' in globals(), 'who' in globals(), sys.stdin.read())",
        "import subprocess; print(subprocess.run(['sh', '-c', 'exit 3']).returncode)",
    )
    _notebook(folder / "00-a.ipynb", "import pandas; mine = 1", *sources)
    _notebook(folder / "01-b.ipynb", "'mine' in globals()", *sources)
    assert _last(runner.execute(runner.find_chapters(folder), tmp_path / "out")).passed
    done = nbformat.read(tmp_path / "out" / "01-b.ipynb", as_version=4)
    outputs = [o.get("text") or o["data"]["text/plain"] for c in done.cells[2:] for o in c.outputs]
    assert outputs == ["False", f"{folder} False True \n", "3\n"]


def test_a_kernel_shows_what_one_that_jupyter_starts_shows(folder: Path, tmp_path: Path) -> None:
    """What libraries decide when they are imported, which is before the kernel's process is one."""
    from nbclient import NotebookClient

    options = (
        "import matplotlib, pandas\n"
        "from pandas._config import config\n"
        "print({name: str(config.get_option(name)) for name in sorted(config._registered_options)})\n"
        "print({name: str(value) for name, value in matplotlib.rcParams.items()})"
    )
    _notebook(folder / "00-a.ipynb", options)
    assert _last(runner.execute(runner.find_chapters(folder), tmp_path / "out")).passed
    forked, plain = (nbformat.read(path, 4) for path in (tmp_path / "out" / "00-a.ipynb", folder / "00-a.ipynb"))
    NotebookClient(plain).execute()
    theirs, ours = (
        "".join(o.text for o in notebook.cells[-1].outputs if o.name == "stdout") for notebook in (plain, forked)
    )
    assert ours == theirs
    assert "display.max_columns" in ours


def _failure(folder: Path, output: Path, source: str) -> report.Chapter:
    """A chapter whose third cell, after one that prints, fails; the report and JUnit say why, too."""
    _notebook(folder / "00-a.ipynb", "print('fine')", source, "print('never')")
    run = _last(runner.execute(runner.find_chapters(folder), output))
    failed = run.failed_chapter
    assert failed is not None
    assert (failed.cell, failed.cell_number) == (source, 3)
    index = html.unescape(report.write_index(run).read_text())
    page = html.unescape((output / "00-a.html").read_text())
    report.write_junit(run, output / "junit.xml")
    assert all(failed.reason in text for text in (index, page, html.unescape((output / "junit.xml").read_text())))
    return failed


@pytest.mark.parametrize(
    ("source", "reason", "hint"),
    [
        ("%nosuch 1", "UsageError: Line magic function `%nosuch` not found.", "`%lsmagic` lists those there are"),
        ("%%nosuch\nx", "UsageError: Cell magic `%%nosuch` not found.", "`%lsmagic` lists those there are"),
        ("%timeit -n\n", "UsageError: option -n requires argument", "`%timeit?`"),
        (
            "x = 1\n%%bash\nls",
            "UsageError: Line magic function `%%bash` not found",
            "must be the first line of its cell",
        ),
        (
            "%%bash\necho fine\necho 'no such pod' >&2\nexit 3",
            "The script of `%%bash` ended with exit code 3.\n    no such pod",
            "Type its commands into a terminal",
        ),
        (
            "%%bash\nnosuchprogram",
            "The script of `%%bash` ended with exit code 127.\n    bash: line 1: nosuchprogram: command not found",
            "`labkit doctor`",
        ),
        ("%%bash\nkill -9 $$", "The script of `%%bash` was ended by the signal SIGKILL.", "Type its commands"),
        ("x = 1\ny = = 2", "SyntaxError: invalid syntax (line 2 of the cell)", "Read the cell"),
        ("%%capture\n1 / 0", "ZeroDivisionError: division by zero", "Read the cell"),
        ("import os; os._exit(1)", "The kernel, the process that runs the chapter's cells, died while", "memory"),
    ],
)
def test_a_cell_that_fails_says_why_and_what_to_do(
    source: str, reason: str, hint: str, folder: Path, tmp_path: Path
) -> None:
    failed = _failure(folder, tmp_path / "out", source)
    assert failed.reason.startswith(reason)
    assert hint in failed.what_to_do
    assert failed.what_to_do.endswith("Then run the chapter alone: `labkit run --only 00`.")


def test_a_cell_that_takes_too_long_is_stopped(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.runner.CELL_SECONDS", 2)
    failed = _failure(folder, tmp_path / "out", "import time; print('so far'); time.sleep(60)")
    assert failed.reason == "The cell was stopped: it ran for more than 2 seconds."
    assert "so far" in (tmp_path / "out" / "00-a.html").read_text()


def test_a_lab_that_ends_in_the_middle_is_the_reason(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manifests").mkdir()
    monkeypatch.chdir(tmp_path)
    _notebook(
        folder / "00-a.ipynb",
        "import json, os, pathlib, signal\nfrom labkit import Lab\nlab = Lab.connect()",
        "state = pathlib.Path(os.environ['LABKIT_HOME'], 'lab.json')\n"
        "os.kill(json.loads(state.read_text())['pid'], signal.SIGKILL)",
        "lab.exec('deploy/nginx', 'whoami')",
    )
    result = CliRunner().invoke(main, ["run", "--output", str(tmp_path / "out")])
    assert result.exit_code == 1
    log = tmp_path / "out" / ".labkit" / "lab.log"
    for said in (
        "00-a failed in cell 4:\n\n    lab.exec('deploy/nginx', 'whoami')",
        f"The embedded lab ended while this cell ran. Its log, {log}, ends with:",
        "The cell's own error:",
        "A run starts a new lab.",
        "labkit run --only 00",
    ):
        assert said in result.output
    assert "The embedded lab ended while this cell ran." in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_the_run_with_a_report(
    how: signal.Signals, folder: Path, tmp_path: Path, new_lab: Callable[..., Endpoints]
) -> None:
    (tmp_path / "manifests").mkdir()
    new_lab(home=tmp_path / "home")
    _notebook(folder / "00-a.ipynb", "print('hello')")
    _notebook(
        folder / "01-b.ipynb",
        "import os, pathlib, time; pathlib.Path('kernel').write_text(f'{os.getpid()} {os.getppid()}')",
        "while True: time.sleep(0.1)",
    )
    command = [sys.executable, "-m", "labkit.cli", "run", "--here", "--output", str(tmp_path / "out")]
    environ = os.environ | {"LABKIT_HOME": str(tmp_path / "home")}
    run = subprocess.Popen(
        command, cwd=tmp_path, env=environ, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    noted = folder / "kernel"
    assert poll(lambda: (noted.exists() and noted.read_text()) or None, "the kernel", 60)
    if how == signal.SIGINT:
        os.killpg(run.pid, how)  # as a terminal does: to all of the run's processes
    else:
        run.send_signal(how)
    complaint = run.communicate(timeout=60)[1]
    assert run.returncode == 130
    assert f"labkit: Interrupted in 01-b. Report: {tmp_path / 'out' / 'index.html'}" in complaint
    index = (tmp_path / "out" / "index.html").read_text()
    assert '<a href="00-a.html">' in index
    assert "Interrupted." in index
    assert "<p>Nothing is wrong with the chapter. Run it again: <code>labkit run --only 01</code>.</p>" in index
    for pid in noted.read_text().split():
        assert client._wait_for_exit(int(pid), 20)


def test_outputs_are_stored_without_notes_of_the_run(folder: Path, tmp_path: Path) -> None:
    _notebook(folder / "00-a.ipynb", "print('hello')")
    run = _last(runner.execute(runner.find_chapters(folder), tmp_path / "out"))
    assert run.passed
    runner.store_outputs(tmp_path / "out" / "00-a.ipynb", folder / "00-a.ipynb")
    stored = nbformat.read(folder / "00-a.ipynb", as_version=4)
    assert [cell.execution_count for cell in stored.cells if cell.cell_type == "code"] == [1, 2]
    assert stored.cells[-1].outputs[0].text == "hello\n"
    assert "papermill" not in nbformat.writes(stored)
    first = (folder / "00-a.ipynb").read_bytes()
    _last(runner.execute(runner.find_chapters(folder), tmp_path / "out"))
    runner.store_outputs(tmp_path / "out" / "00-a.ipynb", folder / "00-a.ipynb")
    assert (folder / "00-a.ipynb").read_bytes() == first


def test_a_wide_frame_is_shown_as_in_jupyterlab(folder: Path, tmp_path: Path) -> None:
    """pandas asks at its import whether there is IPython, and the template of the kernels imports it before that."""
    _notebook(folder / "00-a.ipynb", "import pandas as pd\npd.get_option('display.max_columns')")
    assert _last(runner.execute(runner.find_chapters(folder), tmp_path / "out")).passed
    done = nbformat.read(tmp_path / "out" / "00-a.ipynb", as_version=4)
    assert done.cells[-1].outputs[0]["data"]["text/plain"] == "20"
