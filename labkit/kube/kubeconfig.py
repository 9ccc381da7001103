"""Reads a kubeconfig for the official client, and says what is wrong with it, its credential plugin or its cluster."""

from __future__ import annotations

import datetime as dt
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from labkit.calls import near, short_repr, shortened
from labkit.errors import Hint, TargetError
from labkit.show import say
from labkit.waiting import waiting

# A credential plugin -> how to get it.
_PLUGINS = {
    "aws": "Install the AWS CLI, version 2 (https://aws.amazon.com/cli/). For an EKS cluster LABKIT_CLUSTER without "
    "LABKIT_CONTEXT does as well: labkit makes tokens itself.",
    "aws-iam-authenticator": "Make the context again with `aws eks update-kubeconfig`, which needs the AWS CLI only.",
    "gke-gcloud-auth-plugin": "`gcloud components install gke-gcloud-auth-plugin` (or your distribution's package).",
    "kubelogin": "Install it: https://azure.github.io/kubelogin/.",
    "kubectl-oidc_login": "`kubectl krew install oidc-login`.",
}

PATIENCE = 60.0
"""Seconds that a credential plugin may take."""
# What a plugin says -> what to do about it.
_LOGINS = (
    (r"gcloud auth login|gcloud.*[Rr]eauth", "`gcloud auth login`"),
    (r"az login", "`az login`"),
    (
        r"aws sso login|SSO (session|Token)|sso|Token has expired and refresh failed",
        "`aws sso login` with the profile that the context names",
    ),
    (r"The config profile \(.+\) could not be found", "Correct the profile (`AWS_PROFILE`) that the context names"),
    (r"Unable to locate credentials|ExpiredToken|InvalidClientTokenId", "`aws configure` or `aws sso login`"),
)


@dataclass(frozen=True)
class Tool:
    """A program that makes clusters: how its contexts are called, and what renews a context and starts its cluster."""

    pattern: str
    renew: str
    start: str = ""


_TOOLS = (
    Tool(r"kind-(?P<name>.+)", "`kind export kubeconfig --name {name}`", "`docker start {name}-control-plane`"),
    Tool(r"k3d-(?P<name>.+)", "`k3d kubeconfig merge {name} --kubeconfig-merge-default`", "`k3d cluster start {name}`"),
    Tool(r"(?P<name>minikube)", "`minikube update-context`", "`minikube start`"),
    Tool(r"(?P<name>docker-desktop|rancher-desktop|colima|orbstack)", "Restart {name}", "Start {name}"),
    Tool(
        r"gke_(?P<project>[^_]+)_(?P<zone>[^_]+)_(?P<name>.+)",
        "`gcloud container clusters get-credentials {name} --location {zone} --project {project}`",
    ),
    Tool(
        r"arn:aws[\w-]*:eks:(?P<region>[\w-]+):\d+:cluster/(?P<name>.+)",
        "`aws eks update-kubeconfig --name {name} --region {region}`",
    ),
    Tool(
        r".*@(?P<name>[\w-]+)\.(?P<region>[\w-]+)\.eksctl\.io",
        "`aws eks update-kubeconfig --name {name} --region {region}`",
    ),
)


def renewal(context: str) -> str:
    """What makes a context's entry in the kubeconfig again; empty if that isn't known."""
    return next((tool.renew.format(**found.groupdict()) for tool, found in _tools(context)), "")


def start(context: str) -> str:
    """What starts the cluster of a context on this computer; empty if it isn't on it."""
    return next((tool.start.format(**found.groupdict()) for tool, found in _tools(context)), "")


def _tools(context: str) -> Iterator[tuple[Tool, re.Match[str]]]:
    for tool in _TOOLS:
        if found := re.fullmatch(tool.pattern, context):
            yield tool, found


