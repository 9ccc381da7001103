"""Where an alert happened: in a pod, in a container without one, or on a node."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from labkit.triage.columns import codes_of, combined, texts_at

UNKNOWN = "(no rule name)"
"""Stands for the rule of an alert in Falco's text form, which names none."""

_PARTS = ("k8s.ns.name", "k8s.pod.name", "container.id", "hostname")


def places(df: pd.DataFrame) -> pd.Series[Any]:
    """`namespace/pod`, else `container ID`, else `host NAME`, of each alert (categorical, categories sorted)."""
    group, first = combined(codes_of(df, name) for name in _PARTS)
    names = [_place(*parts) for parts in zip(*(texts_at(df, name, first) for name in _PARTS), strict=True)]
    number, values = pd.factorize(np.array(names, dtype=object), sort=True)
    place = pd.Categorical.from_codes(number[group], categories=pd.Index(values, dtype="str"))
    return pd.Series(place, index=df.index, name="place")


def _place(namespace: str | None, pod: str | None, container: str | None, hostname: str | None) -> str:
    if pod:
        return f"{namespace or '?'}/{pod}"
    if container and container != "host":
        return f"container {container}"
    return f"host {hostname}" if hostname else "host"
