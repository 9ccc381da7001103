"""A class on one machine: a real JupyterHub with its proxy, five attendees, and what one can do to another."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest

pytest.importorskip("jupyterhub", reason="JupyterHub is not installed: `make build/hub/.ready`")
from hub import measure
from hub.measure import Hub, HubError, Person
from tests import browser

ROOT = Path(__file__).parents[2]
PROXY = ROOT / "build/hub/node_modules/.bin/configurable-http-proxy"
pytestmark = [
    pytest.mark.start_up,
    pytest.mark.in_order,
    pytest.mark.skipif(
        not shutil.which("node") or not (PROXY.exists() or os.environ.get("HUB_PROXY")),
        reason="JupyterHub's proxy is not there: `make build/hub/.ready`",
    ),
]
T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]


@contextmanager
def open_to_accounts() -> Iterator[list[str] | None]:
    """The start of a command to which this Python and the workshop are open to other accounts, as on a real machine.

    Where a folder such as /root is closed to them, the command gets a view of its own of the file system. None where
    that isn't allowed, as to users other than root and in many containers.
    """
    needed = [Path(sys.base_prefix), Path(sys.prefix), ROOT]
    closed = {folder for place in needed for folder in place.parents if not folder.stat().st_mode & 0o001}
    if os.geteuid() != 0 or not shutil.which("useradd"):
        yield None
        return
    if not closed:
        yield []
        return
    outermost = min(closed, key=lambda folder: len(folder.parts))
    with tempfile.TemporaryDirectory(prefix="hub-view-") as view:
        inside = dict(enumerate(place for place in needed if place.is_relative_to(outermost)))
        script = ["set -e"]
        for number, place in inside.items():
            script += [f"mkdir -p '{view}/{number}'", f"mount --bind '{place}' '{view}/{number}'"]
        script += [f"mount -t tmpfs -o mode=755 none '{outermost}'"]
        for number, place in inside.items():
            script += [f"mkdir -p '{place}'", f"mount --bind '{view}/{number}' '{place}'"]
        command = ["unshare", "--mount", "sh", "-c", "\n".join([*script, 'exec "$@"']), "view"]
        yield command if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0 else None


@pytest.fixture(scope="module")
def run() -> Iterator[Run[Any]]:
    """Runs a coroutine on the loop that all of them share."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="module")
