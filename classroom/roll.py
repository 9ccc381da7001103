"""The roll of a class: what is there of each attendee, in the cluster and in AWS."""

from __future__ import annotations

from dataclasses import dataclass

from classroom.attendees import known, role_arn, role_name
from labkit.aws import translated_errors
from labkit.kube.objects import is_ready
from labkit.settings import attendee_settings
from labkit.show import Table
from labkit.target import Target


@dataclass(frozen=True)
class Seat:
    """What is there of one attendee."""

    attendee: str
    namespace: str
    there: bool
    """Whether the namespace is there, and isn't being deleted."""
    ready: int
    """Pods that are ready, of `pods`."""
    pods: int
    role: bool
    """Whether the IAM role is there."""
    enters: bool
    """Whether the cluster lets the role in."""

    @property
    def state(self) -> str:
        """`ready`, or what is missing."""
        missing = [
            word
            for word, is_there in (("namespace", self.there), ("role", self.role), ("access entry", self.enters))
            if not is_there
        ]
        return f"lacks {', '.join(missing)}" if missing else "ready"


def roll(target: Target) -> list[Seat]:
    """The attendees of the class, by name. Asks once for each kind of thing, however many attendees there are."""
    names = known(target)
    namespaces = {one["metadata"]["name"]: one for one in target.kube.list("Namespace")}
    pods: dict[str, list[bool]] = {}
    for pod in target.kube.list("Pod") if names else ():
        pods.setdefault(pod["metadata"]["namespace"], []).append(is_ready(pod))
    with translated_errors(target.aws.hint):
        iam, eks = target.aws.client("iam"), target.aws.client("eks")
        roles = set(iam.get_paginator("list_roles").paginate().search("Roles[].RoleName"))
        entries = eks.get_paginator("list_access_entries").paginate(clusterName=target.settings.cluster)
        principals = set(entries.search("accessEntries[]"))
    seats = []
    for name in names:
        namespace = attendee_settings(target.settings, name).app_namespace
        found = namespaces.get(namespace)
        ready = pods.get(namespace, [])
        seats.append(
            Seat(
                name,
                namespace,
                found is not None and "deletionTimestamp" not in found["metadata"],
                sum(ready),
                len(ready),
                role_name(target.settings, name) in roles,
                role_arn(target, name) in principals,
            )
        )
    return seats


def table(seats: list[Seat]) -> Table:
    """The roll as a table."""
    rows = tuple((seat.attendee, seat.namespace, f"{seat.ready}/{seat.pods}", seat.state) for seat in seats)
    return Table(
        f"A class of {len(seats)}" if seats else "There is no class", ("attendee", "namespace", "pods", "state"), rows
    )
