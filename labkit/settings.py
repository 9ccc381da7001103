"""Settings of a lab: defaults, then `LABKIT_*` variables, then keyword arguments (such as papermill parameters)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePath
from typing import Any, Literal, get_type_hints

from labkit.calls import LONGEST, is_text, near, seconds, short_repr
from labkit.errors import LabError, SettingsError

Target = Literal["embedded", "eks"]


def workshop_root(start: Path | None = None) -> Path:
    """The nearest folder at or above `start` that holds the workshop (`notebooks/` and `manifests/`), else `start`."""
    start = (start or Path.cwd()).resolve()
    return next(filter(_is_workshop, (start, *start.parents)), start)


def shell_root() -> Path:
    """The workshop's folder for a shell, wherever that is: the one it is in, else the one labkit is installed from.

    Raises `SettingsError` if there is neither.
    """
    for folder in (workshop_root(), workshop_root(Path(__file__).parent)):
        if _is_workshop(folder):
            return folder
    raise SettingsError(
        "The workshop's folder, with notebooks/ and manifests/, is not here and not above.",
        hint="Run this in it, or set LABKIT_ROOT to it.",
    )


def _is_workshop(folder: Path) -> bool:
    return (folder / "notebooks").is_dir() and (folder / "manifests").is_dir()


@dataclass(frozen=True)
class Settings:
    """Everything a lab can be told. `Settings.load(...)` is the way to make one.

    Names are those of the environment variables, in lower case and without `LABKIT_`: `LABKIT_REGION` is `region`.
    """

    target: str = "embedded"
    """`embedded` or `eks`."""
    region: str = "us-east-1"
    """AWS region; on `eks` an empty string means: the one boto3 finds."""
    cluster: str = "falco-workshop"
    """Name of the EKS cluster."""
    context: str = ""
    """kubeconfig context on `eks`; empty means: the cluster's own endpoint and token."""
    profile: str = ""
    """Profile of the AWS configuration on `eks`; empty means: the credentials that boto3 finds."""
    role: str = ""
    """ARN of a role to assume for everything, with the credentials that are there; empty means: none."""
    identity: str = "irsa"
    """How Fluent Bit's service account gets its role: `irsa` or `pod-identity`."""
    log_group: str = "falco"
    log_stream: str = "alerts"
    retention_days: int = 7
    logging_namespace: str = "logging"
    falco_namespace: str = "falco"
    app_namespace: str = "default"
    role_name: str = "falco-workshop-fluent-bit"
    """IAM role of Fluent Bit's service account."""
    prefix: str = "falco-workshop"
    """What the names of metrics' namespace, alarms, topics, queues, dashboards and functions begin with."""
    attendee: str = ""
    """Who works on a cluster that is shared with others, such as `07`; empty: alone. `derived` says what follows."""
    rule_tiers: str = ""
    """Falco's rules besides the stable ones: `incubating`, `sandbox`, or both with a comma."""
    falco_privileges: str = "all"
    """`all`: Falco's container is privileged; `least`: it has the four capabilities that its probe needs."""
    timeout: float = 300.0
    """Seconds to wait for a rollout."""
    alert_timeout: float = 60.0
    """Seconds to wait for an alert to arrive in CloudWatch Logs."""
    nodes: int = 2
    """Nodes of the embedded cluster."""
    idle_minutes: float = 240.0
    """The embedded lab ends by itself after this long without a request."""
    aws_port: int = 0
    """Port of the embedded AWS; 0 means any free one. Likewise `kubernetes_port`."""
    kubernetes_port: int = 0
    home: Path = Path()
    """State folder: the embedded lab's files and the ledger. Default: `.labkit` in the workshop's folder."""
    root: Path = Path()
    """The workshop's folder: where `manifests/` and `custom-rules/` are."""

    @property
    def state(self) -> Path:
        """Folder of what is kept for this attendee alone (ledger, progress, drafts): `home`, or one in it."""
        return self.home / f"attendee-{self.attendee}" if self.attendee else self.home

    @property
    def scope(self) -> str:
        """The namespace that alerts are limited to: an attendee's; empty without a class: all alerts."""
        return self.app_namespace if self.attendee else ""

    @property
    def class_prefix(self) -> str:
        """The prefix of what the instructor has made for all; alone, it is the prefix."""
        return self.prefix.removesuffix(f"-{self.attendee}") if self.attendee else self.prefix

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """Settings from `LABKIT_*` in `environ` (default: the process's) and from `overrides`, which win.

        `None` as an override means: not given. Raises `SettingsError` for an unknown name or a value that doesn't
        convert.
        """
        environ = os.environ if environ is None else environ
        kinds = get_type_hints(cls)
        names = [f.name for f in fields(cls)]
        values: dict[str, Any] = {}
        for name in names:
            raw = environ.get(f"LABKIT_{name.upper()}")
            if raw is not None:
                values[name] = _convert(f"LABKIT_{name.upper()}", kinds[name], raw)
        for name, value in overrides.items():
            if name not in names:
                hint = f"{near(name, names)}Use one of: {', '.join(names)}."
                raise SettingsError(f"There is no setting called {short_repr(name)}.", hint=hint)
            if value is not None:
                values[name] = _convert(name, kinds[name], value)
        for name, value in derived(values.get("attendee", "")).items():
            values.setdefault(name, value)
        values.setdefault("root", workshop_root())
        values.setdefault("home", values["root"] / ".labkit")
        settings = cls(**values)
        if settings.target == "embedded" and not settings.region:
            raise SettingsError("region is ''.", hint="On the embedded lab it has to be one, such as us-east-1.")
        return settings


