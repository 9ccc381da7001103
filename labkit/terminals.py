"""JupyterLab's terminals. One with the name `nginx` is a shell in the application's pod: chapters have a button."""

from __future__ import annotations

import sys
from typing import Any

from jupyter_server_terminals.terminalmanager import TerminalManager

POD = "nginx"
# JupyterLab closes a terminal whose command has ended: an error stays until it has been read.
_COMMAND = '"$0" -m labkit.cli shell "deploy/$1" || { printf "Press Enter to close this terminal. "; read -r _; }'


class Terminals(TerminalManager):
    """The terminals of one JupyterLab, by name."""

    def create(self, **options: Any) -> dict[str, Any]:
        """Starts a terminal and returns what JupyterLab's API tells of it."""
        if options.get("name") == POD:
            options["shell_command"] = ["/bin/sh", "-c", _COMMAND, sys.executable, POD]
        return super().create(**options)
