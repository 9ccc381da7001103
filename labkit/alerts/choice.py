"""Which alerts are wanted: by rule, pod and priority. What the service can drop, and what is chosen from a frame."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from labkit.alerts.frame import ALERT, DELIVERY, FIELDS, categories, to_frame
from labkit.alerts.pages import Event
from labkit.alerts.parse import PRIORITIES
from labkit.calls import checked, near, short_repr, texts
from labkit.errors import LabError

# Words of these characters are the same in every message that has them: no JSON encoder escapes one, however often a
# shipper has put a line into another one.
_PLAIN = re.compile(r"[A-Za-z0-9_.,:;()*#!?@~^$|\[\]{}-]+", re.ASCII)
_LONGEST_PATTERN = 1024  # characters that FilterLogEvents takes


@dataclass(frozen=True)
class Choice:
    """Alerts of one of `rules`, of the pod, and of `priority` or above; what is left out chooses all.

    In a `namespace`, rules have the names that a shared Falco knows them by, too (`known_as`).
    """

    rules: tuple[str, ...] = ()
    namespace: str = ""
    pod: str = ""
    priority: str = ""

    @classmethod
    def of(
        cls, rule: str | Iterable[str] | None, pod: str | None, priority: str | None, namespace: str | None = None
    ) -> Choice:
        """`pod` is a name or `namespace/name`. Raises `LabError` for what is no priority of Falco."""
        of_pod, _, name = (pod or "").rpartition("/")
        if namespace and of_pod and namespace != of_pod:
            raise LabError(
                f"Pod {pod} isn't in namespace {namespace}.",
                hint=f"Alerts are limited to that namespace: name the pod alone, or {namespace}/{name}.",
            )
        namespace = namespace or of_pod
        level = ""
        if priority is not None:
            known = {p.lower(): p for p in PRIORITIES} | {"info": "Informational"}
            level = known.get(priority.strip().lower(), "")
            if not level:
                hint = f"{near(priority, PRIORITIES)}From least to most severe: {', '.join(PRIORITIES)}."
                raise LabError(f"{short_repr(priority)} is no priority of Falco.", hint=hint)
        rules = () if rule is None else tuple(dict.fromkeys(texts(rule, "rule")))
        if rule is not None and not rules:
            raise LabError("rule is an empty list.", hint="Leave it out to mean: every rule.")
        return cls(rules, namespace, name, level)

    def __str__(self) -> str:
        """` of the rule 'x' in pod y`, as the end of a sentence; empty if it chooses all."""
        named = " or ".join(map(repr, self.rules))
        return (
            (f" of the rule {named}" if self.rules else "")
            + (f" in pod {f'{self.namespace}/' if self.namespace else ''}{self.pod}" if self.pod else "")
            + (f" in namespace {self.namespace}" if self.namespace and not self.pod else "")
            + (f" of priority {self.priority} or above" if self.priority else "")
        )

    def _terms(self) -> list[list[str]]:
        """What a message contains that holds such an alert: of each list one text.

        True of every shape in which shippers write alerts, since it says nothing of where in the message a text is.
        That is why these are no JSON patterns: `{ $.rule = "x" }` misses a line within a line, or behind a CRI header.
        """
        terms = []
        rules = list(dict.fromkeys(map(_plain, self.rules)))
        if rules and all(rules):
            terms.append(rules)
        terms += [[plain] for name in (self.pod, self.namespace) if (plain := _plain(name))]
        levels = PRIORITIES[PRIORITIES.index(self.priority) :] if self.priority else PRIORITIES
        if levels != PRIORITIES:
            words = ["Info" if level == "Informational" else level for level in levels]
            terms.append([form for word in words for form in (word, word.upper(), word.lower())])
        return terms

    def pattern(self) -> str | None:
        """A filter pattern that every alert of the choice matches, and few others; None if there is none.

        A pattern can't join alternatives with other terms: then the alternatives are left to `of`.
        """
        terms = self._terms()
        required = [f'"{alternatives[0]}"' for alternatives in terms if len(alternatives) == 1]
        if not required and terms:
            required = [f'?"{text}"' for text in terms[0]]
        pattern = " ".join(required)
        return pattern if pattern and len(pattern) <= _LONGEST_PATTERN else None

    def query(self) -> str:
        """A filter of Logs Insights that every alert of the choice matches; empty if there is none."""
        joined = [" or ".join(f'@message like "{text}"' for text in alternatives) for alternatives in self._terms()]
        return " and ".join(f"({alternatives})" for alternatives in joined)

    def events(self, events: Sequence[Event]) -> list[Event]:
        """The events that hold an alert of this choice."""
        chosen = set(self.select(to_frame(events))["eventId"])
        return [event for event in events if event["eventId"] in chosen]

    def select(self, df: pd.DataFrame) -> pd.DataFrame:
        """The frame's alerts of this choice, as a frame made of them alone. `attrs["left_out"]` counts the others."""
        if self == Choice():
            df.attrs["left_out"] = 0
            return df
        chosen = pd.Series(True, index=df.index)
        if self.rules:
            chosen &= df["rule"].isin([name for rule in self.rules for name in known_as(rule, self.namespace)])
        if self.pod:
            chosen &= (df["k8s.pod.name"] == self.pod).fillna(False).astype(bool)
        if self.namespace:
            chosen &= (df["k8s.ns.name"] == self.namespace).fillna(False).astype(bool)
        if self.priority:
            chosen &= (df["priority"] >= self.priority).fillna(False).astype(bool)
        left_out = int((~chosen).sum())
        attrs: dict[Any, Any] = {**df.attrs, "alerts": len(df) - left_out, "left_out": left_out}
        if left_out:
            df = df[chosen].reset_index(drop=True)
            fixed = {*ALERT, *DELIVERY, *FIELDS}
            df = df.drop(columns=[name for name in df.columns if name not in fixed and df[name].isna().all()])
            for name, dtype in df.dtypes.items():
                if isinstance(dtype, pd.CategoricalDtype) and name != "priority":
                    df[name] = df[name].astype(categories(sorted(df[name].dropna().unique())))
        if "untimed" in attrs:
            attrs["untimed"] = int(df["time"].isna().sum())
        df.attrs = attrs
        return df


