"""The environment of an embedded lab: what a process and a shell see in it, whatever a person has set."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ekslab import client
from ekslab.state import Endpoints
from labkit import environment
from labkit.errors import SettingsError, TargetError
from labkit.jupyterlab import on_embedded
from labkit.settings import Settings, workshop_root

LEADING_ELSEWHERE = {
    **{"AWS_PROFILE": "prod", "AWS_DEFAULT_PROFILE": "prod", "AWS_SESSION_TOKEN": "real", "AWS_SECURITY_TOKEN": "real"},
    **{"AWS_ROLE_ARN": "arn:aws:iam::1:role/x", "AWS_WEB_IDENTITY_TOKEN_FILE": "/real"},
    **{"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://real", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "real"},
    **{"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://real", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
    **{"AWS_CA_BUNDLE": "/real", "AWS_USE_FIPS_ENDPOINT": "true", "AWS_CONFIG_FILE": "/real"},
    **{"KUBECONFIG": "/real", "KUBERNETES_SERVICE_HOST": "real", "HELM_KUBECONTEXT": "real", "HELM_NAMESPACE": "real"},
    **{"BASH_ENV": "/real", "LABKIT_TARGET": "eks", "LABKIT_HOME": "/real"},
}


def test_process_and_shell_get_the_same_and_nothing_that_leads_elsewhere(embedded: Endpoints) -> None:
    person = {"PATH": "/usr/bin:/bin", "EDITOR": "vi", "NO_PROXY": "intranet", **LEADING_ELSEWHERE}
    lab = environment.embedded(embedded, person)
    process = lab.of_process(person)
    assert {name for name in LEADING_ELSEWHERE if process.get(name) == LEADING_ELSEWHERE[name]} == set()
    assert process["EDITOR"] == "vi"
    assert process["NO_PROXY"] == "intranet,127.0.0.1,localhost"
    assert process["AWS_ACCESS_KEY_ID"] == embedded.access_key_id
    assert process["PATH"].split(":")[-2:] == ["/usr/bin", "/bin"]
    assert lab.of_process(process) == process
    for shell in filter(shutil.which, ("bash", "zsh", "sh", "ksh")):
        script = f'{lab.as_shell()}\n"{sys.executable}" -c "import json, os; print(json.dumps(dict(os.environ)))"'
        done = subprocess.run([shell, "-c", script], env=person, capture_output=True, text=True, check=True)
        seen = json.loads(done.stdout)
        for name in ("_", "SHLVL", "PWD", "OLDPWD", "LC_CTYPE", "HOME", "LOGNAME"):  # the shell's own
            seen.pop(name, None)
        assert seen == process, shell
        assert done.stderr == ""


def test_a_shell_outside_of_the_workshop_gets_the_folder_that_labkit_is_installed_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop = workshop_root()
    monkeypatch.delenv("LABKIT_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert f"export LABKIT_ROOT={workshop}\n" in f"{environment.own().as_shell()}\n"
    monkeypatch.setattr("labkit.settings._is_workshop", lambda folder: False)
    with pytest.raises(SettingsError, match="workshop's folder, with notebooks/ and manifests/, is not here"):
        environment.own().as_shell()


def test_labkit_comes_first_and_a_persons_own_environment_stays() -> None:
    assert environment.own().of_process({"PATH": "/bin", "AWS_PROFILE": "prod"}) == {
        "PATH": f"{Path(sys.prefix) / 'bin'}:/bin",
        "AWS_PROFILE": "prod",
        "LABKIT_ROOT": str(workshop_root()),
    }


def test_the_environment_of_the_lab_is_not_taken_for_a_persons_own(
    embedded: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labkit import Lab

    for name, value in environment.embedded(embedded).variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TargetError, match="are the embedded lab's") as refused:
        Lab.connect(target="eks")
    assert "LABKIT_TARGET=eks make lab" in refused.value.hint


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A person's own kubectl, Helm and AWS CLI, which print what they were called with."""
    for name in ("kubectl", "helm", "aws"):
        (tmp_path / name).write_text('#!/bin/sh\nprintf "%s|" "${0##*/}" "$@"\n')
        (tmp_path / name).chmod(0o755)
    return tmp_path


