"""What the chapters and documents show to be typed in a terminal works as it is printed, in its order, on a fresh lab.

By convention a block to be typed is fenced as `bash`: in a chapter inside `<details>`, its summary ending in "by hand".
The commands of a step, where a chapter shows or names them (`result.cli`, `lab.cli("...")`), count as a block too.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ekslab import client
from ekslab.state import Endpoints
from labkit import Lab
from labkit.provision.steps import STEPS
from tests import aws_cli

pytestmark = pytest.mark.in_order  # the workshop from its beginning to its end, on one lab
ROOT = Path(__file__).parents[2]
CHAPTERS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
COMMANDS = re.compile(r"^ *(kubectl|aws|helm|labkit|eksctl) ", re.M)

needs_tools = pytest.mark.skipif(
    any(shutil.which(name) is None for name in ("aws", "kubectl")), reason="aws and kubectl are not on the PATH"
)


@dataclass(frozen=True)
class Block:
    """Something to type: a text, or the name of a step whose commands are shown."""

    text: str = ""
    step: str = ""


def cells(chapter: str) -> Iterator[tuple[str, str]]:
    """Kind and source of a chapter's cells."""
    for cell in json.loads((ROOT / "notebooks" / f"{chapter}.ipynb").read_text())["cells"]:
        yield cell["cell_type"], "".join(cell["source"])


def blocks(chapter: str) -> list[Block]:
    """A chapter's blocks in their order."""
    found: list[Block] = []
    applied = ""
    for kind, source in cells(chapter):
        shown = r'lab\.cli\("([\w-]+)"\)|\bresult\.cli\b()'
        for match in re.finditer(rf'lab\.apply\("([\w-]+)"|{shown}|{FENCE.pattern}', source, re.M | re.S):
            apply, named, result, language, text = match.groups()
            applied = apply or applied
            if language == "bash":
                found.append(Block(text=text))
            elif ((named or result is not None) and kind == "code") or named:
                found.append(Block(step=named or applied))
    return list(dict.fromkeys(found))