def known_as(rule: str, namespace: str) -> tuple[str, ...]:
    """The names that Falco may know a rule by: an attendee's own has the namespace added on a shared cluster."""
    return (rule, f"{rule} ({namespace})") if namespace else (rule,)


@checked
def concat(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Frames of alerts as one, ordered by `time`, with the dtypes of each: `pd.concat` forgets categories.

    An alert that several of them hold (by its `eventId`) is one row. `attrs` counts what they count together; it is
    complete if all are. Raises `LabError` if there is none.
    """
    frames = list(frames)
    if not frames:
        raise LabError("There is no frame to join.", hint="Give it a list of frames: concat([df, later]).")
    merged = {}
    names = dict.fromkeys(name for df in frames for name in df.columns)
    first = [*ALERT, *FIELDS]
    fields = sorted(name for name in names if name not in first and name not in DELIVERY)
    for name in [name for name in (*first, *fields, *DELIVERY) if name in names]:
        columns = [df[name] if name in df else pd.Series(pd.NA, df.index, dtype=object) for df in frames]
        known: Any = next(df[name].dtype for df in frames if name in df)
        if isinstance(known, pd.CategoricalDtype) and not known.ordered:
            values = sorted({value for column in columns for value in column.dropna().unique()})
            known = categories(values)
        if len({type(column.array) for column in columns}) > 1:
            columns = [column.astype(object) for column in columns]
        merged[name] = pd.concat([column.astype(known) for column in columns], ignore_index=True)
    df = pd.DataFrame(merged, copy=False).sort_values("time", kind="stable", ignore_index=True)
    df = df[~(df["eventId"].duplicated() & df["eventId"].notna())].reset_index(drop=True)
    skipped: Counter[str] = Counter()
    for frame in frames:
        skipped.update(frame.attrs.get("skipped", {}))
    counts = {name: sum(frame.attrs.get(name, 0) for frame in frames) for name in ("events", "left_out")}
    complete = all(frame.attrs.get("complete", True) for frame in frames)
    df.attrs.update(alerts=len(df), **counts, skipped=dict(skipped), complete=complete)
    return df


def _plain(name: str) -> str:
    """The longest part of a name, in whole words, that a message has as it is; empty if that would tell little."""
    parts = [""]
    for word in name.split(" "):
        if _PLAIN.fullmatch(word):
            parts[-1] = f"{parts[-1]} {word}" if parts[-1] else word
        elif parts[-1]:
            parts.append("")
    longest = max(parts, key=len)
    return longest if len(longest) >= 3 else ""
