"""Assignments: `name=value`, `name[index]=value`, `name=(...)`."""

from __future__ import annotations

from ekslab.node.shell import expansion
from ekslab.node.shell.arithmetic import evaluate
from ekslab.node.shell.errors import ExpansionError
from ekslab.node.shell.quoting import traced
from ekslab.node.shell.state import State
from ekslab.node.shell.syntax import Assignment
from ekslab.node.shell.variables import Value


class Assignments(State):
    """A shell's assignments."""

    async def assign(self, given: Assignment) -> str:
        """Makes an assignment; what `set -x` shows of it."""
        if given.elements is not None:
            await self._assign_array(given)
            return f"{given.name}=(...)"
        value = await expansion.text(self, given.value)
        index = await expansion.text(self, given.index) if given.index is not None else None
        if index == "":
            raise ExpansionError(f"{given.name}[]: bad array subscript")
        self.set(given.name, value, index=index, append=given.append)
        return f"{given.name}={traced(value)}" if self.options.get("xtrace") else ""

    async def _assign_array(self, given: Assignment) -> None:
        name, _ = self.resolved(given.name)
        self.check_writable(name)
        old = self._known(name)
        made = Value(flags=set(old.flags) if old is not None else set())
        if old is not None and old.table is not None:
            made.table = dict(old.table) if given.append else {}
        else:
            kept = {} if old is None or old.text is None else {0: old.text}
            made.items = (
                (dict(old.items) if old is not None and old.items is not None else kept) if given.append else {}
            )
            made.flags.add("a")
        following = max(made.items, default=-1) + 1 if made.items is not None else 0
        assert given.elements is not None
        words: list[str] = []
        for position, append, word in given.elements:
            if position is None and made.items is not None:
                for value in await expansion.fields(self, [word]):
                    made.items[following] = self._converted(made, value, None)
                    following += 1
                    if not following & 255:
                        await self.process.cooperate()
                continue
            if position is None:
                words += await expansion.fields(self, [word])
                continue
            key = await expansion.text(self, position)
            value = await expansion.text(self, word)
            if made.table is not None:
                made.table[key] = self._converted(made, value, made.table.get(key, "") if append else None)
            elif made.items is not None:
                following = evaluate(self, key)
                if following < 0:
                    raise ExpansionError(f"{name}[{key}]: bad array subscript")
                made.items[following] = self._converted(made, value, made.items.get(following, "") if append else None)
                following += 1
        if made.table is not None and words:  # bash 5.2 takes keys and values in turn
            for key, value in zip(words[::2], [*words[1::2], ""], strict=False):
                made.table[key] = value
        self.set_value(name, made)
