"""What an attendee needs to begin: settings, and credentials that are theirs alone (`labkit class env 07`)."""

from __future__ import annotations

import datetime as dt
import os
import shlex
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from classroom import parts
from classroom.attendees import folder, noted, refuse_attendee, require, role_arn
from labkit.aws import translated_errors
from labkit.connect import running_embedded, write_eks_kubeconfig
from labkit.environment import Environment, own
from labkit.errors import LabError
from labkit.settings import Settings, attendee_settings
from labkit.target import Target

_HOUR = 3600
# Settings that attendees share with the instructor, where they aren't the defaults.
_SHARED = ("cluster", "region", "log_group", "log_stream", "logging_namespace", "falco_namespace", "role_name")


@dataclass(frozen=True)
class Handout:
    """The variables of one attendee. With credentials, `ends` says until when they are good (UTC)."""

    attendee: str
    variables: dict[str, str]
    ends: dt.datetime | None = None

    @property
    def text(self) -> str:
        """The same for a POSIX shell to evaluate: takes away what leads elsewhere, and sets what is the attendee's."""
        lines = [f"# Attendee {self.attendee}."]
        if self.ends is not None:
            lines.append(f"# The credentials end at {self.ends:%Y-%m-%d %H:%M} UTC; then ask for new ones:")
            lines.append(f"# the instructor runs `labkit class env {self.attendee}` again.")
        if "KUBECONFIG" not in self.variables:
            name, region = self.variables["LABKIT_CLUSTER"], self.variables["LABKIT_REGION"]
            lines.append(f"# For kubectl: aws eks update-kubeconfig --name {name} --region {region}")
        lines.append("unset $(env | sed -nE 's/^(LABKIT_[A-Z_]*)=.*/\\1/p')")
        if "AWS_ACCESS_KEY_ID" in self.variables:
            return "\n".join([*lines, Environment(own().path, self.variables).as_shell()])
        return "\n".join([*lines, *(f"export {name}={shlex.quote(value)}" for name, value in self.variables.items())])


def handout(target: Target, name: str, *, credentials: bool | None = None) -> Handout:
    """The settings of an attendee, with credentials or with the role to assume.

    `credentials`: a session of the attendee's role in the place of `LABKIT_ROLE`. By default that is so where the
    caller alone may assume the role, and on the embedded lab, whose own key is the administrator's. Raises `LabError`
    if there is no such attendee, `TargetError` if STS refuses.
    """
    refuse_attendee(target)
    require(target, [name])
    embedded = target.settings.target == "embedded"
    if credentials is None:
        trusted = noted(target)["attendees"].get(name)
        credentials = embedded or trusted == [parts.principal(target)]
    if embedded and not credentials:
        raise LabError("On the embedded lab an attendee needs credentials.", hint="Leave `--role` out.")
    variables = _variables(target, name)
    if not credentials:
        return Handout(name, {**variables, "LABKIT_ROLE": role_arn(target, name)})
    session = _session(target, name)
    keys = {
        "AWS_ACCESS_KEY_ID": session["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"],
        "AWS_SESSION_TOKEN": session["SessionToken"],
        "AWS_REGION": target.settings.region,
        "AWS_DEFAULT_REGION": target.settings.region,
    }
    if embedded:
        lab = running_embedded(target.settings.home).environment()
        keys |= {key: value for key, value in lab.items() if key.startswith("AWS_ENDPOINT")}
        hosts = [*filter(None, os.environ.get("NO_PROXY", "").split(",")), "127.0.0.1", "localhost"]
        keys["NO_PROXY"] = ",".join(dict.fromkeys(hosts))
        attendee = replace(attendee_settings(target.settings, name), home=home(target, name))
        variables["LABKIT_HOME"] = str(attendee.home)
        keys["KUBECONFIG"] = str(write_eks_kubeconfig(target.aws, attendee))
    return Handout(name, {**variables, **keys}, session["Expiration"].astimezone(dt.UTC))


def home(target: Target, name: str) -> Path:
    """An attendee's folder among the class's files."""
    return folder(target) / f"attendee-{name}"


def write(target: Target, name: str) -> Path:
    """Writes an attendee's settings, without credentials, to a file that its owner alone may read; returns its path."""
    path = home(target, name) / "env.sh"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    variables = {**_variables(target, name), "LABKIT_ROLE": role_arn(target, name)}
    lines = [f"# Attendee {name}: what is to be set. `labkit class env {name}` prints the same with credentials."]
    lines += [f"export {key}={shlex.quote(value)}" for key, value in variables.items()]
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _variables(target: Target, name: str) -> dict[str, str]:
    settings = target.settings
    shared = {
        f"LABKIT_{key.upper()}": str(getattr(settings, key))
        for key in _SHARED
        if key in ("cluster", "region") or getattr(settings, key) != getattr(Settings, key)
    }
    if settings.prefix != Settings.prefix:
        shared["LABKIT_PREFIX"] = attendee_settings(settings, name).prefix
    if settings.target == "eks":  # AWS behind an address of the instructor's own
        shared |= {key: value for key, value in os.environ.items() if key.startswith("AWS_ENDPOINT_URL")}
    # Behind its endpoint the embedded lab is an account and a cluster like any other.
    return {"LABKIT_TARGET": "eks", "LABKIT_ATTENDEE": name, **shared}


def _session(target: Target, name: str) -> dict[str, Any]:
    """A session of an attendee's role, as long as STS grants one: 12 hours, or one if the caller has a role, too."""
    sts = target.aws.client("sts")
    with translated_errors(target.aws.hint):
        assume = partial(sts.assume_role, RoleArn=role_arn(target, name), RoleSessionName=f"attendee-{name}")
        with suppress(sts.exceptions.ClientError):
            return dict(assume(DurationSeconds=parts.SESSION_SECONDS)["Credentials"])
        return dict(assume(DurationSeconds=_HOUR)["Credentials"])
