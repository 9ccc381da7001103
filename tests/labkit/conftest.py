"""A kernel, to see what a notebook shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest

RunCell: TypeAlias = "Callable[..., list[tuple[str, dict[str, Any]]]]"


@pytest.fixture(scope="module")
def run_cell() -> Iterator[RunCell]:
    """Runs a cell; types and contents of its outputs. Keywords are what a notebook's program says of the cell."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")

    def run(code: str, **metadata: str) -> list[tuple[str, dict[str, Any]]]:
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        request = client.session.msg("execute_request", content, metadata=metadata)
        client.shell_channel.send(request)
        found = []
        while True:
            message = client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") != request["header"]["msg_id"]:
                continue
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return found
            if message["msg_type"] not in ("status", "execute_input"):
                found.append((message["msg_type"], message["content"]))

    yield run
    client.stop_channels()
    manager.shutdown_kernel(now=True)
