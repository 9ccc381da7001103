"""Package tools: apt, apt-get, dpkg. The lab has no mirror, so installing fails as it does offline."""

from __future__ import annotations

import socket

from ekslab.node import abi
from ekslab.node.process import Process
from ekslab.node.programs import program
from ekslab.node.userland.options import usage

_STATUS = "/var/lib/dpkg/status"
_SOURCES = (
    ("http://deb.debian.org/debian", "bookworm"),
    ("http://deb.debian.org/debian", "bookworm-updates"),
    ("http://deb.debian.org/debian-security", "bookworm-security"),
)


def installed(p: Process) -> list[dict[str, str]]:
    """The records of dpkg's database."""
    try:
        text = p.read_text(_STATUS)
    except OSError:
        return []
    packages = []
    for paragraph in text.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and not line.startswith(" ")
        )
        if "Package" in fields:
            packages.append(fields)
    return packages


@program("apt", "apt-get")
async def apt(p: Process) -> int:
    words = [word for word in p.argv[1:] if not word.startswith("-")]
    options = [word for word in p.argv[1:] if word.startswith("-")]
    if "--version" in options or "-v" in options:
        p.print("apt 2.6.1 (amd64)")
        return 0
    command = words[0] if words else ""
    if command == "update":
        return await _update(p)
    if command in ("install", "remove", "purge", "upgrade", "dist-upgrade", "full-upgrade", "autoremove", "download"):
        return await _change(p, command, words[1:])
    if command == "list" and p.name == "apt":
        return _list(p, options)
    if command in ("clean", "autoclean"):
        return 0
    if not command:
        p.print(
            "apt 2.6.1 (amd64)\nUsage: apt [options] command"
            if p.name == "apt"
            else "apt 2.6.1 (amd64)\nUsage: apt-get [options] command"
        )
        return 0
    p.stderr.write(f"E: Invalid operation {command}\n")
    return 100


def _list(p: Process, options: list[str]) -> int:
    p.stderr.write("\nWARNING: apt does not have a stable CLI interface. Use with caution in scripts.\n\n")
    p.print("Listing...")
    for package in installed(p):
        state = "[installed]" if "--installed" in options else "[installed,local]"
        p.print(f"{package['Package']}/now {package.get('Version', '')} {package.get('Architecture', 'amd64')} {state}")
    return 0


def _lock(p: Process, path: str) -> str:
    """The message when apt can't get a lock, else nothing."""
    try:
        p.close(p.open(path, abi.O_RDWR | abi.O_CREAT | abi.O_NOFOLLOW, 0o640))
    except OSError as exc:
        return f"E: Could not open lock file {path} - open ({abi.errno_number(abi.errno_name(exc))}: {exc.strerror})\n"
    return ""


async def _update(p: Process) -> int:
    problem = _lock(p, "/var/lib/apt/lists/lock")
    if problem:
        p.stderr.write("Reading package lists...\n" + problem + "E: Unable to lock directory /var/lib/apt/lists/\n")
        return 100
    host = "deb.debian.org"
    failed = True
    try:
        response = await p.http("GET", f"http://{host}/debian/dists/bookworm/InRelease", timeout=20)
        failed = response.status != 200
        why = f"{response.status}  Not Found"
    except socket.gaierror:
        why = f"Temporary failure resolving '{host}'"
    except OSError as exc:
        why = f"Could not connect to {host}:80 - connect ({exc.strerror or 'Connection timed out'})"
    if not failed:
        p.print("Reading package lists...")
        return 0
    for number, (url, suite) in enumerate(_SOURCES, 1):
        p.print(f"Ign:{number} {url} {suite} InRelease")
    for number, (url, suite) in enumerate(_SOURCES, 1):
        p.print(f"Err:{number} {url} {suite} InRelease\n  {why}")
    p.print("Reading package lists...")
    for url, suite in _SOURCES:
        p.stderr.write(f"W: Failed to fetch {url}/dists/{suite}/InRelease  {why}\n")
    p.stderr.write("W: Some index files failed to download. They have been ignored, or old ones used instead.\n")
    return 0


