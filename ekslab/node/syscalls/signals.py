"""kill and signal handlers. Event: kill."""

from __future__ import annotations

from collections.abc import Callable

from ekslab.node import abi
from ekslab.node.abi import error
from ekslab.node.arguments import flags_argument, plain, result_argument
from ekslab.node.kernel import ProcessExit, Task


class SignalCalls(Task):
    """Signals that a process sends, and those it handles."""

    def kill(self, vpid: int, number: int) -> None:
        """Sends a signal to a process, the group -vpid, its own (0) or everyone (-1). Signal 0 only checks.

        The first process of a pid namespace gets from inside it the signals that it handles, and no others.
        """
        first = None if self.container is None or self.container.spec.host_pid else self.find_process(1)
        if vpid == -1:
            targets = [process for process in self.visible() if process not in (self, first)]
        elif vpid <= 0:
            group = self.group_leader.vpid if vpid == 0 else -vpid
            targets = [process for process in self.visible() if process.group_leader.vpid == group]
        else:
            targets = [process for process in (self.find_process(vpid),) if process is not None]
        if not targets:
            raise error("ESRCH")
        for target in targets:
            if self.euid not in (0, target.uid) or (
                self.euid == 0 and "CAP_KILL" not in self.capabilities and target.uid
            ):
                raise error("EPERM")
        self.emit(
            "kill",
            0,
            result_argument(0),
            plain("pid", str(vpid)),
            flags_argument("sig", number, abi.signal_name(number)),
        )
        for target in targets:
            if target is first and (number == abi.SIGKILL or number not in target.signal_handlers):
                continue
            if number:
                target.signal(number)
        if number and not self.alive:
            raise ProcessExit(128 + number)

    def on_signal(self, number: int, handler: Callable[[], object] | None) -> None:
        """Sets the handler of a signal; None ignores it."""
        self.signal_handlers[int(number)] = handler

    def default_signal(self, number: int) -> None:
        """Undoes `on_signal`."""
        self.signal_handlers.pop(int(number), None)
