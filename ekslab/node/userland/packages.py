"""Package tools: apt, apt-get, dpkg. The lab has no mirror, so installing fails as it does offline."""

from __future__ import annotations

import re
import socket

from ekslab.node import abi
from ekslab.node.patterns import glob
from ekslab.node.process import Process
from ekslab.node.programs import program

_STATUS = "/var/lib/dpkg/status"
_SOURCES = (
    ("http://deb.debian.org/debian", "trixie"),
    ("http://deb.debian.org/debian", "trixie-updates"),
    ("http://deb.debian.org/debian-security", "trixie-security"),
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
        p.print("apt 3.0.3 (amd64)")
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
            "apt 3.0.3 (amd64)\nUsage: apt [options] command"
            if p.name == "apt"
            else "apt 3.0.3 (amd64)\nUsage: apt-get [options] command"
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
        response = await p.http("GET", f"http://{host}/debian/dists/trixie/InRelease", timeout=20)
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


_QUERIES = {
    "-l": "--list",
    "-s": "--status",
    "-L": "--listfiles",
    "-S": "--search",
    "-p": "--print-avail",
    "-W": "--show",
}


@program("dpkg")
async def dpkg(p: Process) -> int:
    """Questions are dpkg-query's, which dpkg starts in its own place along PATH."""
    words = p.argv[1:]
    action = words[0] if words else ""
    query = _QUERIES.get(action, action)
    if query in set(_QUERIES.values()) - {"--show"}:
        env = {**p.env, "DPKG_ADMINDIR": "/var/lib/dpkg", "DPKG_ROOT": ""}
        return await p.exec(["dpkg-query", query, "--", *words[1:]], env=env, failed=lambda exc: _no_query(p, exc))
    if action == "--print-architecture":
        p.print("amd64")
        return 0
    if action == "--print-foreign-architectures":
        return 0
    if action == "--version":
        p.print("Debian 'dpkg' package management program version 1.22.21 (amd64).")
        return 0
    if action == "--get-selections":
        for package in installed(p):
            p.print(f"{package['Package']:<48}install")
        return 0
    if action in ("-V", "--verify", "--audit", "-C", "--configure"):
        return 0
    if action in ("-i", "--install", "--unpack", "-x", "-c", "-I", "-e"):
        target = words[1] if len(words) > 1 else ""
        if not target:
            p.stderr.write(f"dpkg: error: {action} needs at least one package archive file argument\n")
        elif not p.exists(target):
            p.stderr.write(f"dpkg: error: cannot access archive '{target}': No such file or directory\n")
        else:
            return p.fail("embedded lab: the lab has no package archives", 2)
        return 2
    if action in ("-r", "--remove", "-P", "--purge"):
        missing = [name for name in words[1:] if all(package["Package"] != name for package in installed(p))]
        for name in missing:
            p.stderr.write(f"dpkg: warning: ignoring request to remove {name} which isn't installed\n")
        return 0 if missing else p.fail("embedded lab: removing packages is not simulated", 2)
    p.stderr.write(f"dpkg: error: {f'unknown option {action}' if action else 'need an action option'}\n")
    return 2


def _no_query(p: Process, exc: OSError) -> int:
    p.stderr.write(f"dpkg: error: unable to execute dpkg-query (dpkg-query): {exc.strerror}\n")
    return 2


@program("dpkg-query")
async def dpkg_query(p: Process) -> int:
    words = p.argv[1:]
    format = "${binary:Package}\\t${Version}\\n"
    rest: list[str] = []
    action = ""
    for word in words:
        if word.startswith(("-f=", "--showformat=")) or (word.startswith("-f") and len(word) > 2):
            format = word.partition("=")[2] or word[2:]
        elif word.startswith("-") and word != "--" and not action:
            action = _QUERIES.get(word, word)
        elif word.startswith("-") and word != "--":
            return p.fail(f"embedded lab: the lab's dpkg-query has no option {word}", 2)
        elif word != "--":
            rest.append(word)
    if action == "--list":
        return _listed(p, rest)
    if action == "--show":
        return _shown(p, rest, format)
    if action in ("--status", "--print-avail"):
        return _states(p, rest)
    if action == "--listfiles":
        return _files(p, rest)
    if action == "--search":
        return _owners(p, rest)
    if action == "--version":
        p.print("Debian dpkg-query package management program query tool version 1.22.21 (amd64).")
        return 0
    p.stderr.write(f"dpkg-query: error: {f'unknown option {action}' if action else 'need an action option'}\n")
    return 2


def _matching(p: Process, patterns: list[str], told: str) -> tuple[list[dict[str, str]], int]:
    packages, status, found = installed(p), 0, []
    for pattern in patterns or ["*"]:
        chosen = [package for package in packages if glob(pattern).matches(package["Package"])]
        if not chosen:
            p.stderr.write(f"dpkg-query: {told.format(pattern)}\n")
            status = 1
        found += chosen
    return sorted(found, key=lambda package: package["Package"]), status


def _listed(p: Process, names: list[str]) -> int:
    rows, status = _matching(p, names, "no packages found matching {}")
    if not rows:
        return status
    widths = [max(len(row.get(key, "")) for row in rows) for key in ("Package", "Version")]
    widths = [max(widths[0], 14), max(widths[1], 12), 12]
    p.print(
        "Desired=Unknown/Install/Remove/Purge/Hold\n"
        "| Status=Not/Inst/Conf-files/Unpacked/halF-conf/Half-inst/trig-aWait/Trig-pend\n"
        "|/ Err?=(none)/Reinst-required (Status,Err: uppercase=bad)"
    )
    p.print(f"||/ {'Name':<{widths[0]}} {'Version':<{widths[1]}} {'Architecture':<12} Description")
    p.print("+++-" + "-".join("=" * width for width in (*widths, 33)))
    for row in rows:
        cells = [row.get(key, "") for key in ("Package", "Version", "Architecture")]
        text = " ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        p.print(f"ii  {text} {row.get('Description', '')}".rstrip())
    return status


def _shown(p: Process, names: list[str], format: str) -> int:
    rows, status = _matching(p, names, "no packages found matching {}")
    for row in rows:
        fields = {**row, "binary:Package": row["Package"], "db:Status-Abbrev": "ii "}
        text = re.sub(r"\$\{([\w:-]+)(?:;-?\d+)?\}", lambda match: fields.get(match[1], ""), format)  # noqa: B023
        p.stdout.write(text.replace("\\n", "\n").replace("\\t", "\t"))
    return status


def _states(p: Process, names: list[str]) -> int:
    status = 0
    for name in names:
        package = next((one for one in installed(p) if one["Package"] == name), None)
        if package is None:
            p.stderr.write(
                f"dpkg-query: package '{name}' is not installed and no information is available\n"
                "Use dpkg --info (= dpkg-deb --info) to examine archive files.\n"
            )
            status = 1
            continue
        for field, value in package.items():
            p.print(f"{field}: {value}")
    return status


def _files(p: Process, names: list[str]) -> int:
    status = 0
    for name in names:
        path = f"/var/lib/dpkg/info/{name}.list"
        if not p.exists(path):
            p.stderr.write(
                f"dpkg-query: package '{name}' is not installed\n"
                "Use dpkg --contents (= dpkg-deb --contents) to list archive files contents.\n"
            )
            status = 1
            continue
        p.stdout.write(p.read_text(path))
    return status


def _owners(p: Process, patterns: list[str]) -> int:
    status = 0
    lists = [name for name in p.listdir("/var/lib/dpkg/info") if name.endswith(".list")]
    contents = {name.removesuffix(".list"): p.read_text(f"/var/lib/dpkg/info/{name}").split("\n") for name in lists}
    for pattern in patterns:
        whole = pattern if any(letter in pattern for letter in "*?[") or pattern.startswith("/") else f"*{pattern}*"
        wanted = glob(whole)
        found = [(name, path) for name, paths in contents.items() for path in paths if wanted.matches(path)]
        for name, path in sorted(found):
            p.print(f"{name}: {path}")
        if not found:
            p.stderr.write(f"dpkg-query: no path found matching pattern {pattern}\n")
            status = 1
    return status


@program("apt-cache", "apt-mark", "apt-config")
async def apt_cache(p: Process) -> int:
    """The lab's lists of packages are empty, as an image's are: only what is installed is known."""
    words = [word for word in p.argv[1:] if not word.startswith("-")]
    command, names = (words[0], words[1:]) if words else ("", [])
    known = {package["Package"]: package for package in installed(p)}
    if p.program == "apt-mark" and command in ("showmanual", "showauto", "showhold"):
        for name in known if command == "showmanual" else ():
            p.print(name)
        return 0
    if p.program == "apt-cache" and command == "policy":
        for name in names:
            if name in known:
                version = known[name]["Version"]
                p.print(f"{name}:\n  Installed: {version}\n  Candidate: {version}\n  Version table:")
                p.print(f" *** {version} 100\n        100 /var/lib/dpkg/status")
            else:
                p.stderr.write(f"N: Unable to locate package {name}\n")
        return 0
    if p.program == "apt-cache" and command in ("show", "showpkg", "madison", "depends", "rdepends"):
        missing = [name for name in names if name not in known]
        for name in names:
            if name in known:
                p.print("".join(f"{field}: {value}\n" for field, value in known[name].items()))
        for name in missing:
            p.stderr.write(f"N: Unable to locate package {name}\n")
        if missing:
            p.stderr.write("E: No packages found\n")
        return 100 if missing else 0
    if p.program == "apt-cache" and command in ("search", "pkgnames"):
        for name in known:
            if command == "pkgnames" or all(name_part in name for name_part in names):
                p.print(name if command == "pkgnames" else f"{name} - {known[name].get('Description', '')}")
        return 0
    if p.program == "apt-config" and command == "dump":
        p.print('APT "";\nAPT::Architecture "amd64";\nDir "/";\nDir::State "var/lib/apt";')
        return 0
    p.stderr.write(f"E: Invalid operation {command}\n" if command else f"{p.program}: needs a command\n")
    return 100


@program("pip", "pip3", "npm", "gem")
async def language_packages(p: Process) -> int:
    p.stderr.write(f"{p.argv[0]}: installing packages is not simulated in this lab\n")
    return 1