async def _change(p: Process, command: str, names: list[str]) -> int:
    if p.euid:
        p.stderr.write(
            "E: Could not open lock file /var/lib/dpkg/lock-frontend - open (13: Permission denied)\n"
            "E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), are you root?\n"
        )
        return 100
    problem = _lock(p, "/var/lib/dpkg/lock-frontend")
    if problem:
        p.stderr.write(problem)
        return 100
    p.print("Reading package lists...\nBuilding dependency tree...\nReading state information...")
    known = {package["Package"]: package for package in installed(p)}
    if command == "install":
        for name in names:
            if name in known:
                p.print(f"{name} is already the newest version ({known[name].get('Version', '')}).")
            else:
                p.stderr.write(f"E: Unable to locate package {name}\n")
        if any(name not in known for name in names):
            return 100
    elif command in ("remove", "purge", "download"):
        missing = [name for name in names if name not in known]
        if missing:
            p.stderr.write(f"E: Unable to locate package {missing[0]}\n")
            return 100
        if names:
            p.stderr.write(f"E: {command} is not simulated in this lab\n")
            return 100
    p.print("0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.")
    return 0


@program("dpkg")
async def dpkg(p: Process) -> int:
    words = p.argv[1:]
    if words[:1] in (["-l"], ["--list"]):
        rows = [package for package in installed(p) if len(words) == 1 or package["Package"] in words[1:]]
        if not rows and len(words) > 1:
            p.stderr.write(f"dpkg-query: no packages found matching {words[1]}\n")
            return 1
        p.print(
            "Desired=Unknown/Install/Remove/Purge/Hold\n"
            "| Status=Not/Inst/Conf-files/Unpacked/halF-conf/Half-inst/trig-aWait/Trig-pend\n"
            "|/ Err?=(none)/Reinst-required (Status,Err: uppercase=bad)"
        )
        p.print(f"||/ {'Name':<16} {'Version':<20} {'Architecture':<12} Description")
        for package in rows:
            version, architecture = package.get("Version", ""), package.get("Architecture", "")
            row = f"ii  {package['Package']:<16} {version:<20} {architecture:<12} {package.get('Description', '')}"
            p.print(row.rstrip())
        return 0
    if words[:1] in (["-s"], ["--status"]) and len(words) > 1:
        for package in installed(p):
            if package["Package"] == words[1]:
                for name, value in package.items():
                    p.print(f"{name}: {value}")
                return 0
        p.stderr.write(f"dpkg-query: package '{words[1]}' is not installed and no information is available\n")
        return 1
    if words[:1] == ["--print-architecture"]:
        p.print("amd64")
        return 0
    if words[:1] == ["--print-foreign-architectures"]:
        return 0
    if words[:1] in (["-i"], ["--install"]):
        target = words[1] if len(words) > 1 else ""
        p.stderr.write(f"dpkg: error: cannot access archive '{target}': No such file or directory\n")
        return 2
    usage(p, f"unknown option {words[0]}" if words else "need an action option", 2)
    return 2


@program("pip", "pip3", "npm", "gem")
async def language_packages(p: Process) -> int:
    p.stderr.write(f"{p.argv[0]}: installing packages is not simulated in this lab\n")
    return 1


@program("useradd", "adduser", "groupadd", "userdel", "usermod", "passwd", "chpasswd")
async def users(p: Process) -> int:
    """useradd and groupadd for the simplest case; the others are refused."""
    names = [word for word in p.argv[1:] if not word.startswith("-")]
    if p.name not in ("useradd", "groupadd"):
        return p.fail("not simulated in this lab")
    if not names:
        usage(p, f"Usage: {p.name} [options] LOGIN", 2)
    if p.euid:
        return p.fail("Permission denied.\nuseradd: cannot lock /etc/passwd; try again later.")
    name = names[-1]
    path = "/etc/passwd" if p.name == "useradd" else "/etc/group"
    taken = [line.split(":") for line in p.read_text(path).splitlines()]
    if any(fields[0] == name for fields in taken):
        return p.fail(f"{'user' if p.name == 'useradd' else 'group'} '{name}' already exists", 9)
    number = max([999, *(int(fields[2]) for fields in taken if len(fields) > 2 and int(fields[2]) < 60_000)]) + 1
    for target, line in (
        ("/etc/passwd", f"{name}:x:{number}:{number}::/home/{name}:/bin/sh\n"),
        ("/etc/shadow", f"{name}:!:20370:0:99999:7:::\n"),
        ("/etc/group", f"{name}:x:{number}:\n"),
    ):
        if p.name == "useradd" or target == "/etc/group":
            p.append_text(target, line)
    return 0