@pytest.mark.start_up  # a child of this process, which stays a zombie
def test_programs_run_on_a_running_lab_and_else_say_what_to_do(
    new_lab: Callable[..., Endpoints], programs: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lab = new_lab(home=tmp_path_factory.mktemp("mit Leerzeichen é") / "lab")
    environ = environment.embedded(lab).of_process({"PATH": f"{programs}:/usr/bin:/bin"})

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        # As a shell does it: by the PATH of the environment.
        return subprocess.run(
            ["/bin/sh", "-c", '"$@"', "sh", *words], env=environ, capture_output=True, text=True, check=False
        )

    assert run("kubectl", "get", "a b", "*").stdout == "kubectl|get|a b|*|"
    assert run("aws", "sqs", "list-queues").stdout == f"aws|--endpoint-url|{lab.aws_url}|sqs|list-queues|"
    (programs / "helm").unlink()
    if not any(Path(folder, "helm").exists() for folder in ("/usr/bin", "/bin")):
        assert run("helm", "list").stdout.split()[:3] == ["NAME", "NAMESPACE", "REVISION"]  # the lab's stand-in

    for end in ("stopped", "killed"):
        if end == "stopped":
            assert client.stop(lab.home)
        else:
            pid = client.ensure_running(lab.home).pid
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie, as below a JupyterLab
        for name in ("kubectl", "helm", "aws"):
            done = run(name, "version")
            assert done.returncode == 1, end
            assert done.stdout == ""
            assert done.stderr == (
                f"{name}: The embedded lab in {lab.home} is not running, and what was in it is gone.\n"
                "  What to do: Start it with `labkit up`.\n"
            )


@pytest.mark.parametrize("name", ["bash", "zsh", "sh", "fish"])
def test_a_shell_in_jupyterlab_does_not_read_what_leads_elsewhere(
    embedded: Endpoints, tmp_path: Path, name: str
) -> None:
    shell = shutil.which(name) or f"/nowhere/{name}"
    if not Path(shell).exists() and name == "zsh":
        pytest.skip("zsh is not installed")
    exports = "export AWS_PROFILE=prod KUBECONFIG=/real PATH=/real:$PATH\nalias labkit='echo another'\n"
    for file in (".bashrc", ".bash_profile", ".profile", ".zshrc", ".zshenv", ".env"):
        (tmp_path / file).write_text(exports)
    person = {**LEADING_ELSEWHERE, "PATH": os.environ["PATH"], "HOME": str(tmp_path), "SHELL": shell}
    person |= {"ENV": str(tmp_path / ".env"), "BASH_ENV": str(tmp_path / ".env")}
    environ, command = on_embedded(Settings.load(environ={}, home=embedded.home), person)
    ask = 'labkit status; echo "[$AWS_PROFILE|$KUBECONFIG|$0]"\n'

    def run(words: list[str], typed: str) -> str:
        done = subprocess.run(
            words, input=typed, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        return done.stdout

    inner = Path(command[0]).name
    for said in (
        run([*command, "-i"], ask),
        run([*command, "-i"], f"{inner} -i\n{ask}"),
        run([environ["SHELL"], "-c", ask], ""),
    ):
        assert f"pid {embedded.pid}" in said
        assert f"[|{embedded.kubeconfig}|" in said
    jupyters = ["jupyter_server_config.json", "labconfig", "labextensions"]
    assert sorted(path.name for path in environment.SHELL.iterdir()) == sorted([".zshrc", "rc", *jupyters])


def test_commands_typed_on_eks_use_the_profile_that_labkit_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    from labkit.jupyterlab import environment_of

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    environ, _ = environment_of(Settings.load({}, target="eks", profile="class"), os.environ)
    assert (environ["AWS_PROFILE"], environ.get("AWS_ACCESS_KEY_ID")) == ("class", None)
    environ, _ = environment_of(Settings.load({}, target="eks"), os.environ)
    assert (environ.get("AWS_PROFILE"), environ["AWS_ACCESS_KEY_ID"]) == (None, "AKIDEXAMPLE")
