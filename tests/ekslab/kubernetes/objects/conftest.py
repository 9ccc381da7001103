"""A session with the API server, and where objects of a kind are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from ekslab.kubernetes.objects import resources as r


@pytest.fixture(scope="module")
def session(running: Any) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(running.ca)
        session.headers["Authorization"] = f"Bearer {running.credentials.kubernetes_token}"
        yield session


@pytest.fixture
def collection(running: Any) -> Callable[[dict[str, Any]], str]:
    """The URL to which an object is posted; for a namespaced kind, that of the namespace `default`."""

    def url(obj: dict[str, Any]) -> str:
        resource = r.by_kind(obj["apiVersion"], obj["kind"])
        assert resource is not None
        root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
        return f"{running.url}{root}{'/namespaces/default' if resource.namespaced else ''}/{resource.plural}"

    return url
