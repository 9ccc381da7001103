"""Resources that steps consist of, and what is the same for all of AWS's: compare, then create or update."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

from labkit.errors import StepError
from labkit.kube.access import Access
from labkit.target import Target


class Tag(TypedDict):
    """A tag, as most of AWS's operations take it."""

    Key: str
    Value: str


TAG = ("workshop", "falco-eks")
"""The tag on every AWS resource the lab makes."""
TAGS = dict([TAG])
TAG_LIST: list[Tag] = [{"Key": TAG[0], "Value": TAG[1]}]


def is_tagged(tags: Any) -> bool:
    """Whether a resource's tags, a dictionary or a list of keys and values, have the lab's."""
    return bool(tags.get(TAG[0]) == TAG[1]) if isinstance(tags, Mapping) else TAG_LIST[0] in tags


class Part(ABC):
    """One resource that a step answers for. `kind` says what it is, e.g. `IAM role`; with `name` it is unique."""

    service: ClassVar[str] = "AWS"
    """`AWS` or `Kubernetes`: which of them has it."""
    incidental: ClassVar[bool] = False
    """True if it comes by itself once the step is in place: there is nothing to apply, and its absence is no lack."""

    unwanted: ClassVar[bool] = False
    """True if applying the step takes it away where it is there, and its absence is no lack."""

    if TYPE_CHECKING:

        @property
        def kind(self) -> str: ...

        @property
        def name(self) -> str: ...

    @abstractmethod
    def find(self, target: Target) -> Any:
        """What is there, as AWS, the cluster or Helm describes it; None if it isn't there. Asked once per operation."""

    def describe(self, found: Any) -> str:
        """What was found, in a word or two (`ready`, `7 days`); empty if it doesn't count as there."""
        return "there"

    def state(self, target: Target) -> str:
        """What is there in a word or two; empty if it isn't there."""
        return self.look(target)[1]

    def look(self, target: Target) -> tuple[Any, str]:
        """What is there, and its state."""
        found = self.find(target)
        return found, "" if found is None else self.describe(found)

    @abstractmethod
    def is_owned(self, target: Target, found: Any) -> bool:
        """Whether what was found has the lab's mark (tag or label)."""

    def apply(self, target: Target, found: Any, *, owned: bool) -> str:
        """Creates or updates it: `created`, `updated` or `unchanged`. What the lab doesn't own stays as it is."""
        return "unchanged"

    @abstractmethod
    def delete(self, target: Target, found: Any) -> None:
        """Deletes what was found, and waits until it is gone."""

    def fault(self, target: Target, found: Any) -> str:
        """What is wrong with what was found, e.g. that its pods crash; empty if nothing is."""
        return ""

    def lack(self, target: Target) -> str:
        """Why `apply` can't make it where it isn't there; empty if it can."""
        return ""

    def obstacle(self, target: Target, found: Any) -> str:
        """Why `apply` would refuse what others made under its name; empty if it takes that as it is."""
        return ""

    def access(self, target: Target) -> Iterable[Access]:
        """What applying, looking at and deleting it needs to be allowed in the cluster."""
        return ()

    def in_use(self, target: Target) -> str:
        """What in it isn't the lab's and keeps it from being deleted; empty if nothing does."""
        return ""

    def wait_without(self, target: Target) -> None:  # noqa: B027
        """Once it is deleted: waits until what it was a part of works without it."""

    def wait_deleted(self, target: Target, found: Any) -> Any:
        """What is there once a deletion that is under way has ended."""
        return found

    def remark(self) -> str:
        """What there is to say of it once it is applied; empty if nothing is."""
        return ""

    def details(self) -> dict[str, Any]:
        """What the ledger notes about it."""
        return {}


class AwsPart(Part):
    """A resource of AWS: a subclass says how it is found, compared, created, updated and deleted."""

    def tags(self, target: Target, found: Any) -> Any:
        """The tags of what was found; by default it is a property of something that the lab owns."""
        return TAGS

    def matches(self, target: Target, found: Any) -> bool:
        """Whether what was found is as the step makes it."""
        return True

    @abstractmethod
    def create(self, target: Target) -> None: ...

    def update(self, target: Target, found: Any) -> None:
        """Makes what was found match; by default the request that creates it does that, too."""
        self.create(target)

    def is_owned(self, target: Target, found: Any) -> bool:
        return is_tagged(self.tags(target, found))

    def obstacle(self, target: Target, found: Any) -> str:
        if self.matches(target, found):
            return ""
        return "it isn't what the workshop needs"

    def apply(self, target: Target, found: Any, *, owned: bool) -> str:
        if found is None:
            self.create(target)
            return "created"
        if self.matches(target, found):
            return "unchanged"
        if not owned:
            raise StepError(
                f"The {self.kind} {self.name} was there before the lab and isn't what the workshop needs.",
                hint="Choose other names for the workshop (LABKIT_PREFIX, LABKIT_ROLE_NAME), or delete it if nothing "
                "uses it.",
            )
        self.update(target, found)
        return "updated"


@dataclass(frozen=True)
class RequestPart(AwsPart):
    """A resource that the parameters of one request describe, which AWS returns under the same names."""

    request: Mapping[str, Any] = field(hash=False)
    name_key: ClassVar[str]

    @property
    def name(self) -> str:
        return str(self.request[self.name_key])

    def matches(self, target: Target, found: Any) -> bool:
        return all(found.get(key) == value for key, value in self.request.items())
