"""`%%rule` in a notebook: a real kernel, as JupyterLab talks to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

from ekslab.state import Endpoints

RULE = """\
- rule: Accounts looked up
  desc: A program opened /etc/passwd.
  condition: open_read and container and fd.name = {name}
  output: Looked up | file=%fd.name
  priority: INFO
"""


class Notebook:
    """A kernel with a lab connected in it."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self._client = client

    def run(self, code: str) -> tuple[dict[str, str], str]:
        """The cell's value by MIME type, and what an error shows."""
        value: dict[str, str] = {}
        error = ""

        def output(message: dict[str, Any]) -> None:
            nonlocal value, error
            content = message["content"]
            if message["msg_type"] == "execute_result":
                value = content["data"]
            elif message["msg_type"] == "error":
                error = "\n".join(content["traceback"])

        self._client.execute_interactive(code, timeout=120, output_hook=output)
        return value, error

    def completions(self, code: str) -> list[str]:
        """What Tab offers at the end of a cell."""
        reply = self._client.complete(code, reply=True, timeout=60)
        matches: list[str] = reply["content"]["matches"]
        return matches


@pytest.fixture(scope="module")
def start(embedded: Endpoints, workshop: Path) -> Iterator[Callable[[], Notebook]]:
    started = []
    environ = os.environ | {"LABKIT_HOME": str(embedded.home)}

    def start() -> Notebook:
        manager, client = start_new_kernel(kernel_name="python3", cwd=str(workshop / "notebooks"), env=environ)
        started.append((manager, client))
        notebook = Notebook(client)
        assert notebook.run("from labkit import Lab\nlab = Lab.connect()") == ({}, "")
        return notebook

    yield start
    for manager, client in started:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def notebook(start: Callable[[], Notebook]) -> Notebook:
    return start()


def test_the_cells_value_is_the_draft(notebook: Notebook) -> None:
    value, error = notebook.run(f"%%rule accounts\n{RULE.format(name='/etc/passwd')}")
    assert not error
    assert "accounts: ready. Falco would load it" in value["text/plain"]
    assert "649 events" in value["text/html"]
    assert notebook.run("_.name, _.state")[0]["text/plain"] == "('accounts', 'ready')"
    assert notebook.run('lab.draft("accounts").replay.events')[0]["text/plain"] == "649"


def test_a_broken_draft_and_a_stub_end_no_run_and_what_uses_them_does(notebook: Notebook) -> None:
    broken = RULE.format(name="/etc/passwd").replace("fd.name =", "fd.nmae =")
    for text, says in ((broken, "Did you mean 'fd.name'?"), (RULE.format(name="..."), "your turn")):
        value, error = notebook.run(f"%%rule accounts\n{text}")
        assert not error
        assert says in value["text/plain"]
        value, error = notebook.run('lab.apply("custom-rules", files=[lab.draft("accounts")])')
        assert error.startswith("DraftError: ")
        assert "Traceback" not in error
        assert "What to do: " in error


def test_the_last_try_outlives_the_kernel(start: Callable[[], Notebook], notebook: Notebook) -> None:
    notebook.run(f"%%rule kept\n{RULE.format(name='/etc/hosts')}")
    value, _ = start().run(f"%%rule kept\n{RULE.format(name='/etc/shadow')}")
    assert "Since the last try: 2 new." in value["text/plain"]


@pytest.mark.parametrize("line", ["", "../mine", "mine --nope", "mine --events", "'mine", "mine other"])
def test_a_first_line_that_cant_be_read_is_an_error_of_two_lines(notebook: Notebook, line: str) -> None:
    value, error = notebook.run(f"%%rule {line}\n{RULE}")
    assert not value
    assert error.startswith("DraftError: ")
    assert error.count("\n") == 1


def test_options_name_other_rules_and_another_recording(notebook: Notebook) -> None:
    options = "--values custom-rules/whoami.yaml --events ../custom-rules/recorded/visit.jsonl.gz"
    value, _ = notebook.run(f"%%rule accounts {options}\n{RULE.format(name='/etc/passwd')}")
    assert "(checked with falco_rules.yaml, whoami.yaml)" in value["text/plain"]


def test_tab_completes_fields_macros_lists_keys_and_what_the_cell_defines(notebook: Notebook) -> None:
    cell = "%%rule mine\n- list: my_programs\n  items: [cat]\n- rule: A\n  condition: "
    assert "proc.name" in notebook.completions(f"{cell}open_read and proc.na")
    assert notebook.completions(f"{cell}spawned_pro") == ["spawned_process"]
    assert notebook.completions(f"{cell}proc.name in (my_p") == ["my_programs"]
    assert notebook.completions("%%rule mine\n- rule: A\n  prio") == ["priority:"]
    assert "proc.cmdline" in notebook.completions("%%rule mine\n- rule: A\n  output: x %proc.cmdl")


def test_tab_elsewhere_is_as_it_was(notebook: Notebook) -> None:
    assert "spawned_process" not in notebook.completions("spawned_pro")
    assert any(match.endswith("draft") for match in notebook.completions("lab.dra"))
