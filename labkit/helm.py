"""Runs Helm: `helm` on a cluster, the embedded lab's stand-in (a program with the same command line) there."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from labkit.causes import cause
from labkit.errors import Hint, LabError, StepError, TargetError, UnreachableError
from labkit.files import make_private
from labkit.show import say
from labkit.versions import pinned
from labkit.waiting import waiting

_CHANGING = ("upgrade", "rollback", "uninstall")


@dataclass(frozen=True)
class Release:
    """One revision of a Helm release. `status` is Helm's own word: `deployed`, `failed`, `pending-upgrade`..."""

    name: str
    namespace: str
    revision: int
    status: str
    chart: str
    """Name of the chart without its version, e.g. `falco`."""
    version: str
    """Version of the chart, e.g. `9.1.0`."""
    app_version: str
    updated: str = field(default="", compare=False)
    """When the revision was last worked on, RFC 3339."""

    @property
    def unfinished(self) -> bool:
        """Whether an operation on it is under way, or was interrupted."""
        return self.status.startswith("pending-") or self.status == "uninstalling"

    @property
    def fault(self) -> str:
        """What its status means, if it isn't `deployed`; else empty."""
        if self.status == "deployed":
            return ""
        if self.unfinished:
            why = "a Helm call works on it, or was interrupted"
        else:
            why = "its last operation ended with an error"
        return f"Helm release {self.name} is {self.status}: {why}; applying the step again puts it right"


