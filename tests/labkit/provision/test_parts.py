"""What is the same for all parts of AWS's: compare, then create or update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from labkit.errors import StepError
from labkit.provision.parts import TAG_LIST, TAGS, AwsPart, RequestPart, is_tagged


def test_the_tag_is_found_in_a_dictionary_or_a_list() -> None:
    assert TAGS == {"workshop": "falco-eks"}
    assert is_tagged({"workshop": "falco-eks", "other": "x"})
    assert is_tagged([{"Key": "other", "Value": "x"}, *TAG_LIST])
    assert not is_tagged({"workshop": "mine"})
    assert not is_tagged([{"Key": "workshop", "Value": "mine"}])
    assert not is_tagged({})
    assert not is_tagged([])


@dataclass(frozen=True)
class Queue(RequestPart):
    """A part that is in a dictionary instead of in AWS."""

    kind: ClassVar[str] = "queue"
    name_key: ClassVar[str] = "QueueName"
    world: dict[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)

    def find(self, target: Any) -> Any:
        return self.world.get(self.name)

    def create(self, target: Any) -> None:
        self.world[self.name] = {**self.request, "Arn": "made by AWS"}

    def delete(self, target: Any, found: Any) -> None:
        del self.world[self.name]


NOWHERE: Any = None


def test_a_resource_is_created_then_unchanged_then_updated() -> None:
    queue = Queue({"QueueName": "q", "Delay": 1})
    assert (queue.name, queue.state(NOWHERE)) == ("q", "")
    assert queue.apply(NOWHERE, None, owned=True) == "created"
    assert queue.state(NOWHERE) == "there"
    assert queue.apply(NOWHERE, queue.find(NOWHERE), owned=False) == "unchanged"
    changed = Queue({"QueueName": "q", "Delay": 2}, queue.world)
    assert changed.apply(NOWHERE, changed.find(NOWHERE), owned=True) == "updated"
    assert queue.world["q"] == {"QueueName": "q", "Delay": 2, "Arn": "made by AWS"}


def test_what_is_not_the_labs_and_differs_stays_as_it_is() -> None:
    before = {"QueueName": "q", "Delay": 1}
    queue = Queue({"QueueName": "q", "Delay": 2}, {"q": before})
    with pytest.raises(StepError, match=r"^The queue q was there before the lab and isn't what the workshop") as caught:
        queue.apply(NOWHERE, before, owned=False)
    assert "LABKIT_PREFIX" in caught.value.hint
    assert queue.world == {"q": before}


class Setting(AwsPart):
    """A property of something that the lab owns, for which defaults are enough."""

    kind = "setting"  # type: ignore[assignment]
    name = "s"  # type: ignore[assignment]
    there: Any = None

    def find(self, target: Any) -> Any:
        return self.there

    def create(self, target: Any) -> None:
        self.there = 0

    def delete(self, target: Any, found: Any) -> None:
        self.there = None


def test_a_part_says_nothing_that_it_does_not_know() -> None:
    setting = Setting()
    assert setting.apply(NOWHERE, None, owned=True) == "created"
    assert setting.state(NOWHERE) == "there"  # a value of 0 is one
    assert setting.apply(NOWHERE, setting.there, owned=True) == "unchanged"
    assert setting.is_owned(NOWHERE, setting.there)
    assert (setting.fault(NOWHERE, 0), setting.in_use(NOWHERE), setting.details()) == ("", "", {})
    assert (setting.service, setting.incidental) == ("AWS", False)
