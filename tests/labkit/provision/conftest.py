"""Waits of labkit without its patience, for tests of what keeps pods from running."""

from __future__ import annotations

import time

import pytest

from labkit.kube import rollout
from labkit.kube.client import Client


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait for a rollout gives a problem 0.2 s, in place of 15 s, and looks every tenth of a second."""
    original = rollout.Patience.__init__
    monkeypatch.setattr(
        rollout.Patience, "__init__", lambda self, seconds, hopeless=None: original(self, 0.2, hopeless)
    )
    monkeypatch.setattr(rollout, "_DOUBT", 0.3)
    monkeypatch.setattr(Client, "until_change", lambda *_, **__: time.sleep(0.1))