def names() -> list[str]:
    return [f"falco-test-{os.getpid() % 100_000}-{number}" for number in range(1, 6)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> Iterator[Hub]:
    """As root, attendees have accounts, which are removed at the end."""
    state = tmp_path_factory.mktemp("hub")
    with open_to_accounts() as before:
        accounts = "one" if before is None else "unix"
        try:
            with measure.running(names, state, before or [], HUB_ACCOUNTS=accounts) as running:
                yield running
        finally:
            for name in names:
                if accounts == "unix":
                    subprocess.run(["userdel", "--remove", name], capture_output=True, check=False)


@pytest.fixture(scope="module")
def people(hub: Hub, names: list[str], run: Run[Any]) -> Iterator[list[Person]]:
    """Five attendees, who start at the same moment and have run their first cell."""
    stack = contextlib.AsyncExitStack()

    async def start() -> list[Person]:
        found = [await stack.enter_async_context(measure.person(hub, name)) for name in names]
        for one in found:
            assert await one.log_in()
        await asyncio.gather(*(one.start() for one in found))
        return found

    yield run(start())
    run(stack.aclose())


def test_each_attendee_has_a_lab_of_their_own(people: list[Person], run: Run[Any]) -> None:
    async def about(one: Person) -> Any:
        code = "import json, os; print(json.dumps([str(lab.settings.home), os.environ['AWS_ENDPOINT_URL'], "
        code += "os.environ['AWS_ACCESS_KEY_ID'], os.environ['KUBECONFIG'], os.getcwd()]))"
        return json.loads(await one.run(code, one.first_kernel))

    found = [run(about(one)) for one in people]
    for values in zip(*found, strict=True):
        assert len(set(values)) == len(people), values
    for one, (*_, folder) in zip(people, found, strict=True):
        assert folder.endswith(f"/{one.name}/falco-workshop/my-notebooks")


def test_memory_of_an_attendee_is_below_half_a_gigabyte(people: list[Person]) -> None:
    found = measure.processes()
    for one in people:
        kinds = sorted(process.name for process in found[one.name])
        assert kinds == ["attendee", "jupyter", "kernel", "lab"]
        assert sum(process.pss for process in found[one.name]) < 500e6


# What the first attendee tries with what they know of the second, from a cell: each line prints what it got.
TRIES = r"""
import boto3, glob, json, os, socket, urllib.request, urllib.error
from pathlib import Path

def get(url, **headers):
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code

def read(path):
    try:
        return Path(path).read_text(errors="replace")[:40] or "empty"
    except OSError as error:
        return type(error).__name__

def listed(path):
    try:
        return os.listdir(path)
    except OSError as error:
        return type(error).__name__

def call(port):
    try:
        return boto3.client("sts", endpoint_url=f"http://127.0.0.1:{port}").get_caller_identity()["Account"]
    except Exception as error:
        return error.response["Error"]["Code"]

def pods(port):
    import ssl
    token = json.loads(Path(os.environ["KUBECONFIG"]).read_text())["users"][0]["user"]["token"]
    url = f"https://127.0.0.1:{port}/api/v1/pods"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        return urllib.request.urlopen(request, context=ssl._create_unverified_context()).status
    except urllib.error.HTTPError as error:
        return error.code

signals = []
for pid in other["pids"]:
    try:
        os.kill(pid, 0)
        signals.append(pid)
    except PermissionError:
        pass
commands = " ".join(read(file) for file in glob.glob("/proc/[0-9]*/cmdline"))
print(json.dumps({
    "aws": call(other["aws"]), "kubernetes": pods(other["kubernetes"]),
    "server": get(f"http://127.0.0.1:{other['server']}/user/{other['name']}/api/contents"),
    "own token": get(f"http://127.0.0.1:{other['server']}/user/{other['name']}/api/contents",
                     Authorization=f"token {os.environ['JUPYTERHUB_API_TOKEN']}"),
    "hub": get(f"{os.environ['JUPYTERHUB_API_URL']}/users/{other['name']}",
               Authorization=f"token {os.environ['JUPYTERHUB_API_TOKEN']}"),
    "lab.json": read(other["home"] + "/lab.json"), "folder": listed(other["folder"]),
    "chapters": listed(other["folder"] + "/my-notebooks"), "sockets": listed(other["runtime"]),
    "environ": [read(f"/proc/{pid}/environ") for pid in other["pids"]], "signals": signals,
    "in commands": [word for word in other["secrets"] if word in commands],
}))
"""
KNOWN = """
import json, os
from pathlib import Path
found = json.loads(Path(os.environ["LABKIT_HOME"], "lab.json").read_text())
print(json.dumps({"aws": found["aws_port"], "kubernetes": found["kubernetes_port"], "home": os.environ["LABKIT_HOME"],
    "folder": os.environ["LABKIT_ROOT"], "runtime": os.environ["JUPYTER_RUNTIME_DIR"],
    "name": os.environ["JUPYTERHUB_USER"],
    "server": int(os.environ["JUPYTERHUB_SERVICE_URL"].rpartition(":")[2].partition("/")[0]),
    "secrets": [*found["credentials"].values(), os.environ["JUPYTERHUB_API_TOKEN"]]}))
"""


def test_none_sees_anothers_lab_files_or_processes(hub: Hub, people: list[Person], run: Run[Any]) -> None:
    """Another account has nothing of it; one that is shared reads files, and that is what the README says of it."""
    first, second = people[:2]
    other = json.loads(run(second.run(KNOWN, second.first_kernel)))
    other["pids"] = [process.pid for process in measure.processes()[second.name]]
    other["secrets"] += [hub.passwords[second.name]]
    got = json.loads(run(first.run(f"other = {other!r}\n{TRIES}", first.first_kernel)))
    assert got["aws"] in ("InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"), got
    assert got["kubernetes"] == 401
    assert got["server"] == 403
    assert got["own token"] == 403
    assert got["hub"] in (403, 404)
    assert got["in commands"] == []
    if any(process.user != os.geteuid() for process in measure.processes()[second.name]):
        assert got["lab.json"] == got["folder"] == got["chapters"] == got["sockets"] == "PermissionError"
        assert set(got["environ"]) == {"PermissionError"}
        assert got["signals"] == []
        owner = pwd.getpwnam(second.name)
        found = list(Path(other["folder"]).rglob("*"))
        assert {file.lstat().st_uid for file in found} == {owner.pw_uid}
        mine = [file for file in found if not file.is_relative_to(Path(other["folder"], "manifests"))]
        assert Path(other["folder"]).stat().st_mode & 0o077 == 0, mine


def test_an_attendees_ports_are_those_of_the_lab_and_the_server(people: list[Person], run: Run[Any]) -> None:
    """Kernels have sockets in a folder instead: to a port that publishes, any account could subscribe."""
    one = people[0]
    known = json.loads(run(one.run(KNOWN, one.first_kernel)))
    found = {process.name: listening([process.pid]) for process in measure.processes()[one.name]}
    assert len(found.pop("kernel")) <= 1  # what programs print, with a key
    assert {name: sorted(ports) for name, ports in found.items()} == {
        "attendee": [],
        "lab": sorted([known["aws"], known["kubernetes"]]),
        "jupyter": [known["server"]],
    }


def test_a_kernel_has_no_debugger_which_would_take_commands_of_any_account(people: list[Person], run: Run[Any]) -> None:
    assert (
        run(people[0].run("print(hasattr(get_ipython().kernel, 'debugger'))", people[0].first_kernel)).strip()
        == "False"
    )


def listening(pids: list[int]) -> list[int]:
    """The TCP ports on which processes listen."""
    sockets = {os.readlink(link) for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
                assert words[1].startswith("0100007F"), line
                found.append(int(words[1].rpartition(":")[2], 16))
    return found


def test_an_attendee_has_only_their_own_page_and_password(hub: Hub, people: list[Person], run: Run[Any]) -> None:
    first, second = people[:2]

    async def tries() -> None:
        async with first.session.get(f"{second.server}/api/contents") as answer:
            assert answer.status in (403, 404)
        async with first.session.get(f"{hub.url}/hub/admin") as answer:
            assert answer.status == 403
        async with measure.person(hub, second.name) as stranger:
            assert not await stranger.log_in(hub.passwords[first.name])
            with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                await stranger.run("1", second.first_kernel)

    run(tries())


def test_settings_and_layout_are_the_attendees_own(people: list[Person], run: Run[Any]) -> None:
    first, second = people[:2]

    async def kept() -> None:
        path = "lab/api/workspaces/mine"
        document = {"data": {}, "metadata": {"id": "mine"}}
        await first.request("PUT", f"/user/{first.name}/{path}", document, expected=204)
        assert "mine" in (await first.request("GET", f"/user/{first.name}/lab/api/workspaces"))["workspaces"]["ids"]
        found = await second.request("GET", f"/user/{second.name}/lab/api/workspaces")
        assert "mine" not in found["workspaces"]["ids"]

    run(kept())


def test_files_of_the_workshop_are_shown(people: list[Person], run: Run[Any]) -> None:
    one = people[0]

    async def picture() -> int:
        async with one.session.get(f"{one.server}/files/images/pipeline.svg") as answer:
            return answer.status

    assert run(picture()) == 200


def test_shell_cells_and_the_workshops_command_use_the_attendees_lab(people: list[Person], run: Run[Any]) -> None:
    one = people[2]
    known = json.loads(run(one.run(KNOWN, one.first_kernel)))
    said = run(one.run("!labkit status", one.first_kernel))
    assert f"127.0.0.1:{known['aws']}" in said
    assert known["home"] in said


def _open_console(hub: Hub, one: Person, chromium: Any) -> tuple[str, set[str]]:
    """Opens it from a notebook, in a tab with a terminal and beside the notebook; its address, and its cookies' paths.

    All by way of the Hub, as from another computer.
    """
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{hub.url}/hub/login")
    page.fill("#username_input", one.name)
    page.fill("#password_input", hub.passwords[one.name])
    page.click("#login_submit")
    page.goto(f"{one.server}/lab/tree/my-notebooks/console.ipynb")
    page.click(".jp-CodeCell .cm-content")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.keyboard.press("Control+Enter")
    beside = page.get_by_role("button", name="Beside this notebook")
    beside.wait_for(timeout=60_000)
    assert "127.0.0.1" not in page.locator(".jp-OutputArea-output").last.inner_text()
    with context.expect_page() as opened:
        page.get_by_role("button", name="In a tab").click()
    tab = opened.value
    terminal = tab.locator(".xterm-rows")
    terminal.get_by_text("nginx").first.wait_for()
    tab.locator(".xterm-screen").click()
    tab.keyboard.type("id")
    tab.keyboard.press("Enter")
    terminal.get_by_text("uid=0(root)").first.wait_for()
    page.bring_to_front()
    beside.click()  # the link was for once, but the console is open in this browser already
    page.frame_locator("iframe[title^=Console]").get_by_text("live", exact=True).wait_for()
    paths = {cookie["path"] for cookie in context.cookies() if "console" in cookie["name"]}
    return tab.url, paths


@pytest.mark.browser
def test_the_console_is_below_the_attendees_own_address(hub: Hub, people: list[Person], run: Run[Any]) -> None:
    one, another = people[2:4]
    cell = "from labkit import Lab; lab = Lab.connect(); lab.ensure('nginx'); lab.console('terminal')"
    content = {"cells": [{"cell_type": "code", "id": "a", "source": cell, "metadata": {}, "outputs": []}]}
    content |= {"metadata": {"kernelspec": {"name": "python3"}}, "nbformat": 4, "nbformat_minor": 5}
    path = f"/user/{one.name}/api/contents/my-notebooks/console.ipynb"
    run(one.request("PUT", path, {"type": "notebook", "content": content}, expected=201))

    def in_browser() -> tuple[str, set[str]]:
        with browser.chromium() as chromium:
            return _open_console(hub, one, chromium)

    with ThreadPoolExecutor(1) as thread:  # Playwright has a loop of its own
        url, paths = thread.submit(in_browser).result()
    place = f"{one.server}/falco-workshop/console/"
    assert url == f"{place}#/terminal"
    assert paths == {f"/user/{one.name}/falco-workshop/console/"}

    async def tries() -> None:
        async with another.session.get(place) as answer:
            assert answer.status == 403
        async with one.session.get(place, headers={"Origin": "http://elsewhere.example"}) as answer:
            assert answer.status == 403
        async with one.session.get(f"{place}api/pods") as answer:
            assert answer.status == 401  # without the page's key

    run(tries())


def test_a_lab_that_is_idle_ends_and_comes_back_with_the_same_ports(people: list[Person], run: Run[Any]) -> None:
    one = people[3]
    known = json.loads(run(one.run(KNOWN, one.first_kernel)))
    run(one.run("!labkit down; LABKIT_IDLE_MINUTES=0.01 labkit up", one.first_kernel))
    wait_until(lambda: not Path(known["home"], "lab.json").exists(), "the idle lab still runs")
    run(one.run(measure.FIRST_CELL, one.first_kernel))
    assert json.loads(run(one.run(KNOWN, one.first_kernel)))["aws"] == known["aws"]


def test_a_kernel_restarts_and_can_be_interrupted(people: list[Person], run: Run[Any]) -> None:
    one = people[4]

    async def restarted() -> str:
        path = f"/user/{one.name}/api/kernels/{one.first_kernel}"
        cell = asyncio.create_task(one.run("import time\nwhile True: time.sleep(0.1)", one.first_kernel))
        await asyncio.sleep(1)
        await one.request("POST", f"{path}/interrupt", expected=204)
        with pytest.raises(HubError, match="KeyboardInterrupt"):
            await cell
        await one.request("POST", f"{path}/restart")
        return await one.run("print('lab' in globals())", one.first_kernel)

    assert run(restarted()).strip() == "False"
    assert kinds(one).count("kernel") == 1


def test_what_a_server_started_ends_with_it_however_it_ends(people: list[Person], run: Run[Any]) -> None:
    one, another = people[2:4]
    run(one.stop())
    wait_until(lambda: not kinds(one), "processes of a server that was stopped are left")
    (server,) = (process.pid for process in measure.processes()[another.name] if process.name == "jupyter")
    os.kill(server, 9)
    wait_until(lambda: not kinds(another), "processes of a server that was killed are left")


def test_why_a_lab_does_not_start_is_said_on_the_page(hub: Hub, people: list[Person], run: Run[Any]) -> None:
    one = people[2]
    try:
        home = Path(pwd.getpwnam(one.name).pw_dir)
    except KeyError:
        home = hub.state / "homes" / one.name
    folder = home / "falco-workshop"
    folder.rename(home / "aside")
    folder.touch()
    with pytest.raises(HubError, match=f"Your lab did not start: .*{folder}"):
        run(one.start())


def test_a_server_that_is_not_used_is_ended(hub: Hub, people: list[Person]) -> None:
    """The Hub's service that does it, as it is but for the times."""
    one = people[4]
    (service,) = (pid for pid in descendants(hub.process.pid) if "jupyterhub_idle_culler" in words(pid, "cmdline"))
    command = [re.sub(r"^(--timeout|--cull-every)=.*", r"\1=1", word) for word in words(service, "cmdline")]
    environ = dict(word.split("=", 1) for word in words(service, "environ"))
    assert kinds(one)
    culler = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: not kinds(one), "an idle server still runs")
    finally:
        culler.kill()
        culler.wait()


def words(pid: int, file: str) -> list[str]:
    """What a process was started with: its command or its environment."""
    return Path(f"/proc/{pid}/{file}").read_text().rstrip("\0").split("\0")


def test_the_hub_leaves_no_process(hub: Hub, people: list[Person], run: Run[Any]) -> None:
    one = people[0]
    (template,) = (pid for pid in descendants(hub.process.pid) if "hub.template" in words(pid, "cmdline"))
    run(one.stop())

    async def started_while_it_is_killed() -> None:
        os.kill(template, signal.SIGSTOP)
        start = asyncio.create_task(one.start())
        while (await one.request("GET", f"/hub/api/users/{one.name}"))["pending"] != "spawn":
            await asyncio.sleep(0.05)
        os.kill(template, signal.SIGKILL)
        await start  # from another one

    run(started_while_it_is_killed())
    pids = [process.pid for process in measure.processes()[one.name]] + descendants(hub.process.pid)
    assert len(pids) >= 8
    hub.stop()
    wait_until(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()], "processes are left")


def kinds(one: Person) -> list[str]:
    """What runs of an attendee: "lab", "jupyter", "kernel"..."""
    return [process.name for process in measure.processes().get(one.name, [])]


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.1)


def descendants(pid: int) -> list[int]:
    """A process, and those below it."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    children = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    return [pid, *(found for child in children for found in descendants(child))]
