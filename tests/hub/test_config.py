"""The Hub's settings, the list of attendees, and the values for Kubernetes, without a Hub."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import random
import re
import runpy
import socket
import stat
import sys
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

pytest.importorskip("jupyterhub", reason="JupyterHub is not installed: `make build/hub/.ready`")
from traitlets.config import Config

from hub import attendees, spawner
from labkit.environment import Environment

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "hub/jupyterhub_config.py"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reads the configuration with settings, and no process is started."""
    program = tmp_path / "bin/node"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(spawner, "Template", lambda: None)
    for name in [name for name in os.environ if name.startswith("HUB_")]:
        monkeypatch.delenv(name)

    def read(**settings: str) -> Config:
        made = Config()
        defaults = {"HUB_STATE": str(tmp_path / "state"), "HUB_ACCOUNTS": "one", "HUB_PROXY": str(program)}
        for name, value in (defaults | settings).items():
            monkeypatch.setenv(name, value)
        runpy.run_path(str(CONFIG), {"get_config": lambda: made})
        return made

    attendees.make(tmp_path / "state/attendees", 2)
    return read


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"HUB_LOGIN": "dummy", "HUB_BIND": "https://0.0.0.0:443"}, "lets anyone in"),
        ({"HUB_LOGIN": "dummy", "HUB_ACCOUNTS": "unix"}, "act as any account" if os.geteuid() == 0 else "needs root"),
        ({"HUB_BIND": "http://0.0.0.0:8000"}, "passwords would travel in clear text"),
        ({"HUB_BIND": "https://0.0.0.0:443"}, "HUB_CERTIFICATE"),
        ({"HUB_BIND": "0.0.0.0:8000"}, "Write it as https://"),
        ({"HUB_LOGIN": "ldap"}, "It has to be attendees or pam or dummy"),
        ({"HUB_IDLE_MINUTES": "soon"}, "a number of minutes"),
        ({"HUB_ATTENDEES": "/nowhere"}, "python -m hub.attendees 30"),
        ({"HUB_PROXY": "/nowhere"}, "`make hub`"),
    ],
)
def test_a_setting_that_would_open_the_hub_or_cannot_work_is_refused(
    config: Any, settings: dict[str, str], said: str
) -> None:
    with pytest.raises(SystemExit, match=re.escape(said)):
        config(**settings)


def test_a_session_says_its_pid_while_no_process_of_the_attendee_can_speak_for_it() -> None:
    """The Hub sends signals to that pid as root."""
    from hub import template

    hub, session = socket.socketpair()
    with hub, session:
        hub.sendall(b'{"account": "no-such-account", "folder": "/", "environ": {}, "argv": []}\n')
        pid = os.fork()
        if pid == 0:
            hub.close()
            template._session(session)
        session.close()
        with hub.makefile() as answers:
            assert json.loads(answers.readline()) == pid
            assert "no-such-account" in json.loads(answers.readline())
        os.waitpid(pid, 0)


async def test_no_signal_goes_to_a_process_of_another_account_that_has_got_the_pid() -> None:
    for account, is_its in ((pwd.getpwuid(os.geteuid()).pw_name, True), ("nobody", False), ("no-such-account", False)):
        one = spawner.Accounts(user=SimpleNamespace(name=account, id=1, url="/"))
        one.pid = os.getpid()
        assert await one._signal(0) is is_its


def test_a_folder_of_secrets_that_others_can_look_into_is_refused(config: Any, tmp_path: Path) -> None:
    (tmp_path / "state").chmod(0o750)
    with pytest.raises(SystemExit, match="chmod 700"):
        config()
    (tmp_path / "state").chmod(0o700)
    if os.geteuid() == 0:
        os.chown(tmp_path / "state", 65534, -1)
        with pytest.raises(SystemExit, match="belongs to another account"):
            config()


def test_a_second_hub_with_the_same_folder_is_refused(config: Any, tmp_path: Path) -> None:
    """It would end the first one's proxy."""
    with (tmp_path / "state/running").open("a") as running:
        fcntl.flock(running, fcntl.LOCK_EX)
        with pytest.raises(SystemExit, match="A Hub is running already"):
            config()
    config()
    config()


