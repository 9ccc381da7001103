"""The command that makes the list of attendees, where JupyterHub isn't installed."""

from __future__ import annotations

import runpy
import sys

import pytest


def test_without_jupyterhub_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jupyterhub.auth", None)
    monkeypatch.delitem(sys.modules, "hub.attendees", raising=False)  # it is imported anew, as from a command line
    monkeypatch.setattr(sys, "argv", ["hub.attendees", "3"])
    with pytest.raises(SystemExit, match=r"JupyterHub isn't installed in .*`make hub` installs it"):
        runpy.run_module("hub.attendees", run_name="__main__")
