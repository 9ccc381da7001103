"""The lines of a container's log: CRI lines become text."""

from __future__ import annotations

from typing import Any

import pytest

from ekslab.kubernetes.apiserver.logs import LogRequest, _chosen, _Lines, container_named, log_request
from ekslab.kubernetes.objects.errors import ApiError

LOG = (
    b"2026-11-23T04:15:07.100000000Z stdout F first\n"
    b"2026-11-23T04:15:08.200000000Z stdout P sec\n"
    b"2026-11-23T04:15:08.300000000Z stdout F ond\n"
    b"2026-11-23T04:15:09.400000000Z stderr F \n"
)
POD: dict[str, Any] = {
    "metadata": {"name": "p"},
    "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]},
}


def text(log: bytes = LOG, *, since: float | None = None, timestamps: bool = False, **wanted: Any) -> bytes:
    return _chosen(log, LogRequest("c", **wanted), _Lines(timestamps, since))


def test_partial_lines_are_joined() -> None:
    assert text() == b"first\nsecond\n\n"
    lines = _Lines(False, None)
    assert b"".join(piece for at in range(0, len(LOG), 7) for piece in lines.feed(LOG[at : at + 7])) == text()


def test_timestamps_stand_before_whole_lines() -> None:
    assert text(timestamps=True) == (
        b"2026-11-23T04:15:07.100000000Z first\n"
        b"2026-11-23T04:15:08.200000000Z second\n"
        b"2026-11-23T04:15:09.400000000Z \n"
    )


def test_lines_since_a_time() -> None:
    assert text(since=1_795_407_308.2) == b"second\n\n"
    assert text(since=1_795_407_309.4) == b"\n"
    assert text(since=1_795_407_310.0) == b""


def test_the_last_lines_and_the_first_bytes() -> None:
    assert text(b"2026-11-23T04:15:07.1Z stdout F a\n" * 3, tail=2) == b"a\na\n"
    assert text(tail=0) == b""
    assert text(tail=100) == text()
    assert text(limit=3) == b"fir"


def test_a_container_is_named_or_the_only_one_or_the_default() -> None:
    assert container_named(POD, "b") == "b"
    assert container_named(POD, "i") == "i"
    assert container_named({**POD, "spec": {"containers": [{"name": "only"}]}}, "") == "only"
    default = {"kubectl.kubernetes.io/default-container": "b"}
    assert container_named({**POD, "metadata": {"name": "p", "annotations": default}}, "") == "b"
    with pytest.raises(ApiError, match=r"^container x is not valid for pod p$"):
        container_named(POD, "x")
    said = r"for pod p, choose one of: \[a b\] or one of the init containers: \[i\]$"
    with pytest.raises(ApiError, match=f"^a container name must be specified {said}"):
        container_named(POD, "")


def test_a_request_is_read_from_the_query() -> None:
    query = {"container": "a", "previous": "true", "timestamps": "1", "tailLines": "0", "sinceSeconds": "5",
             "sinceTime": "2026-11-23T04:15:07Z", "limitBytes": "7"}  # fmt: skip
    assert log_request(POD, query) == LogRequest("a", True, True, 0, 5, 1_795_407_307.0, 7)
    assert log_request(POD, {"container": "a", "previous": "false"}) == LogRequest("a")
    with pytest.raises(ApiError, match=r'tailLines: Invalid value: "-1": must be greater than or equal to 0'):
        log_request(POD, {"container": "a", "tailLines": "-1"})