def attendee_settings(settings: Settings, attendee: str) -> Settings:
    """The settings of an attendee of the class that an instructor's `settings` describe. Raises `SettingsError`."""
    name = _convert("attendee", str, attendee)
    namespace = derived(name)["app_namespace"]
    return replace(settings, attendee=name, app_namespace=namespace, prefix=f"{settings.prefix}-{name}")


def derived(attendee: str) -> dict[str, str]:
    """The defaults that are an attendee's own on a shared cluster, by setting; none without a class.

    Everything else is shared: the log group, Fluent Bit, Falco and their namespaces.
    """
    if not attendee:
        return {}
    return {"app_namespace": f"attendee-{attendee}", "prefix": f"{Settings.prefix}-{attendee}"}


_NAMESPACE = (r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", "lower-case letters, digits and hyphens, at most 63")
# Texts: what they have to match as a whole, and that in words.
_TEXTS: Mapping[str, tuple[str, str]] = {
    "target": ("embedded|eks", "'embedded' (no AWS account needed) or 'eks'"),
    "region": (r"|[a-z]{2,4}(-[a-z]{2,12}){1,3}-\d{1,2}", "a region's name, such as us-east-1"),
    "cluster": (r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", "letters, digits, hyphens and underscores, at most 100"),
    "context": (r"[ -~]{0,253}", "the name of a kubeconfig context"),
    "profile": (r"|[ -Z\^-~]{1,128}", "the name of a profile in ~/.aws/config"),
    "role": (
        r"|arn:aws[a-z-]{0,12}:iam::\d{12}:role/[\w+=,.@/-]{1,512}",
        "a role's ARN, such as arn:aws:iam::111122223333:role/workshop",
    ),
    "identity": ("irsa|pod-identity", "'irsa' (IAM roles for service accounts) or 'pod-identity' (EKS Pod Identity)"),
    "log_group": (r"[.\-_/#A-Za-z0-9]{1,512}", "letters, digits and . - _ / #, at most 512"),
    "log_stream": (r"[^:*\x00-\x1f\x7f\ud800-\udfff]{1,512}", "text without : and *, at most 512 characters"),
    "logging_namespace": _NAMESPACE,
    "falco_namespace": _NAMESPACE,
    "app_namespace": _NAMESPACE,
    "role_name": (r"[\w+=,.@-]{1,64}", "letters, digits and + = , . @ - _, at most 64"),
    "rule_tiers": (
        "|incubating|sandbox|incubating,sandbox",
        "'incubating', 'sandbox' or 'incubating,sandbox' (the stable rules are always there), or nothing",
    ),
    "falco_privileges": ("all|least", "'all' (a privileged container) or 'least' (four capabilities)"),
    "attendee": (r"[a-z0-9]{0,12}", "lower-case letters and digits, at most 12, such as 07"),
    "prefix": (r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", "letters, digits, hyphens and underscores, at most 64"),
}
# Numbers: from, to.
_NUMBERS: Mapping[str, tuple[float, float]] = {
    "retention_days": (1, 3653),
    "timeout": (0, LONGEST),
    "alert_timeout": (0, LONGEST),
    "nodes": (1, 5),
    "idle_minutes": (0.001, 60 * 24 * 366),
    "aws_port": (0, 65535),
    "kubernetes_port": (0, 65535),
}


def _convert(name: str, kind: type, value: Any) -> Any:
    """A setting's value as its kind, within its bounds. Raises `SettingsError`; `name` is as the person knows it."""
    setting = name.lower().removeprefix("labkit_")
    if kind is Path:
        return _folder(name, value)
    if kind is str:
        pattern, words = _TEXTS[setting]
        if isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII):
            return value
        raise SettingsError(f"{name} is {short_repr(value)}.", hint=f"It has to be {words}.")
    lowest, highest = _NUMBERS[setting]
    number: float | None
    try:
        if setting.endswith("timeout"):
            number = seconds(value, name)
        else:
            plain = not isinstance(value, str) or re.fullmatch(r"\s*[+-]?[0-9.]{1,20}\s*", value)
            number = kind(value) if plain else None
    except (TypeError, ValueError, OverflowError, LabError):
        number = None
    if number is None or not lowest <= number <= highest or isinstance(value, bool):
        words = f"a {'whole ' if kind is int else ''}number"
        raise SettingsError(
            f"{name} is {short_repr(value)}, which is not {words} from {lowest:g} to {highest:g}.",
            hint=f"Give it a value such as {Settings.__dataclass_fields__[setting].default!r}.",
        )
    return number


def _folder(name: str, value: Any) -> Path:
    try:
        if not isinstance(value, str | PurePath) or not str(value).strip() or not is_text(str(value)):
            raise ValueError
        path = Path(value).expanduser()
        return path.resolve() if "home" in name.lower() else path
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        why = f": {str(error).rstrip('.')}" if isinstance(error, RuntimeError | OSError) else ""
        raise SettingsError(
            f"{name} is {short_repr(value)}, which names no folder{why}.",
            hint="Give it the path of a folder, or leave it out.",
        ) from None
