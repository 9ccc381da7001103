"""Watches: streams changes of a kind, one JSON line each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import orjson
from aiohttp import web

from ekslab.kubernetes.objects.errors import ApiError, bad_request
from ekslab.kubernetes.objects.resources import Object, Resource, namespace_of
from ekslab.kubernetes.objects.selectors import Predicate
from ekslab.kubernetes.objects.store import Change, Store

_BOOKMARK_SECONDS = 60.0
_CHECK_SECONDS = 5.0
_DEFAULT_TIMEOUT = 1800.0
_QUEUED = 1_000  # changes that a watcher may be behind


async def serve_watch(
    request: web.Request,
    store: Store,
    resource: Resource,
    namespace: str,
    keep: Predicate,
    represent: Callable[[Object], Object],
    *,
    timeout: float,
) -> web.StreamResponse:
    """Streams changes of the objects that `keep` holds for, each in the form that `represent` returns.

    Without a resourceVersion (or with "0") it starts with what is there. It ends after
    `timeout` seconds, half an hour if that is 0.
    """
    query = request.query
    version = query.get("resourceVersion", "")
    bookmarks = query.get("allowWatchBookmarks", "").lower() in ("true", "1")
    initial = query.get("sendInitialEvents", "").lower() == "true" or version in ("", "0")
    loop = asyncio.get_running_loop()
    deadline = loop.time() + (timeout or _DEFAULT_TIMEOUT)
    queue: asyncio.Queue[Change] = asyncio.Queue(_QUEUED)
    behind = False

    def note(change: Change) -> None:
        nonlocal behind
        if change.resource is resource and (not namespace or namespace_of(change.object) == namespace):
            try:
                queue.put_nowait(change)
            except asyncio.QueueFull:
                behind = True

    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    unsubscribe = store.subscribe(note)
    try:
        first: list[bytes] = []
        try:
            if initial:
                first += [_line("ADDED", represent(obj)) for obj in store.list(resource, namespace) if keep(obj)]
                if query.get("sendInitialEvents", "").lower() == "true":
                    first.append(_bookmark(resource, store.revision, end=True))
            else:
                if not version.isdigit():
                    raise bad_request(f'Invalid value: "{version}": strconv.ParseUint: invalid syntax')
                first += _lines(store.since(resource, int(version)), namespace, keep, represent)
        except ApiError as error:
            first.append(_line("ERROR", error.status()))
            deadline = 0.0
        await response.prepare(request)
        for line in first:
            await response.write(line)
        next_bookmark = loop.time() + _BOOKMARK_SECONDS
        while (now := loop.time()) < deadline and not behind:  # one that doesn't keep up has to begin again
            try:
                change = await asyncio.wait_for(queue.get(), min(deadline - now, _CHECK_SECONDS))
            except TimeoutError:
                if request.transport is None or request.transport.is_closing():
                    break
            else:
                for line in _lines([change], namespace, keep, represent):
                    await response.write(line)
            if bookmarks and loop.time() >= next_bookmark:
                await response.write(_bookmark(resource, store.revision))
                next_bookmark = loop.time() + _BOOKMARK_SECONDS
        await response.write_eof()
    finally:
        unsubscribe()
    return response


def _lines(
    changes: Iterable[Change], namespace: str, keep: Predicate, represent: Callable[[Object], Object]
) -> list[bytes]:
    """Changes as a watcher with a selector sees them: an object that stops matching is deleted for it."""
    lines = []
    for change in changes:
        if namespace and namespace_of(change.object) != namespace:
            continue
        before = change.previous is not None and keep(change.previous)
        after = change.type != "DELETED" and keep(change.object)
        if after:
            lines.append(_line("MODIFIED" if before else "ADDED", represent(change.object)))
        elif before:
            lines.append(_line("DELETED", represent(change.object)))
    return lines


def _line(kind: str, obj: Object) -> bytes:
    return orjson.dumps({"type": kind, "object": obj}) + b"\n"


def _bookmark(resource: Resource, revision: int, *, end: bool = False) -> bytes:
    metadata: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
    if end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    return _line("BOOKMARK", {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata})