def test_a_python_that_other_accounts_do_not_reach_is_named(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "pyenv"
    python.mkdir(mode=0o700)
    monkeypatch.setattr(sys, "prefix", "/usr")
    monkeypatch.setattr(sys, "base_prefix", str(python))
    said = f"and so don't reach {python}. .*`make hub PYTHON=" if os.geteuid() == 0 else "needs root"
    with pytest.raises(SystemExit, match=said):
        config(HUB_ACCOUNTS="unix")


def test_a_servers_port_is_none_that_a_program_gets_which_asks_for_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lab, for one: it could listen there before the server does."""
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    monkeypatch.setattr(spawner, "_given", deque(maxlen=200))
    ports = [spawner.free_port() for _ in range(100)]
    assert len(set(ports)) == 100
    assert not [port for port in ports if low <= port <= high]
    with socket.create_server(("127.0.0.1", ports[0])):
        monkeypatch.setattr(spawner, "_given", deque(maxlen=200))
        monkeypatch.setattr(random, "sample", lambda ports, count: ports[ports.index(taken) :])
        taken = ports[0]
        assert spawner.free_port() != taken


def test_defaults_are_loopback_and_the_file_of_attendees(config: Any, tmp_path: Path) -> None:
    made = config()
    assert made.JupyterHub.bind_url == "http://127.0.0.1:8000"
    assert made.AttendeesFile.admin_users == {"instructor"}
    assert made.Spawner.environment["LABKIT_IDLE_MINUTES"] == "90"
    assert "--timeout=5400" in made.JupyterHub.services[0]["command"]
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert not {"LABKIT_ATTENDEE", "LABKIT_PROFILE"} & set(made.Spawner.environment)


@pytest.mark.parametrize(("name", "attendee"), [("attendee-07", "07"), ("alice", "alice")])
def test_on_one_cluster_the_attendees_name_is_handed_on(config: Any, name: str, attendee: str) -> None:
    made = config(HUB_TARGET="eks", LABKIT_REGION="eu-central-1")
    one = type("Spawner", (), {"user": type("User", (), {"name": name})})
    assert made.Spawner.environment["LABKIT_ATTENDEE"](one) == attendee
    assert made.Spawner.environment["LABKIT_TARGET"] == "eks"
    assert "LABKIT_REGION" in made.Spawner.env_keep
    one.user.name = "jo-ann"
    with pytest.raises(attendees.AttendeesError, match="jo-ann can't be an attendee on a shared cluster"):
        made.Spawner.environment["LABKIT_ATTENDEE"](one)


def test_what_the_class_hands_out_is_set_for_its_attendee(config: Any, tmp_path: Path) -> None:
    made = config(HUB_TARGET="eks")
    file = tmp_path / "state/env/attendee-07"
    file.parent.mkdir()
    values = {
        "LABKIT_ATTENDEE": "07",
        "LABKIT_CLUSTER": "class",
        "AWS_SECRET_ACCESS_KEY": "a'b c",
        "KUBECONFIG": "/root/k",
    }
    file.write_text(f"# Attendee 07.\n{Environment((Path('/opt/bin'),), values).as_shell()}\n")
    file.chmod(0o600)
    one = SimpleNamespace(environment={"LABKIT_TARGET": "eks"}, user=SimpleNamespace(name="attendee-07"))
    made.Spawner.pre_spawn_hook(one)
    del values["KUBECONFIG"]
    assert one.environment == {"LABKIT_TARGET": "eks", **values}
    another = SimpleNamespace(environment={}, user=SimpleNamespace(name="attendee-08"))
    made.Spawner.pre_spawn_hook(another)
    assert another.environment == {}
    file.chmod(0o644)
    with pytest.raises(attendees.AttendeesError, match="chmod 600"):
        made.Spawner.pre_spawn_hook(one)


def test_attendees_are_made_once_with_passwords_that_only_the_instructor_can_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "state/attendees"
    assert attendees.main(["30", str(file)]) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = attendees.read(file)
    assert list(found)[:2] == ["instructor", "attendee-01"]
    assert len(found) == len(set(found.values())) == 31
    assert attendees.main(["30", str(file)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert attendees.read(file) == found
    assert attendees.main(["many"]) == 2


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("ann 12345678", 0o644, "chmod 600"),
        ("ann", 0o600, "line 1"),
        ("# a class\nann short", 0o600, "line 2"),
        ("../ann 12345678", 0o600, "line 1"),
        ("ann 12345678\nann 87654321", 0o600, "twice"),
        ("\n", 0o600, "has no attendees"),
    ],
)
def test_a_file_of_attendees_says_what_is_wrong_with_it(tmp_path: Path, text: str, mode: int, said: str) -> None:
    file = tmp_path / "attendees"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(attendees.AttendeesError, match=said):
        attendees.read(file)


async def test_a_password_lets_in_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "attendees"
    attendees.make(file, 2)
    known = attendees.read(file)
    login = attendees.AttendeesFile(file=str(file), allow_all=True)

    async def tried(name: str, password: str) -> str | None:
        return await login.authenticate(None, {"username": name, "password": password})

    assert await tried("attendee-01", known["attendee-01"]) == "attendee-01"
    assert await tried("attendee-01", known["attendee-02"]) is None
    assert await tried("nobody", known["attendee-01"]) is None
    assert await tried("attendee-01", "") is None
    assert await tried("", "") is None
    assert await login.authenticate(None, None) is None


def test_values_for_kubernetes_fit_the_image_and_the_settings() -> None:
    values = yaml.safe_load((ROOT / "hub/values.yaml").read_text())
    image = (ROOT / "Containerfile").read_text()
    single = values["singleuser"]
    assert f"USER {single['uid']}" in image
    assert f"HOME={single['storage']['homeMountPath']}" in image
    assert f'CMD ["{single["cmd"]}"]' in image
    assert (ROOT / single["defaultUrl"].removeprefix("/lab/tree/my-notebooks/").join(["notebooks/", ""])).is_file()
    assert float(single["extraEnv"]["LABKIT_IDLE_MINUTES"]) * 60 == values["cull"]["timeout"]
    module, name = values["hub"]["config"]["JupyterHub"]["authenticator_class"].split(".")
    assert getattr(sys.modules[f"hub.{module}"], name) is attendees.AttendeesFile
    settings = values["hub"]["config"][name]
    assert settings.keys() <= set(attendees.AttendeesFile.class_trait_names(config=True))
    files = {file["mountPath"] for file in values["hub"]["extraFiles"].values()}
    assert files == {settings["file"], f"{values['hub']['extraEnv']['PYTHONPATH']}/{module}.py"}


def test_attendees_on_kubernetes_are_restricted_and_reach_no_network() -> None:
    values = yaml.safe_load((ROOT / "hub/values.yaml").read_text())
    context = values["hub"]["config"]["KubeSpawner"]["container_security_context"]
    assert context["runAsNonRoot"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    single = values["singleuser"]
    assert not single["allowPrivilegeEscalation"]
    assert not single["cloudMetadata"]["blockWithIptables"]
    allowed = {name for name, on in single["networkPolicy"]["egressAllowRules"].items() if on}
    assert single["networkPolicy"]["enabled"]
    assert allowed == {"dnsPortsKubeSystemNamespace", "dnsPortsPrivateIPs"}
    assert json.dumps(values).count("privileged") == 0
