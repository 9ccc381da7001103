"""Finds all broken links of the pipeline as it is, without waiting for an alert."""

from __future__ import annotations

import datetime as dt

from labkit.alerts.diagnose import Link, faults_now
from labkit.aws import translated_errors
from labkit.provision import forwarder_diagnosis
from labkit.provision.findings_forwarder import SubscriptionFilter, parts
from labkit.target import Target

RECENT = dt.timedelta(minutes=5)
"""How far back logs are read for the cause of a fault."""


def not_installed(target: Target) -> list[str]:
    """What of Falco and Fluent Bit has no pod, and so can't be broken."""
    settings, kube = target.settings, target.kube
    of = {"Falco": (settings.falco_namespace, "falco"), "Fluent Bit": (settings.logging_namespace, "fluent-bit")}
    return [
        name
        for name, (namespace, label) in of.items()
        if not kube.list("Pod", namespace, labels=f"app.kubernetes.io/name={label}")
    ]


def broken_links(target: Target) -> list[Link]:
    """The broken links, in the order in which an alert meets them. What was never made isn't broken."""
    found = faults_now(target, target.kube.now() - RECENT)
    with translated_errors(target.aws.hint):
        made = [part.look(target)[1] for part in parts(target) if isinstance(part, SubscriptionFilter)]
    if any(made):
        link = forwarder_diagnosis.broken_link(target)
        if "reports no failure" not in link.finding:
            found.append(link)
    return found
