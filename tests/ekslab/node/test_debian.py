"""The Debian image: its files of /etc, links of alternatives, and what each of its programs does or says it lacks."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from ekslab.node import debian, programs
from falcorules import Engine

PACKAGES = tomllib.loads((Path(debian.__file__).parent / "debian.toml").read_text())
RULES = Path(__file__).parents[3] / "falcorules/data/falco_rules.yaml"


async def test_every_program_of_a_package_runs_or_says_that_the_lab_lacks_it(pod):
    pod.look_away()
    names = (await pod.sh("ls /usr/bin /usr/sbin")).out.split()
    installed = {name for name in names if not name.endswith(":")}
    named = {
        name
        for package in ("coreutils", "util-linux", "passwd", "dpkg", "gzip", "libc-bin", "tar", "login")
        for folder in ("bin", "sbin")
        for name in PACKAGES[package].get(folder, "").split()
    }
    assert named <= installed
    lacking = [name for name in sorted(named) if debian.lacking.emulated(name) == "lacking"]
    assert 50 < len(lacking) < 160
    for name in lacking:
        result = await pod.run(name, "--help")
        assert (result.code, result.out) == (1, "")
        assert result.err == f"{name}: embedded lab: the real image has {name}, the lab doesn't\n"


@pytest.mark.parametrize("name", ["vim", "python3", "ip", "ssh", "nmap", "systemctl", "sudo", "less", "ping"])
async def test_a_program_that_the_real_image_does_not_have_is_not_found(pod, name):
    assert (await pod.sh(name)).err == f"sh: 1: {name}: not found\n"


async def test_a_search_of_etc_reads_as_many_sensitive_files_as_in_reality(pod):
    engine = Engine(matching="first")
    engine.load([RULES])
    raised: list[str] = []
    pod.look_away()
    from ekslab.node import subscribe

    stop = subscribe(pod.node.kernel, lambda event: raised.extend(alert.rule for alert in engine.process(event)))
    await pod.run("grep", "-rs", "aws_secret_access_key", "/etc")
    await pod.sh("tar czf /tmp/x.tgz /etc 2>/dev/null")
    stop()
    assert raised == ["Find AWS Credentials", *["Read sensitive file untrusted"] * 34]


@pytest.mark.parametrize(
    ("link", "path"),
    [
        ("/usr/bin/awk", "/usr/bin/mawk"),
        ("/usr/bin/nawk", "/usr/bin/mawk"),
        ("/usr/bin/which", "/usr/bin/which.debianutils"),
        ("/usr/bin/rbash", "/usr/bin/bash"),
        ("/bin/sh", "/usr/bin/dash"),
        ("/etc/rmt", "/usr/sbin/rmt-tar"),
    ],
)
async def test_links_lead_to_the_program_that_runs(pod, link, path):
    assert (await pod.run("realpath", link)).out == f"{path}\n"
    if "/etc/alternatives" in (await pod.run("readlink", link)).out:
        assert (await pod.run("readlink", f"/etc/alternatives/{link.rsplit('/', 1)[-1]}")).out == f"{path}\n"


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("egrep x /dev/null", ["egrep:/usr/bin/dash", "grep:/usr/bin/grep"]),
        ("zcat /dev/null", ["zcat:/usr/bin/dash", "gzip:/usr/bin/gzip"]),
        ("which ls", ["which:/usr/bin/dash"]),
        ("awk 1 /dev/null", ["awk:/usr/bin/mawk"]),
        ("dpkg -l bash", ["dpkg:/usr/bin/dpkg", "dpkg-query:/usr/bin/dpkg-query"]),
        ("tar czf /tmp/a.tgz /etc/hostname", ["gzip:/usr/bin/gzip", "sh:/usr/bin/dash", "tar:/usr/bin/tar"]),
        ("su -s /bin/sh app -c id", ["id:/usr/bin/id", "sh:/usr/bin/dash", "su:/usr/bin/su"]),
    ],
)
async def test_what_is_a_script_or_starts_others_shows_as_that(pod, command, shown):
    await pod.bash(f"{command}; true")
    seen = {f"{e['proc.name']}:{e['proc.exepath']}" for e in pod.seen("execve", evt_res="SUCCESS")}
    assert seen - {"bash:/usr/bin/bash"} == set(shown)


async def test_dpkg_looks_along_path_for_dpkg_query(pod):
    await pod.sh("dpkg -l bash > /dev/null")
    tried = [e["evt.arg"]["filename"] for e in pod.seen("execve", proc_name="dpkg") if e["evt.failed"]]
    assert tried == ["/usr/local/sbin/dpkg-query", "/usr/local/bin/dpkg-query", "/usr/sbin/dpkg-query"]


async def test_a_home_is_made_from_etc_skel(pod):
    result = await pod.sh("useradd -m eve; ls -A /home/eve; stat -c '%U %a' /home/eve; tail -1 /etc/passwd; id eve")
    assert result.out == (
        ".bash_logout\n.bashrc\n.profile\neve 700\neve:x:1001:1001::/home/eve:/bin/sh\n"
        "uid=1001(eve) gid=1001(eve) groups=1001(eve)\n"
    )
    written = [e["fd.name"] for e in pod.seen("openat", proc_name="useradd") if "O_CREAT" in e["evt.arg"]["flags"]]
    assert [name for name in written if str(name).startswith("/home/")] == [
        "/home/eve/.bash_logout",
        "/home/eve/.bashrc",
        "/home/eve/.profile",
    ]


def test_a_file_has_at_most_one_package():
    owners: dict[str, str] = {}
    for name, package in PACKAGES.items():
        paths = [f"{folder}/{program}" for folder in ("bin", "sbin") for program in package.get(folder, "").split()]
        for path in [*paths, *package.get("files", {}), *package.get("scripts", {}), *package.get("links", {})]:
            assert owners.setdefault(path, name) == name, path
    assert all(re.fullmatch(r"[\w.+:~-]+", package["version"]) for package in PACKAGES.values())


def test_programs_of_the_lab_have_a_file_somewhere():
    """A program that no package and no image names would never run."""
    files = {
        name for package in PACKAGES.values() for folder in ("bin", "sbin") for name in package.get(folder, "").split()
    }
    files |= {path.rsplit("/", 1)[-1] for package in PACKAGES.values() for path in package.get("links", {})}
    emulated = {debian.lacking.emulated(name) for name in files}
    assert {"tar", "gzip", "openssl", "mawk", "passwd", "useradd", "findmnt"} <= emulated
    assert programs.lookup("lacking") is not None
