"""`labkit doctor`: what will go wrong in class, before class. Takes at most two seconds.

It needs nothing but Python, an old one too, so that `make doctor` runs before anything is installed.
"""

from __future__ import annotations

import argparse
import configparser
import email.utils
import errno
import importlib.util
import json
import os
import re
import shutil
import socket
import sys
import tempfile
import textwrap
import threading
import time
import urllib.request
import webbrowser
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MINIMUM_PYTHON = (3, 11)
NETWORK_SECONDS = 4.0
CLUSTER_SECONDS = 2.0
MB = 1_000_000
DISK_MB, DISK_SETUP_MB = 300, 1500
"""Free disk that a class takes, and what setting up `.venv` takes on top."""
MEMORY_MB, MEMORY_COMFORTABLE_MB = 600, 1500
"""Memory of the lab, JupyterLab and one chapter's kernel; and with room for three kernels and a browser."""
CLOCK_SECONDS = 300
"""AWS refuses signatures that are off by more."""


@dataclass(frozen=True)
class Finding:
    """One check. `result` is `ok`, `warning` (class works, with a surprise) or `blocker` (it doesn't)."""

    check: str
    result: str
    found: str
    hint: str = ""


@dataclass(frozen=True)
class Place:
    """What is looked at: the workshop's folder, the state folder, the environment, and whether `.venv` is set up."""

    root: Path
    home: Path
    environ: Mapping[str, str]
    installed: bool

    @property
    def target(self) -> str:
        return self.environ.get("LABKIT_TARGET", "embedded")

    @property
    def user_home(self) -> Path:
        return Path(self.environ.get("HOME") or Path.home())

    @classmethod
    def here(cls, environ: Mapping[str, str] = os.environ) -> Place:
        root = Path(environ.get("LABKIT_ROOT") or Path(__file__).resolve().parent.parent)
        home = Path(environ.get("LABKIT_HOME") or root / ".labkit").expanduser()
        return cls(root, home, environ, importlib.util.find_spec("jupyterlab") is not None)


def diagnose(place: Place) -> list[Finding]:
    """Every check. One that fails itself is a warning that says why."""
    answer, look = _Answer(_registry(place)), _Look(place)
    checks: list[Callable[[], Iterator[Finding]]] = [
        lambda: python(place),
        lambda: packages(place),
        lambda: kernel(place),
        lambda: settings(place),
        lambda: writable(place),
        lambda: disk(place),
        lambda: memory(),
        lambda: ports(place),
        lambda: running_lab(place),
        lambda: workloads(place, look),
        lambda: aws(place),
        lambda: tools(place),
        lambda: proxy(place),
        lambda: browser(place),
        lambda: registry(place, answer),
        lambda: clock(place, answer),
    ]
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check()
        except Exception as error:
            findings.append(Finding("doctor", "warning", f"a check failed: {type(error).__name__}: {error}"))
    return findings


def python(place: Place, version: tuple[int, ...] = sys.version_info[:3]) -> Iterator[Finding]:
    text = ".".join(map(str, version))
    needed = ".".join(map(str, MINIMUM_PYTHON))
    if version[:2] < MINIMUM_PYTHON:
        hint = f"Install Python {needed} or newer; `make lab PYTHON=/path/to/python3` uses it."
        yield Finding("Python", "blocker", f"{text}, too old", hint)
    else:
        yield Finding("Python", "ok", f"{text} at {sys.executable}")


