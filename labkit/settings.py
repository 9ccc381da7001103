"""Settings of a lab: defaults, then `LABKIT_*` variables, then keyword arguments (such as papermill parameters)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_type_hints

from labkit.calls import near, shown
from labkit.errors import SettingsError

Target = Literal["embedded", "eks"]


def workshop_root(start: Path | None = None) -> Path:
    """The nearest folder at or above `start` that holds the workshop (`notebooks/` and `manifests/`), else `start`."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "notebooks").is_dir() and (folder / "manifests").is_dir():
            return folder
    return start


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
                raise SettingsError(f"There is no setting called {shown(name)}.", hint=hint)
            if value is not None:
                values[name] = _convert(name, kinds[name], value)
        values.setdefault("root", workshop_root())
        values.setdefault("home", values["root"] / ".labkit")
        values["home"] = values["home"].expanduser().resolve()
        settings = cls(**values)
        if settings.target not in ("embedded", "eks"):
            raise SettingsError(
                f"target is {settings.target!r}.", hint="Use 'embedded' (no AWS account needed) or 'eks'."
            )
        if settings.nodes < 1:
            raise SettingsError(f"nodes is {settings.nodes}.", hint="A cluster needs at least one node.")
        return settings


def _convert(name: str, kind: type, value: Any) -> Any:
    try:
        return kind(value)
    except (TypeError, ValueError):
        default = Settings.__dataclass_fields__[name.lower().removeprefix("labkit_")].default
        expected = "a whole number" if kind is int else "a number" if kind is float else f"a {kind.__name__}"
        raise SettingsError(
            f"{name} is {value!r}, which is not {expected}.", hint=f"Give it a value such as {default!r}."
        ) from None