class Helm:
    """Helm on one cluster.

    Every method raises `StepError` with Helm's message when Helm refuses, `UnreachableError` when the cluster doesn't
    answer, and `TargetError` when the program isn't installed.
    """

    patience = 300.0
    """Seconds after which an operation of another computer is taken for interrupted: Helm's own default timeout."""
    fresh = 5.0
    """Seconds for which an answer counts within `reading_once`."""

    def __init__(
        self,
        *,
        program: Sequence[str] = ("helm",),
        kubeconfig: Path | None = None,
        context: str = "",
        notes: Path | None = None,
        shared: bool = True,
        hint: Hint = "",
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """`program` is the command that is run, Helm's arguments are appended.

        `notes` is a file for this cluster alone; with it, an interrupted operation is recognized at once. `shared`:
        other computers may work on the cluster, too. `hint` is what to do if the cluster doesn't answer. `before` is
        called before each run, and may raise.
        """
        self.kubeconfig = kubeconfig
        self.context = context
        self.shared = shared
        self._program = tuple(program)
        self._hint = hint or "Check the kubeconfig and its context: `kubectl cluster-info`."
        self._before = before
        self._notes = notes
        self._lock: int | None = None
        self._read: dict[tuple[str, ...], tuple[float, Any]] | None = None

    @contextmanager
    def reading_once(self) -> Iterator[None]:
        """Within it, a question about releases is asked once, and again when a release changed or `fresh` has passed.

        Each question starts a program, and several steps have the same.
        """
        outer = self._read
        self._read = {} if outer is None else outer
        try:
            yield
        finally:
            self._read = outer

    def upgrade_install(
        self,
        release: str,
        chart: str,
        *,
        version: str,
        namespace: str,
        values: Sequence[Path] = (),
        wait: bool = True,
        timeout: float = 300.0,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Installs `chart` as `release`, or upgrades it; the values files are merged in order, the last one wins.

        The namespace is created if need be. A `falcosecurity/` chart is found without `helm repo add`. `timeout` is in
        seconds and counts only with `wait`. `labels` are put on the release.

        What an interrupted operation left of the release is repaired first, and that is printed.
        """
        arguments = upgrade_install_arguments(
            *(release, chart),
            version=version,
            namespace=namespace,
            values=values,
            wait=wait,
            timeout=timeout,
            labels=labels,
        )
        with self._alone(release, namespace):
            self._run(*arguments, deadline=timeout + 60)

    def status(self, release: str, namespace: str) -> Release | None:
        """The release's latest revision, or None if there is no such release."""
        return next(reversed(self.history(release, namespace)), None)

    def history(self, release: str, namespace: str) -> list[Release]:
        """The release's revisions, oldest first; empty if there is no such release."""
        listed = self._json("history", release, "--namespace", namespace) or [{"status": "uninstalled"}]
        kept = listed[-1]["status"] == "uninstalled"  # with --keep-history, which nothing here asks for
        return [] if kept else [_release(item, release, namespace) for item in listed]

    def get_values(self, release: str, namespace: str) -> dict[str, Any]:
        """The values a user gave to the latest revision (not the chart's defaults); empty if there is no release."""
        return self._json("get", "values", release, "--namespace", namespace) or {}

    def uninstall(self, release: str, namespace: str) -> bool:
        """Removes the release and waits until its objects are gone. False if there was none."""
        with self._alone(release, namespace):
            if self.status(release, namespace) is None:
                return False
            self._uninstall(release, namespace)
            return True

    def version(self) -> str:
        """Helm's own version, e.g. `v4.2.4`."""
        return self._run("version", "--template", "{{.Version}}", cluster=False).strip()

    def _uninstall(self, release: str, namespace: str) -> None:
        self._run("uninstall", release, "--namespace", namespace, "--wait")

    # Operations that were interrupted: Helm refuses to work on a release that is `pending-...`.

    @contextmanager
    def _alone(self, release: str, namespace: str) -> Iterator[None]:
        """Keeps other processes of this computer off the release, and repairs it first.

        This process and the helm it starts hold the lock until both have ended. The locked file names the revision that
        is being made.
        """
        if self._notes is None:
            yield
            return
        make_private(self._notes.parent)
        with self._notes.open("a+", encoding="utf-8") as file:
            _lock(file.fileno(), f"Helm release {release} in namespace {namespace}", self.patience)
            self._lock = file.fileno()
            self._forget()  # another process may have changed it until now
            try:
                last = self._put_right(release, namespace, file)
                _write(file, _note(release, namespace, last.revision + 1 if last else 1))
                try:
                    yield
                except StepError:
                    with suppress(LabError):
                        last = self.status(release, namespace)
                        if last is None or not last.unfinished:  # refused, or failed: nothing is under way
                            _write(file, "")
                    raise
                _write(file, "")
            finally:
                self._lock = None

    def _put_right(self, release: str, namespace: str, file: TextIO) -> Release | None:
        """Rolls back or uninstalls what an interrupted operation left. `file` names the last one begun here."""
        revisions = self.history(release, namespace)
        if not revisions or not revisions[-1].unfinished:
            return next(reversed(revisions), None)
        found = revisions[-1]
        if found.status != "uninstalling":
            file.seek(0)
            self._refuse_if_alive(found, owned=file.read() == _note(release, namespace, found.revision))
        good = [str(r.revision) for r in revisions[:-1] if r.status in ("deployed", "superseded")]
        left = f"Helm release {release} was left {found.status} (revision {found.revision}) by an interrupted call:"
        if good and found.status != "uninstalling":
            say(f"{left} rolling it back to revision {good[-1]}.")
            _write(file, _note(release, namespace, found.revision + 1))
            self._run("rollback", release, good[-1], "--namespace", namespace)
        else:
            say(f"{left} uninstalling it.")
            self._uninstall(release, namespace)
        return self.status(release, namespace)

    def _refuse_if_alive(self, found: Release, *, owned: bool) -> None:
        """Raises `StepError` if the operation on this release may still go on. `owned`: begun here, and ended."""
        busy = f"Helm release {found.name} in namespace {found.namespace} is {found.status}"
        running = _helm_process(found.name, self.kubeconfig)
        if running:
            raise StepError(
                f"{busy}: process {running} works on it.", hint="Let it finish, or end it; then run this again."
            )
        if owned or not self.shared:
            return
        age = (
            dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(found.updated or "1970-01-01T00:00Z")
        ).total_seconds()
        if age < self.patience:
            raise StepError(
                f"{busy}, and that began {max(age, 0):.0f} s ago: another computer may be working on it.",
                hint=f"If that was interrupted, run this again in {self.patience - age:.0f} s, and it is put right.",
            )

    def _json(self, *arguments: str) -> Any:
        """Helm's answer; None if there is no such release."""
        asked, found = (self._read or {}).get(arguments, (-self.fresh, None))
        if time.monotonic() - asked >= self.fresh:
            try:
                found = json.loads(self._run(*arguments, "--output", "json"))
            except StepError as error:
                if not error.message.endswith("release: not found"):
                    raise
                found = None
            if self._read is not None:
                self._read[arguments] = time.monotonic(), found
        return found

    def _forget(self) -> None:
        if self._read is not None:
            self._read.clear()

    def _run(self, *arguments: str, deadline: float = 120.0, cluster: bool = True) -> str:
        if cluster:
            self._before()
        program = shutil.which(self._program[0])
        if program is None:
            raise TargetError("There is no `helm` on the PATH.", hint="Install it: https://helm.sh/docs/intro/install/")
        command = [program, *self._program[1:], *arguments]
        options = ["--kubeconfig", str(self.kubeconfig)] if self.kubeconfig and cluster else []
        options += ["--kube-context", self.context] if self.context and cluster else []
        if arguments[0] in _CHANGING:
            self._forget()
        try:
            with waiting(f"helm {arguments[0]}", deadline):
                done = _finish([*command, *options], deadline, keep=() if self._lock is None else (self._lock,))
        except subprocess.TimeoutExpired as error:
            raise StepError(
                f"`helm {arguments[0]}` did not come back within {deadline:.0f} s.",
                hint="See what it waits for: `kubectl get pods,events --all-namespaces`; then run this again.",
            ) from error
        if done.returncode != 0 and "cluster unreachable" in done.stderr:
            raise UnreachableError(
                f"The Kubernetes API does not answer: {_complaint(done.stderr)}.", service="Kubernetes", hint=self._hint
            )
        if done.returncode != 0:
            raise StepError(
                f"`helm {shlex.join(arguments[:2])}` failed: {_complaint(done.stderr or done.stdout)}",
                hint=_hint(done.stderr),
            )
        return done.stdout


def upgrade_install_arguments(
    release: str,
    chart: str,
    *,
    version: str,
    namespace: str,
    values: Sequence[Path | str] = (),
    wait: bool = True,
    timeout: float = 300.0,
    labels: Mapping[str, str] | None = None,
) -> list[str]:
    """What comes after `helm` on the command line; also what a step shows as its equivalent command."""
    known = pinned()["falco"]["chart"]
    # Naming the repository's address leaves nothing behind in the user's Helm configuration.
    source = [known["name"].rpartition("/")[2], "--repo", known["repository"]] if chart == known["name"] else [chart]
    arguments = ["upgrade", "--install", release, *source]
    arguments += ["--version", version, "--namespace", namespace, "--create-namespace"]
    for file in values:
        arguments += ["--values", str(file)]
    arguments += ["--wait", "--timeout", f"{timeout:.0f}s"] if wait else []
    if labels:
        arguments += ["--labels", ",".join(f"{key}={value}" for key, value in labels.items())]
    return arguments


def _release(item: dict[str, Any], name: str, namespace: str) -> Release:
    # A version may have a part after a hyphen, and a chart's name hyphens: the version begins with the first digit.
    parts = re.fullmatch(r"(.+?)-(\d.*)", item["chart"])
    chart, version = parts.groups() if parts else (item["chart"], "")
    revision, status, app = int(item["revision"]), item["status"], str(item["app_version"])
    return Release(name, namespace, revision, status, chart, version, app, item["updated"])


def _finish(argv: Sequence[str], deadline: float, *, keep: Sequence[int]) -> subprocess.CompletedProcess[str]:
    """Runs a helm to its end. Interrupted, it is asked to end, and marks the release as failed before it does."""
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True, pass_fds=keep) as process:
        try:
            out, err = process.communicate(timeout=deadline)
        except BaseException:
            process.terminate()
            try:
                process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    return subprocess.CompletedProcess(argv, process.returncode, out, err)


def _lock(descriptor: int, what: str, seconds: float) -> None:
    """Takes the lock, or raises `StepError` if another process keeps it for so long."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StepError(
                    f"Another command or notebook has been working on {what} for {seconds:.0f} s.",
                    hint="Wait for it or end it (a helm that it has started, too); then run this again.",
                ) from None
            time.sleep(0.1)  # there is no waiting for a lock that an interrupt would end


def _note(release: str, namespace: str, revision: int) -> str:
    return f"{namespace}/{release} revision {revision}"


def _write(file: TextIO, text: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()


def _helm_process(release: str, kubeconfig: Path | None) -> int:
    """Pid of a Helm on this computer that may be working on the release; 0 if there is none.

    A process that is known to use another kubeconfig works on another cluster.
    """
    listed = subprocess.run(["ps", "-eww", "-o", "pid=,args="], capture_output=True, text=True, check=False).stdout
    for line in listed.splitlines():
        pid, *words = line.split()
        helm = any(Path(word).name == "helm" or word.endswith(".helm") for word in words[:4])
        if helm and release in words and {"upgrade", "install", "rollback", "uninstall"} & set(words):
            used = _kubeconfig_of(int(pid))
            if used is not None and (not used or kubeconfig is None or Path(used) == kubeconfig):
                return int(pid)
    return 0


def _kubeconfig_of(pid: int) -> str | None:
    """The kubeconfig that a Helm process was started with; empty if unknown, None if the process has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        variables = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self").exists() else ""  # macOS has no /proc
    except OSError:
        return ""
    if state in "ZX":  # ended, and its parent has not asked for its status yet
        return None
    if "--kubeconfig" in words[:-1]:
        return words[words.index("--kubeconfig") + 1]
    return next((text.partition("=")[2] for text in variables if text.startswith("KUBECONFIG=")), "")


def _complaint(output: str) -> str:
    """Helm's own error, without its warnings (permissions of a kubeconfig, deprecations)."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("WARNING:", "level=WARN"))]
    return " ".join(said or lines).removeprefix("Error: ") or "it said nothing."


def _hint(output: str) -> str:
    found = cause("helm", output)
    return found.mend if found else "Correct that and run this again."