def packages(place: Place) -> Iterator[Finding]:
    """What is installed against `constraints.txt`."""
    if not place.installed:
        yield Finding("packages", "warning", "not installed yet", "`make lab` installs them: one to two minutes, once.")
        return
    lock = (place.root / "constraints.txt").read_text(encoding="utf-8")
    pins = {_plain(name): version for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", lock, re.M)}
    there = {_plain(found.metadata["Name"] or ""): found.version for found in metadata.distributions()}
    other = sorted(name for name, version in pins.items() if there.get(name, version) != version)
    missing = sorted(name for name in _needed() if name not in there)
    again = "Run `make clean`, then `make lab`: it installs what constraints.txt has."
    if missing:
        yield Finding("packages", "blocker", f"missing: {', '.join(missing)}", again)
    if other:
        shown = ", ".join(f"{name} {there[name]} (tested: {pins[name]})" for name in other[:5])
        more = f" and {len(other) - 5} more" if len(other) > 5 else ""
        yield Finding("packages", "warning", f"other versions than tested: {shown}{more}", again)
    if not missing and not other:
        yield Finding("packages", "ok", f"{len(pins.keys() & there.keys())} as in constraints.txt")


def kernel(place: Place) -> Iterator[Finding]:
    """The kernel that notebooks name, `python3`: Jupyter takes the first that it finds."""
    if not place.installed:
        return
    jupyter = [Path(folder) for folder in place.environ.get("JUPYTER_PATH", "").split(os.pathsep) if folder]
    folders = [*jupyter, Path(sys.prefix) / "share/jupyter", place.user_home / ".local/share/jupyter"]
    for folder in folders:
        file = folder / "kernels/python3/kernel.json"
        if not file.is_file():
            continue
        program = str((json.loads(file.read_text(encoding="utf-8")).get("argv") or [""])[0])
        of_venv = (
            shutil.which(program) is not None
            and Path(program).name.startswith("python")
            and (not os.path.isabs(program) or Path(program).parent == Path(sys.executable).parent)
        )
        if of_venv:
            yield Finding("kernel", "ok", f"python3 in {folder}")
        else:
            hint = f"Remove {file.parent}, or unset JUPYTER_PATH: chapters would run in another Python."
            yield Finding("kernel", "blocker", f"python3 in {folder} starts {program}", hint)
        return
    hint = f"{sys.executable} -m ipykernel install --sys-prefix"
    yield Finding("kernel", "blocker", "there is no kernel python3", f"Run `{hint}`.")


def settings(place: Place) -> Iterator[Finding]:
    """Variables `LABKIT_*` that `labkit up` would refuse."""
    if not place.installed:
        return
    try:
        from labkit.errors import SettingsError
        from labkit.settings import Settings
    except ImportError:  # `packages` says that labkit isn't there
        return
    target = {"LABKIT_TARGET": place.target} if place.target in ("embedded", "eks") else {}
    names = sorted(field.upper() for field in Settings.__dataclass_fields__ if field != "target")  # `aws` has that
    given = {f"LABKIT_{name}": place.environ[f"LABKIT_{name}"] for name in names if f"LABKIT_{name}" in place.environ}
    refused = False
    for name, value in given.items():
        try:
            Settings.load({**target, name: value})
        except SettingsError as error:
            refused = True
            yield Finding("settings", "blocker", error.message.rstrip("."), f"{error.hint} Or unset {name}.")
    both = {given.get(name, "0").strip() for name in ("LABKIT_AWS_PORT", "LABKIT_KUBERNETES_PORT")}
    if len(both) == 1 and (port := both.pop()).isdigit() and int(port):
        refused = True
        hint = "Give them different ports, or unset them: any free ones will do."
        yield Finding("settings", "blocker", f"LABKIT_AWS_PORT and LABKIT_KUBERNETES_PORT are both {port}", hint)
    if given and not refused:
        yield Finding("settings", "ok", ", ".join(given))


def writable(place: Place) -> Iterator[Finding]:
    """Folders that the workshop writes to: its own, the state folder, and the one for temporary files."""
    temporary = Path(place.environ.get("TMPDIR") or tempfile.gettempdir())
    refused = [(f, why) for f in dict.fromkeys((place.root, place.home, temporary)) if (why := _refusal(f))]
    for folder, why in refused:
        hint = "Set TMPDIR to a folder of yours." if folder == temporary else "Copy the workshop to a folder of yours."
        yield Finding("writing", "blocker", f"{folder}: {why}", hint)
    if not refused:
        yield Finding("writing", "ok", f"{place.root}")


def disk(place: Place, needed_mb: float = DISK_MB) -> Iterator[Finding]:
    needed = needed_mb + (0 if place.installed else DISK_SETUP_MB)
    for folder in {file.stat().st_dev: file for file in (_existing(place.home), place.root)}.values():
        free = shutil.disk_usage(folder).free / MB
        found = f"{free:,.0f} MB free for {folder}"
        hint = f"Make room: it takes {needed:,.0f} MB."
        if free < needed:
            yield Finding("disk", "blocker", found, hint)
        elif free < 2 * needed:
            yield Finding("disk", "warning", found, hint)
        else:
            yield Finding("disk", "ok", found)


def memory(available_mb: float | None = None) -> Iterator[Finding]:
    free = _available_memory() if available_mb is None else available_mb
    if free is None:
        return  # no /proc
    found = f"{free:,.0f} MB available"
    hint = f"Close other programs, or give the container more: the lab and one chapter take {MEMORY_MB} MB."
    result = "blocker" if free < MEMORY_MB else "warning" if free < MEMORY_COMFORTABLE_MB else "ok"
    yield Finding("memory", result, found, "" if result == "ok" else hint)


def ports(place: Place) -> Iterator[Finding]:
    """Ports that are set must be free, unless the lab has them already; others are any free ones."""
    lab = _lab(place.home)
    wanted = {"LABKIT_AWS_PORT": "aws_port", "LABKIT_KUBERNETES_PORT": "kubernetes_port"}
    taken = []
    for variable, key in wanted.items():
        number = place.environ.get(variable, "0")
        if (
            number.isdigit()
            and 0 < int(number) < 65536
            and not (lab and lab.get(key) == int(number))
            and (why := _in_use(int(number)))
        ):
            taken.append(number)
            hint = f"End what uses it (`ss -ltnp 'sport = :{number}'`), or unset {variable}: any free port will do."
            yield Finding("ports", "blocker", f"{variable} is {number}: {why}", hint)
    if why := _in_use(0):
        yield Finding("ports", "blocker", f"127.0.0.1 can't be used: {why}", "Bring the loopback interface up.")
    elif not taken:
        yield Finding("ports", "ok", "the lab can have ports on 127.0.0.1")


def running_lab(place: Place) -> Iterator[Finding]:
    """A lab that was started before the workshop's files changed is still the old one."""
    if place.target == "eks":
        yield Finding("lab", "ok", "none is needed: LABKIT_TARGET is eks")
        return
    lab = _lab(place.home)
    if lab is None or not _listens(int(lab.get("aws_port", 0))):
        yield Finding("lab", "ok", "none is running; the first chapter starts one")
        return
    started = (place.home / "lab.json").stat().st_mtime
    code = Path(__file__).resolve().parent.parent
    changed = max(file.stat().st_mtime for part in ("ekslab", "falcorules") for file in (code / part).rglob("*.py"))
    found = f"running in {place.home} since {time.strftime('%Y-%m-%d %H:%M', time.localtime(started))}"
    if changed > started:
        hint = "Run `labkit down`; the next chapter starts a new one. (What is in it is lost.)"
        yield Finding("lab", "warning", f"{found}, of an older version of the workshop", hint)
    else:
        yield Finding("lab", "ok", found)


def workloads(place: Place, look: _Look) -> Iterator[Finding]:
    """What of the workshop is in the cluster and doesn't run, and why; nothing where there is no cluster yet."""
    yield from look.wait()


class _Look:
    """A look at the workshop's workloads, in a thread, because a cluster may take its time."""

    def __init__(self, place: Place) -> None:
        lab = _lab(place.home)
        running = lab is not None and _listens(int(lab.get("aws_port", 0)))
        context = place.environ.get("LABKIT_CONTEXT", "")
        self._place, self._context = place, context if place.target == "eks" else ""
        self._found: list[Finding] = []
        self._deadline = time.monotonic() + CLUSTER_SECONDS
        self._thread = threading.Thread(target=self._look, daemon=True)
        if place.installed and (running if place.target == "embedded" else bool(self._context)):
            self._thread.start()

    def wait(self) -> list[Finding]:
        if self._thread.ident is not None:
            self._thread.join(max(0.0, self._deadline - time.monotonic()))
        if self._thread.is_alive():
            hint = "`labkit status` waits longer, and says what doesn't answer."
            return [Finding("cluster", "warning", f"no answer within {CLUSTER_SECONDS:g} s", hint)]
        return self._found

    def _look(self) -> None:
        from labkit.errors import LabError
        from labkit.kube import Kube
        from labkit.kube.rollout import problems, unwell
        from labkit.settings import Settings

        place = self._place
        kube = Kube(context=self._context) if self._context else Kube(kubeconfig=place.home / "kubeconfig")
        try:
            settings = Settings.load(place.environ)
            for kind, name, namespace in (
                ("DaemonSet", "falco", settings.falco_namespace),
                ("DaemonSet", "fluent-bit", settings.logging_namespace),
                ("Deployment", "nginx", settings.app_namespace),
            ):
                item = kube.get(kind, name, namespace)
                why = unwell(kube, item) if item is not None else ""
                if item is None or not why:
                    self._found += [Finding(name, "ok", "all its pods are ready")] if item is not None else []
                    continue
                causes = [problem.cause for problem in problems(kube, item, crashed=True) if problem.cause]
                hint = causes[0].mend if causes else f"`kubectl get pods,events -n {namespace}` says more."
                self._found.append(Finding(name, "warning", textwrap.shorten(why, 200, placeholder=" ..."), hint))
        except LabError as error:
            self._found.append(Finding("cluster", "warning", error.message, error.hint))


def aws(place: Place) -> Iterator[Finding]:
    """Whose account the chapters work on, and what of a person's own set-up is in the way."""
    environ = place.environ
    if place.target not in ("embedded", "eks"):
        hint = "Unset it, or set it to eks."
        yield Finding("AWS", "blocker", f"LABKIT_TARGET is {place.target!r}; there are embedded and eks", hint)
        return
    own = sorted(n for n in environ if n.startswith("AWS_") and n not in ("AWS_CA_BUNDLE", "AWS_PAGER"))
    ours = "LABKIT_ENVIRONMENT" in environ  # a shell of the lab
    config = Path(environ.get("AWS_CONFIG_FILE") or place.user_home / ".aws/config")
    credentials = Path(environ.get("AWS_SHARED_CREDENTIALS_FILE") or place.user_home / ".aws/credentials")
    default = next((str(f) for f in (credentials, config) if _has_default(f)), "")
    if place.target == "eks":
        if ours:
            hint = "Open a new shell: this one has the embedded lab's credentials."
            yield Finding("AWS", "blocker", "LABKIT_TARGET is eks in a shell of the embedded lab", hint)
        elif (own or default) and place.environ.get("LABKIT_ATTENDEE"):
            yield Finding("AWS", "ok", f"attendee {place.environ['LABKIT_ATTENDEE']} of a class")
        elif own or default:
            hint = "That is what LABKIT_TARGET=eks means. It costs money; chapter 08 takes everything away."
            yield Finding("AWS", "warning", "the chapters work on your own account (LABKIT_TARGET is eks)", hint)
        else:
            hint = "Run `aws configure` or `aws sso login`, or unset LABKIT_TARGET for the embedded lab."
            yield Finding("AWS", "blocker", "LABKIT_TARGET is eks, and there are no credentials", hint)
        return
    if ours or not (own or default):
        yield Finding("AWS", "ok", "the embedded lab; no account is needed")
        return
    found = f"the chapters use the embedded lab, other terminals your account ({', '.join(own) or default})"
    hint = 'For commands outside JupyterLab, run `eval "$(labkit env)"` first: it puts the lab in its place.'
    yield Finding("AWS", "warning", found, hint)


def tools(place: Place) -> Iterator[Finding]:
    if place.target == "eks":
        missing = [
            name for name in ("helm", "kubectl", "aws") if not shutil.which(name, path=place.environ.get("PATH"))
        ]
        if "helm" in missing and not place.environ.get("LABKIT_ATTENDEE"):  # whose Falco is the class's
            yield Finding("tools", "blocker", "no helm", "Install it: https://helm.sh/docs/intro/install/")
        for name in missing:
            if name != "helm":
                yield Finding("tools", "warning", f"no {name}", 'Only the blocks "by hand" need it.')
    else:
        missing = [name for name in ("kubectl", "aws") if not shutil.which(name, path=place.environ.get("PATH"))]
        found = f"no {' and no '.join(missing)}: only the blocks “by hand” need them" if missing else "kubectl and aws"
        yield Finding("tools", "ok", found)


def proxy(place: Place) -> Iterator[Finding]:
    names = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
    proxies = {name: place.environ[name] for name in names if place.environ.get(name)}
    if not proxies:
        return
    name, url = next(iter(proxies.items()))
    if not re.match(r"(https?|socks[45]h?)://[^\s/]+", url):
        hint = "Write it as http://host:port."
        yield Finding("proxy", "warning", f"{name} is {_without_password(url)!r}, which is no address", hint)
    spared = {host.strip() for word in ("NO_PROXY", "no_proxy") for host in place.environ.get(word, "").split(",")}
    if not spared & {"127.0.0.1", "*"}:
        hint = 'Outside JupyterLab, run `eval "$(labkit env)"` first: it sets NO_PROXY, too.'
        found = f"{name} is set, and NO_PROXY doesn't have 127.0.0.1, where the lab is"
        yield Finding("proxy", "warning", found, hint)
    else:
        yield Finding("proxy", "ok", f"{name}={_without_password(url)}, not for 127.0.0.1")


def browser(place: Place) -> Iterator[Finding]:
    """Whether `make lab` can open a browser; one on another computer works as well."""
    try:
        found = webbrowser.get().__class__.__name__
        display = sys.platform == "darwin" or place.environ.get("DISPLAY") or place.environ.get("WAYLAND_DISPLAY")
        if not display and not place.environ.get("BROWSER"):
            raise webbrowser.Error
        yield Finding("browser", "ok", found)
    except webbrowser.Error:
        hint = "Open the address that `make lab` prints; from another computer, through `ssh -L 8888:127.0.0.1:8888`."
        yield Finding("browser", "warning", "none can be opened from here", hint)


def registry(place: Place, answer: _Answer) -> Iterator[Finding]:
    """Whether packages can be installed; that is needed once."""
    if not answer.url:
        yield Finding("network", "warning", "this Python has no pip that says which index it asks", "Install pip.")
        return
    error = answer.wait()
    if not error:
        yield Finding("network", "ok", f"{answer.url} answers")
        return
    hint = "Check network and proxy; for a mirror: `pip config set global.index-url https://...`."
    if place.installed:
        hint = "Class works without; installing packages doesn't."
    yield Finding("network", "warning" if place.installed else "blocker", f"{answer.url}: {error}", hint)


def clock(place: Place, answer: _Answer, now: float | None = None) -> Iterator[Finding]:
    answer.wait()
    if answer.date is None:
        return
    off = (answer.taken if now is None else now) - answer.date
    if abs(off) <= CLOCK_SECONDS:
        yield Finding("clock", "ok", f"within {max(abs(off), 1):.0f} s of {answer.url}")
        return
    found = f"{abs(off) / 60:,.0f} minutes {'ahead' if off > 0 else 'behind'}"
    hint = "Set it (`timedatectl set-ntp true`): AWS refuses signatures that are five minutes off."
    yield Finding("clock", "blocker" if place.target == "eks" else "warning", found, hint)


class _Answer:
    """The answer of a web server, asked in a thread, because looking up a name has no time limit of its own."""

    def __init__(self, url: str) -> None:
        self.url = _without_password(url)  # it is shown; a server that refuses this answers, too
        self.date: float | None = None
        self.taken = 0.0
        self._error = f"no answer within {NETWORK_SECONDS:g} s"
        self._deadline = time.monotonic() + NETWORK_SECONDS
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def wait(self) -> str:
        """Why there was no answer; empty if there was one."""
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        return self._error

    def _ask(self) -> None:
        try:
            request = urllib.request.Request(self.url, method="HEAD")
            with urllib.request.urlopen(request, timeout=NETWORK_SECONDS) as answer:
                date = answer.headers.get("Date")
        except urllib.error.HTTPError as error:  # it answers, if only to refuse this
            date = error.headers.get("Date")
        except (OSError, ValueError) as error:
            self._error = str(getattr(error, "reason", error)) or type(error).__name__
            return
        self.taken = time.time()
        if date:
            self.date = email.utils.parsedate_to_datetime(date).timestamp()
        self._error = ""


def _registry(place: Place) -> str:
    """The package index that pip asks: variable, then configuration file, then pip's own default."""
    if place.environ.get("PIP_INDEX_URL"):
        return place.environ["PIP_INDEX_URL"]
    files = [place.environ.get("PIP_CONFIG_FILE", ""), "/etc/pip.conf"]
    files[1:1] = [str(place.user_home / name) for name in (".config/pip/pip.conf", ".pip/pip.conf")]
    for file in files:
        known = configparser.RawConfigParser()
        try:
            if file and known.read(file) and known.has_option("global", "index-url"):
                return known.get("global", "index-url")
        except configparser.Error:
            continue
    try:
        from pip._internal.models.index import PyPI
    except ImportError:  # no pip, or one that keeps it elsewhere
        return ""
    return str(PyPI.simple_url)


def _needed() -> list[str]:
    """Names of the packages that running the chapters takes, from labkit's own metadata."""
    needed = []
    for line in metadata.requires("labkit") or ():
        name, _, marker = line.partition(";")
        if "extra ==" not in marker or "notebooks" in marker:
            match = re.match(r"[\w.-]+", name)
            needed += [_plain(match[0])] if match else []
    return needed


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _refusal(folder: Path) -> str:
    """Why nothing can be written in a folder; empty if it can."""
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def _available_memory() -> float | None:
    """MB that programs can still have: of the computer, and of the container that this is in."""
    limits = []
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
        limits.append(int(re.findall(r"^MemAvailable:\s+(\d+) kB", text, re.M)[0]) * 1024 / MB)
    except (OSError, IndexError):
        return None
    for most, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            limit = int(Path("/sys/fs/cgroup", most).read_text(encoding="utf-8"))
            limits.append((limit - int(Path("/sys/fs/cgroup", used).read_text(encoding="utf-8"))) / MB)
        except (OSError, ValueError):  # `max`: no limit
            continue
    return min(limits)


def _lab(home: Path) -> dict[str, Any] | None:
    try:
        known = json.loads((home / "lab.json").read_text(encoding="utf-8"))
        return known if isinstance(known, dict) else None
    except (OSError, ValueError):
        return None


def _in_use(port: int) -> str:
    """Why a port of this computer can't be had; empty if it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return "another program uses it" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        return ""


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return port > 0 and probe.connect_ex(("127.0.0.1", port)) == 0


def _has_default(file: Path) -> bool:
    """Whether a file of AWS has a default profile."""
    known = configparser.RawConfigParser(strict=False, default_section="none")
    try:
        return bool(known.read(file, encoding="utf-8")) and known.has_section("default")
    except (configparser.Error, OSError, ValueError):
        return False


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)


def render(findings: list[Finding]) -> str:
    """As text: a line for each finding, its hint below it, and the verdict."""
    width = max(len(finding.check) for finding in findings)
    lines = []
    for found in findings:
        lines.append(f"{found.result:<8} {found.check.ljust(width)}  {found.found}")
        if found.hint:
            lines.append(f"{'':<8} {'':<{width}}  What to do: {found.hint}")
    counts = {result: sum(f.result == result for f in findings) for result in ("blocker", "warning")}
    told = [f"{n} {result}{'' if n == 1 else 's'}" for result, n in counts.items() if n]
    verdict = "Not ready" if counts["blocker"] else "Ready"
    return "\n".join([*lines, "", f"{verdict}: {', '.join(told)}." if told else "Ready."])


def run(as_json: bool = False) -> int:
    """Prints the findings of this computer. The exit code: 1 if one is a blocker."""
    findings = diagnose(Place.here())
    ready = all(finding.result != "blocker" for finding in findings)
    document = {"ready": ready, "findings": [asdict(finding) for finding in findings]}
    print(json.dumps(document, indent=1) if as_json else render(findings))
    return 0 if ready else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="labkit doctor", description="Says before class what will go wrong.")
    parser.add_argument("--json", action="store_true", help="Print a JSON object.")
    sys.exit(run(parser.parse_args().json))