def load(kubeconfig: Path | None, context: str, hint: Hint) -> Any:
    """The official client's `ApiClient` for a context of the kubeconfig. Raises `TargetError`."""
    import yaml
    from kubernetes import config
    from kubernetes.config import ConfigException

    # The client looks at KUBECONFIG once, when it is imported; a notebook may set it later.
    file = str(kubeconfig or os.environ.get("KUBECONFIG") or "")
    try:
        with plugin_errors(context), waiting("the kubeconfig's credentials", PATIENCE):
            client = _soon(lambda: config.new_client_from_config(config_file=file or None, context=context or None))
    except TargetError:
        raise
    except ConfigException as error:
        raise _unusable(str(error), file, context, hint) from error
    except OSError as error:
        said = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise TargetError(f"The kubeconfig can't be used: {said}.", hint=hint) from error
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise TargetError(f"The kubeconfig isn't YAML: {shortened(said, 300)}.", hint="Correct it.") from error
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        said = f"The kubeconfig can't be used: {shortened(' '.join(str(error).split()), 200)}."
        where = file or "~/.kube/config"
        raise TargetError(
            said, hint=f"Correct {where}: `kubectl config view` should print it. {_again(context)}"
        ) from error

    if not re.match(r"https?://[^/\s]", client.configuration.host):
        raise TargetError(
            f"The kubeconfig has no address of a cluster: `server` is {short_repr(client.configuration.host)}.",
            hint=f"Correct it: it begins with https://. {_again(context)}".strip(),
        )
    if not client.configuration.verify_ssl:
        _say_unverified(client.configuration.host)
    return client


@cache
def _say_unverified(host: str) -> None:
    """Says once that the API's certificate isn't checked; urllib3 would warn of each request."""
    import urllib3

    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    say(f"The kubeconfig has insecure-skip-tls-verify: the certificate of the Kubernetes API at {host} isn't checked.")


def _soon(call: Callable[[], Any]) -> Any:
    """What `call` returns, or its error; `TargetError` if it takes longer than a credential plugin may."""
    done: Future[Any] = Future()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return done.result(PATIENCE)
    except TimeoutError:
        if done.done():  # it is the call's own
            raise
        raise TargetError(
            f"The credential plugin of the kubeconfig has not answered for {PATIENCE:g} s.",
            hint="Run `kubectl get nodes` with this context: does it wait for a login, or for the network?",
        ) from None


def _again(context: str) -> str:
    found = renewal(context)
    return f"To make the entry again: {found}." if found else ""


def _unusable(said: str, file: str, context: str, hint: Hint) -> TargetError:
    if found := re.search(r"Expected object with name (\S*) in (.*)/(contexts|clusters|users) list", said):
        name, where, kind = found.groups()
        if kind == "contexts":
            known = contexts(where)
            there = f"There are: {', '.join(known)}." if known else "There are none in it."
            return TargetError(
                f"There is no context {short_repr(name)} in the kubeconfig {where}.",
                hint=f"{near(name, known)}Set LABKIT_CONTEXT to one that is there. {there}",
            )
        return TargetError(
            f"Context {short_repr(context)} names {kind[:-1]} {short_repr(name)}, which isn't in {where}.",
            hint=_again(context) or "Correct the kubeconfig, or make its entry again.",
        )
    if "No configuration found" in said:
        where = file or "~/.kube/config"
        return TargetError(
            f"There is no kubeconfig: {where} isn't there, or is empty.",
            hint=f"Set KUBECONFIG to the file that has the context. {_again(context)}".strip(),
        )
    return TargetError(f"The kubeconfig can't be used: {said.removesuffix('.')}.", hint=hint)


def contexts(files: str) -> list[str]:
    """The names of the contexts in kubeconfig files (a path, or several as in KUBECONFIG)."""
    import yaml

    found = []
    for file in files.split(os.pathsep):
        try:
            document = yaml.safe_load(Path(file).expanduser().read_text(encoding="utf-8"))
            found += [str(one["name"]) for one in document.get("contexts") or ()]
        except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError):
            continue
    return sorted(set(found))