class Terminal:
    """A bash with the environment of `labkit env`, opened where JupyterLab opens one from a chapter."""

    def __init__(self, endpoints: Endpoints, folder: Path, programs: Path) -> None:
        """`programs` is a folder with the programs that a person has."""
        self.folder = folder / "workshop"
        self.folder.mkdir()
        for entry in ROOT.iterdir():  # what a block leaves behind is not left in the checkout
            if entry.name not in (".labkit", "build", "my-notebooks"):
                (self.folder / entry.name).symlink_to(entry)
        self.environment = {
            "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), "/usr/bin", "/bin"]),
            "HOME": str(folder),
            "LABKIT_HOME": str(endpoints.home),
            "LABKIT_ROOT": str(self.folder),
            client.PARENT: str(os.getpid()),  # a lab that is started from here ends with the tests
        }
        exported = self.run('eval "$(labkit env)"; env -0')
        self.environment |= dict(line.split("=", 1) for line in exported.split("\0") if "=" in line)

    def run(self, text: str, *, where: str = "notebooks") -> str:
        """Types a text in; what it prints. The shell reads it as it is typed, so a command that reads input gets it."""
        done = subprocess.run(
            ["bash", "-es"],
            input=f"{text}\necho typed to the end\n",
            env=self.environment,
            cwd=self.folder / where,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        assert done.stdout.endswith("typed to the end\n"), f"a command has read what comes after it:\n{text}"
        return done.stdout.removesuffix("typed to the end\n")


@pytest.fixture(scope="module")
def endpoints(new_lab: Callable[..., Endpoints]) -> Endpoints:
    return new_lab()


@pytest.fixture(scope="module")
def terminal(endpoints: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    folder = tmp_path_factory.mktemp("terminal")
    programs = folder / "programs"
    programs.mkdir()
    (programs / "kubectl").symlink_to(shutil.which("kubectl") or "kubectl")
    # A Helm of somebody's own would look for charts on the network.
    (programs / "helm").write_text(f'#!/bin/sh\nexec {sys.executable} -m ekslab.helm "$@"\n')
    (programs / "helm").chmod(0o755)
    with aws_cli.install(programs):
        yield Terminal(endpoints, folder, programs)


@pytest.fixture(scope="module")
def lab(endpoints: Endpoints, workshop: Path) -> Lab:
    return Lab.connect(home=endpoints.home, root=workshop)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_what_is_to_be_typed_is_marked(chapter: str) -> None:
    for kind, source in cells(chapter):
        if kind != "markdown":
            continue
        folded = re.findall(r"<details><summary>(.*?)</summary>(.*?)</details>", source, re.S)
        for language, text in FENCE.findall(source):
            if language == "bash":
                assert any(summary.endswith("by hand") and text in inside for summary, inside in folded), text
                assert not re.search(r"<[a-z][\w ]*>", text), f"a placeholder can't be typed: {text}"
            else:
                assert not COMMANDS.search(text), f"commands are fenced as bash: {text}"


@needs_tools
def test_the_workshop_by_hand(terminal: Terminal, lab: Lab) -> None:
    shown: set[str] = set()
    for chapter in CHAPTERS:
        if chapter.startswith("08"):
            break
        for block in blocks(chapter):
            printed = terminal.run(block.text or lab.cli(block.step))
            shown.add(block.step)
            if "start-query" in block.text:
                assert re.search(r"Read sensitive file untrusted\t1$", printed, re.M), printed
        if chapter.startswith("01"):
            event = lab.wait_for_log('"canary"')
            assert json.loads(event["message"])["canary"] == "hello from a container"
        elif chapter.startswith("03"):
            lab.exec("deploy/nginx", "cat /etc/shadow")
            lab.wait_for_alert(rule="Read sensitive file untrusted")
        elif chapter.startswith("04"):
            lab.exec("deploy/nginx", "whoami")
            lab.wait_for_alert(rule="Whoami run in container")
    assert {status.step: status.state for status in (step.status(lab.target) for step in STEPS)} == dict.fromkeys(
        STEPS.ORDER, "applied"
    )
    (topic,) = lab.aws.client("cloudwatch").describe_alarms(AlarmNames=["falco-workshop-critical-alert"])[
        "MetricAlarms"
    ][0]["AlarmActions"]
    assert topic.endswith(":falco-workshop-alarms")

    # What was typed is what the steps would have made, but for pods that are older than what a step has looked at, an
    # alarm with fewer words, and the time of a file in the function's package.
    changed = {step.name for step in STEPS if step.apply(lab.target).action != "unchanged"}
    assert changed <= {"fluent-bit", "falco", "custom-rules", "alarms", "findings-forwarder"}

    (clean_up,) = blocks("08-clean-up")
    terminal.run(clean_up.text)
    assert lab.audit().clean, lab.audit()
    assert not list(terminal.folder.glob("forwarder.zip"))


@needs_tools
def test_the_commands_of_every_step_and_of_its_undoing(terminal: Terminal, lab: Lab) -> None:
    """After the test above: what a chapter has in words of its own, by the step's commands; then all of it undone."""
    assert lab.audit().clean
    in_chapters = {block.step for chapter in CHAPTERS for block in blocks(chapter)}
    texts = {block.text.strip() for chapter in CHAPTERS for block in blocks(chapter)}
    for step in STEPS:
        commands = lab.cli(step.name)
        if step.name not in in_chapters and commands not in texts:
            terminal.run(commands)
        changes = step.apply(lab.target).changes
        if step.name not in in_chapters and commands not in texts:
            assert {change.action for change in changes} == {"unchanged"}, changes
    for step in reversed(list(STEPS)):
        terminal.run(step.undo_cli(lab.target))
    assert lab.audit().clean, lab.audit()


@needs_tools
def test_the_commands_with_eks_pod_identity(terminal: Terminal, lab: Lab) -> None:
    """After the test above: what the setting `identity` makes otherwise."""
    lab = Lab(replace(lab.target, settings=replace(lab.settings, identity="pod-identity")))
    steps = [STEPS[name] for name in ("oidc-provider", "log-group", "fluent-bit-role")]
    for step in steps:
        terminal.run(lab.cli(step.name))
        changes = step.apply(lab.target).changes
        assert {change.action for change in changes} <= {"unchanged"}, changes
    for step in reversed(steps):
        terminal.run(step.undo_cli(lab.target))
    assert lab.audit().clean, lab.audit()


def test_the_block_for_boto3(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """That of chapter 06 reads the notification of an alarm."""
    lab.ensure("alarms")
    lab.aws.client("cloudwatch").set_alarm_state(
        AlarmName="falco-workshop-critical-alert", StateValue="ALARM", StateReason="a drill"
    )
    (text,) = [
        text
        for kind, source in cells("06-metrics-and-alarms")
        if kind == "markdown"
        for language, text in FENCE.findall(source)
        if language == "python"
    ]
    exec(text, {"lab": lab, "json": json})
    assert "'NewStateValue': 'ALARM'" in capsys.readouterr().out


# Blocks of documents that aren't typed here, and why.
NOT_TYPED = {
    r"^make run": "test_chapters.py does `make run`, test_jupyterlab.py `make lab`, .ci/run `make test`",
    r"LABKIT_TARGET=eks|--target eks": "needs an account; end_to_end/test_eks_target.py has what can be tried without",
    r"^conda ": "needs conda; test_environments.py looks up what is in the file",
    r"^podman ": "needs a container engine; test_environments.py looks up what is in the file",
    r"make hub|^userdel|hub/attendees": "makes accounts of the machine, or a network service; tests/hub starts a Hub",
    r"^eksctl |^aws (budgets|ce) |^labkit preflight$": "needs an account; tests/labkit/provision has the files",
    r"^LABKIT_TARGET=embedded ": "needs a cluster of kind; end_to_end/test_eks_target.py has another",
}
# Those with blocks to type, in the order in which they are typed: the last ends the lab.
TYPED = (
    *("docs/instructor-guide.md", "docs/writing-a-chapter.md", "docs/decisions/0020-how-large-labkit-is.md"),
    "docs/terminal.md",
)


def typed(document: Path) -> list[str]:
    texts = [text for language, text in FENCE.findall(document.read_text()) if language == "bash"]
    return [text for text in texts if not any(re.search(pattern, text, re.M) for pattern in NOT_TYPED)]


def test_every_document_with_blocks_to_type_is_typed() -> None:
    documents = [ROOT / "README.md", *ROOT.glob("*/README.md"), *(ROOT / "docs").rglob("*.md")]
    assert {path.relative_to(ROOT).as_posix() for path in documents if typed(path)} == set(TYPED)
    texts = "\n".join(path.read_text() for path in documents)
    blocks = "\n".join(text for language, text in FENCE.findall(texts) if language == "bash")
    assert all(re.search(pattern, blocks, re.M) for pattern in NOT_TYPED), "a reason for a block that isn't there"


@needs_tools
@pytest.mark.parametrize("document", TYPED)
def test_the_documents_by_hand(terminal: Terminal, lab: Lab, document: str) -> None:
    lab.ensure("nginx")
    printed = [terminal.run(text.replace(".venv/bin/", ""), where=".") for text in typed(ROOT / document)]
    assert printed
    if document == "docs/terminal.md":
        _, first, shell, rules, copies, end = printed
        assert re.search(r"Read sensitive file untrusted .* cat /etc/shadow", first), first
        assert re.search(r"^uid=0.*\nnginx-.*\nPRETTY_NAME", shell), shell
        assert "Whoami run in container" in rules
        assert (terminal.folder / "mine.jsonl").stat().st_size > 0
        assert "Fresh copies are there" in copies
        assert end.splitlines()[-2:] == ["Nothing is left", "Stopped."]
    elif document == "docs/writing-a-chapter.md":
        assert "1 chapter passed" in printed[0]
        assert (terminal.folder / "build/try/index.html").exists()
    elif document.startswith("docs/decisions"):
        total, *folders = printed[0].splitlines()
        assert sum(int(line.split()[0]) for line in folders) == int(total)
        assert "provision/" in printed[0]
