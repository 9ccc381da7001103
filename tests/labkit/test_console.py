"""`lab.console()` and `labkit console`: the embedded lab's own console, and AWS's by region and name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from ekslab.state import Endpoints
from labkit.console import VIEWS, aws_links, console
from labkit.errors import LabError
from labkit.lab import Lab
from labkit.provision.pipeline_diagnosis import broken_links, not_installed
from labkit.settings import Settings
from tests.labkit.conftest import RunCell

STATIC = Path(__file__).parents[2] / "ekslab" / "console" / "static"
ADDRESS = r"http://127\.0\.0\.1:\d+/open\?token=[\w-]{32}"


@pytest.fixture(scope="module")
def lab(embedded: Endpoints, workshop: Path) -> Lab:
    return Lab.connect(home=embedded.home, root=workshop)


def test_it_is_a_link_that_opens_the_console(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = lab.console()
    assert re.search(rf"Open the console: Pipeline  {ADDRESS}$", repr(shown), re.M)
    html = shown._repr_html_()
    assert re.search(rf'<a href="{ADDRESS}" target="_blank" rel="noopener noreferrer">', html)
    assert "commandlinker" not in html
    monkeypatch.setenv("LABKIT_JUPYTERLAB", "1")
    assert 'data-commandlinker-command="falco-workshop:console"' in lab.console()._repr_html_()


@pytest.mark.parametrize("base", ["/user/ann/", "/"])
def test_where_the_browser_is_elsewhere_it_is_below_the_persons_own_address(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, base: str
) -> None:
    """On a Hub, or outside of a container."""
    monkeypatch.setenv("LABKIT_JUPYTERLAB", "elsewhere")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    if base != "/":
        monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", base)
    address = rf"{base}falco-workshop/console/open\?token=[\w-]{{32}}&view=pods"
    shown = lab.console("pods")
    assert re.search(rf"Open the console: Cluster, Pods  {address}$", repr(shown), re.M)
    assert "put its host before it" in repr(shown)
    html = shown._repr_html_()
    assert "127.0.0.1" not in html + repr(shown)
    assert "<a " not in html  # JupyterLab takes a link without a host for a file
    assert re.findall(r"<button [^>]*>(.*?)</button>", html) == ["In a tab", "Beside this notebook"]


def test_the_key_of_the_link_is_for_who_is_there_and_not_for_a_stored_notebook(lab: Lab, run_cell: RunCell) -> None:
    code = f"from labkit import Lab; Lab.connect(home={str(lab.settings.home)!r}, root={str(lab.settings.root)!r})"
    ((_, stored),) = run_cell(f"{code}.console()")
    assert "token" not in str(stored["data"])
    assert "run this cell in JupyterLab" in stored["data"]["text/html"]
    ((_, seen),) = run_cell(f"{code}.console()", cellId="a")  # as JupyterLab says which cell it is
    assert re.search(ADDRESS, seen["data"]["text/html"])


def test_each_view_is_one_of_the_page(lab: Lab) -> None:
    page = (STATIC / "app.js").read_text(encoding="utf-8")
    known = re.findall(r"\['(\w+)', '[\w ]+', '\w'\]", page)
    assert set(VIEWS) == set(known)
    assert next(iter(lab.console("alarms").links.values())).endswith("&view=alarms")
    with pytest.raises(LabError, match=r"has no view 'alarm'"):
        lab.console("alarm")


def test_aws_console_is_linked_by_region_and_name() -> None:
    settings = Settings(target="eks", region="eu-central-1", log_group="/aws/eks/falco lab", prefix="falco-07")
    links = {view: url for view, (_, url) in aws_links(settings).items()}
    host = "https://eu-central-1.console.aws.amazon.com"
    assert links["logs"] == (
        f"{host}/cloudwatch/home?region=eu-central-1#logsV2:log-groups/log-group/$252Faws$252Feks$252Ffalco$2520lab"
    )
    assert links["alarms"] == f"{host}/cloudwatch/home?region=eu-central-1#alarmsV2:?search=falco-07"
    assert links["dashboards"].endswith("#dashboards/dashboard/falco-07")
    assert "source~(~'*2faws*2feks*2ffalco*20lab)" in links["insights"]
    assert "editorString~'fields*20*40timestamp*2c" in links["insights"]
    assert unquote(unquote(links["findings"])).endswith("search=ProductName=\\operator\\:EQUALS\\:Falco")
    china = aws_links(replace(settings, region="cn-north-1"), "aws-cn")
    assert china["logs"][1].startswith("https://cn-north-1.console.amazonaws.cn/")
    assert set(links) <= set(VIEWS)


@pytest.mark.parametrize(("attendee", "who"), [("07", "The instructor's"), ("", "There,")])
def test_a_lab_that_stands_for_aws_is_not_in_awss_console(lab: Lab, attendee: str, who: str) -> None:
    shown = console(replace(lab.target, settings=replace(lab.settings, target="eks", attendee=attendee)))
    assert shown.links == {}
    assert re.fullmatch(
        rf"Console\nAWS is an embedded lab here \(http.*\). {who} `labkit console` shows .*", repr(shown)
    )


def test_the_command_prints_the_address_and_diagnose_what_is_broken(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "labkit.cli"]
    environ = {"LABKIT_HOME": str(lab.settings.home), "PATH": "/usr/bin:/bin"}

    def typed(*words: str) -> subprocess.CompletedProcess[str]:
        own = {name: value for name, value in os.environ.items() if name == "LABKIT_FALCO_NAMESPACE"}
        return subprocess.run(
            [*command, *words], env=environ | own, capture_output=True, text=True, timeout=60, check=False
        )

    done = typed("console", "--no-browser", "findings")
    assert re.search(rf"{ADDRESS}&view=findings$", done.stdout, re.M), done.stderr
    lab.ensure("fluent-bit")
    assert broken_links(lab.target) == []
    assert "Fluent Bit" not in not_installed(lab.target)
    elsewhere = replace(lab.settings, falco_namespace="none", logging_namespace="none")
    assert not_installed(replace(lab.target, settings=elsewhere)) == ["Falco", "Fluent Bit"]
    monkeypatch.setenv("LABKIT_FALCO_NAMESPACE", "none")
    assert "No link is broken. Not installed yet: Falco" in typed("diagnose").stdout
    monkeypatch.undo()
    logs = lab.aws.client("logs")
    logs.delete_log_group(logGroupName=lab.settings.log_group)
    try:
        done = typed("diagnose", "--json")
        (link,) = json.loads(done.stdout)
        assert (done.returncode, link["link"]) == (1, "log group")
        assert "labkit apply log-group" in link["hint"]
        assert typed("diagnose").stdout.startswith("Broken: log group.")
    finally:
        lab.apply("log-group")