@contextmanager
def plugin_errors(context: str) -> Iterator[None]:
    """Raises `TargetError` for a credential plugin that fails: the official client logs that, and asks without."""
    said: list[str] = []

    class Listener(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            mine = record.levelno >= logging.ERROR and record.module == "kube_config"
            if mine:
                said.append(record.getMessage())
            return not mine

    root, listener, silent = logging.getLogger(), Listener(), logging.NullHandler()
    root.addFilter(listener)
    root.addHandler(silent)  # without any, logging would make one that prints, for good
    try:
        yield
    finally:
        root.removeFilter(listener)
        root.removeHandler(silent)
    if said:
        raise plugin_error(said[0], context)


def plugin_error(said: str, context: str) -> TargetError:
    """What a credential plugin's failure means."""
    of = f"kubeconfig context {short_repr(context)}" if context else "kubeconfig"
    if missing := re.search(r"\[Errno (2|13)\] ([^:]+): '(.+)'", said):
        program = missing[3]
        known = _PLUGINS.get(Path(program).name, f"Install it, or correct the context. {_again(context)}".strip())
        why = "isn't installed (or not on the PATH)" if missing[1] == "2" else "may not be run"
        return TargetError(f"The {of} gets its credentials from `{program}`, which {why}.", hint=known)
    if "'NoneType' object has no attribute 'strip'" in said:  # it has a terminal: what it said went there
        return TargetError(
            f"The credential plugin of the {of} failed: what it said is above.",
            hint="Log in again where it takes a login, then run this again.",
        )
    text = said.removeprefix("exec: ")
    if ended := re.match(r"process returned (-?\d+)\.?\s*(.*)", text, re.DOTALL):
        lines = [line.strip() for line in ended[2].splitlines() if line.strip()]
        if lines and lines[0].startswith("labkit: "):  # labkit's own plugin says what to do
            message, _, todo = " ".join(lines).removeprefix("labkit: ").partition(" What to do: ")
            return TargetError(message, hint=todo)
        why = shortened(" ".join(lines), 300) or "it said nothing"
        login = next((todo for sign, todo in _LOGINS if re.search(sign, ended[2])), "")
        return TargetError(
            f"The credential plugin of the {of} failed ({ended[1]}): {why.rstrip('.')}.",
            hint=f"{login}, then run this again."
            if login
            else "Run `kubectl get nodes` with this context: it shows the same.",
        )
    return TargetError(
        f"The credential plugin of the {of} answers what isn't a credential: {shortened(text, 200).rstrip('.')}.",
        hint=f"Correct its `exec` entry, or make it again. {_again(context)}".strip(),
    )


def certificate_ended(file: str) -> str:
    """The day on which a certificate ended; empty if it hasn't, or that can't be told."""
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(Path(file).read_bytes())
    except (OSError, ValueError):
        return ""
    ended = certificate.not_valid_after_utc
    return f"{ended:%Y-%m-%d}" if ended < dt.datetime.now(dt.UTC) else ""


def silence(error: BaseException, host: str, context: str) -> tuple[str, str]:
    """Why a cluster gives no answer, and what to do: empty strings where that isn't known."""
    from urllib3 import exceptions as http

    chain: list[BaseException] = []
    current: object = error
    while isinstance(current, BaseException) and current not in chain:
        chain.append(current)
        current = getattr(current, "reason", None) or current.__cause__ or current.__context__
    kinds, text = tuple(map(type, chain)), " ".join(map(str, chain))
    again, name = _again(context), re.sub(r"^\w+://|:\d+$", "", host)
    if any(issubclass(kind, http.ProxyError) for kind in kinds):
        return (
            f"The proxy to the Kubernetes API at {host} does not answer.",
            f"Correct HTTPS_PROXY (or `proxy-url` in the kubeconfig); hosts that need none go into NO_PROXY: {name}.",
        )
    if "NO_CERTIFICATE_OR_CRL_FOUND" in text:
        return "The kubeconfig has no certificate of the cluster: it is damaged.", again or "Make its entry again."
    if "certificate has expired" in text or "is not yet valid" in text:
        when = "has ended" if "expired" in text else "isn't valid yet"
        return (
            f"The certificate of the Kubernetes API at {host} {when}.",
            f"Is this computer's clock right (`date`)? Else the cluster needs a new certificate. {again}".strip(),
        )
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return (
            f"The certificate of the Kubernetes API at {host} isn't the one that the kubeconfig trusts.",
            f"Was the cluster made again, or does a proxy open TLS? {again}".strip(),
        )
    if any(issubclass(kind, http.NameResolutionError) for kind in kinds):
        return (
            f"The name of the Kubernetes API, {name}, can't be resolved.",
            f"Is there a network? Else the cluster was deleted, or its endpoint is private. {again}".strip(),
        )
    if "Connection refused" in text and (command := start(context)):
        return f"The cluster of context {context} isn't running: {host} refuses the connection.", f"{command}."
    return "", ""
