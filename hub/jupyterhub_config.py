"""JupyterHub for a class on one machine: a server, an embedded lab and kernels for each attendee. See README.md.

    make hub                          # or: jupyterhub -f hub/jupyterhub_config.py

What differs from class to class is set by variables of the environment:

    HUB_BIND           http://127.0.0.1:8000; https:// needs HUB_CERTIFICATE and HUB_KEY, files in PEM
    HUB_LOGIN          attendees: names and passwords of HUB_ATTENDEES (.hub/attendees)
                       pam: accounts and passwords of this machine
                       dummy: any name without a password, on loopback and with HUB_ACCOUNTS=one only
    HUB_ACCOUNTS       unix: each attendee's processes run as an account of their name (as root; the default then)
                       one: all run as the account that starts the Hub; nothing keeps attendees from each other's files
    HUB_IDLE_MINUTES   90: an attendee's server, kernels and lab end after so long without anything done
    HUB_TARGET         embedded: each attendee has a lab; eks: all use the class's cluster (LABKIT_* are handed on)
    HUB_STATE          .hub: the Hub's database and secrets
"""

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

WORKSHOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(WORKSHOP))

from hub import attendees, spawner  # noqa: E402

c = get_config()  # type: ignore[name-defined] # noqa: F821  jupyterhub defines it


def refuse(what: str) -> None:
    sys.exit(f"hub: {what}")


def setting(name: str, default: str, *choices: str) -> str:
    value = os.environ.get(name) or default
    if choices and value not in choices:
        refuse(f"{name} is {value!r}. It has to be {' or '.join(choices)}.")
    return value


root = os.geteuid() == 0
bind = setting("HUB_BIND", "http://127.0.0.1:8000")
login = setting("HUB_LOGIN", "attendees", "attendees", "pam", "dummy")
accounts = setting("HUB_ACCOUNTS", "unix" if root else "one", "unix", "one")
target = setting("HUB_TARGET", "embedded", "embedded", "eks")
idle = setting("HUB_IDLE_MINUTES", "90")
state = Path(setting("HUB_STATE", str(WORKSHOP / ".hub"))).resolve()

address = urlsplit(bind)
loopback = address.hostname in ("127.0.0.1", "localhost", "::1")
if address.scheme not in ("http", "https") or not address.hostname:
    refuse(f"HUB_BIND is {bind!r}. Write it as https://0.0.0.0:443 or http://127.0.0.1:8000.")
if login == "dummy" and not loopback:
    refuse("HUB_LOGIN=dummy lets anyone in. Use it with HUB_BIND=http://127.0.0.1:8000 only.")
if login == "dummy" and accounts == "unix":
    refuse("HUB_LOGIN=dummy lets anyone on this machine act as any account. Use it with HUB_ACCOUNTS=one.")
if address.scheme == "http" and not loopback:
    refuse(
        "HUB_BIND is http: passwords would travel in clear text. Use https:// with HUB_CERTIFICATE and HUB_KEY, or "
        "leave it on 127.0.0.1 behind a proxy with TLS."
    )
if address.scheme == "https" and not all(os.environ.get(name) for name in ("HUB_CERTIFICATE", "HUB_KEY")):
    refuse("HUB_BIND is https: it needs HUB_CERTIFICATE and HUB_KEY, the paths of files in PEM.")
if accounts == "unix" and not root:
    refuse("HUB_ACCOUNTS=unix needs root, to start processes as other accounts. Run it with sudo, or use `one`.")
if not re.fullmatch(r"\d{1,5}(\.\d+)?", idle) or float(idle) <= 0:
    refuse(f"HUB_IDLE_MINUTES is {idle!r}. It has to be a number of minutes.")
proxy = os.environ.get("HUB_PROXY") or shutil.which("configurable-http-proxy")
proxy = proxy or str(WORKSHOP / "build/hub/node_modules/.bin/configurable-http-proxy")
if not shutil.which(proxy) or not shutil.which("node"):
    refuse("The proxy is missing. Install Node.js 20 or newer, and run `make hub`, which gets the proxy from npm.")
if accounts == "unix":
    another = "Set it up with a Python that they can use: rm -r .venv, then `make hub PYTHON=/usr/bin/python3`."
    places = {
        WORKSHOP: "Put the workshop where they can: /srv/falco-workshop.",
        Path(sys.prefix): "Set it up where they can: rm -r .venv, then `make hub`.",
        Path(sys.base_prefix): another,
    }
    for place, what in places.items():
        for folder in (place, *place.parents):
            if not folder.stat().st_mode & 0o001:
                refuse(f"Other accounts can't look into {folder}, and so don't reach {place}. {what}")
    for program in ("kubectl", "aws"):
        found = Path(shutil.which(program) or "/").resolve()
        if any(not folder.stat().st_mode & 0o001 for folder in (found, *found.parents)):
            print(f"hub: Attendees won't have `{program}`: other accounts don't reach {found}.", file=sys.stderr)

state.mkdir(mode=0o700, parents=True, exist_ok=True)
if state.stat().st_uid != os.geteuid():
    refuse(f"{state} belongs to another account. The Hub's secrets are in it: name another folder as HUB_STATE.")
if state.stat().st_mode & 0o077:
    refuse(f"{state} has the Hub's secrets, and others can look into it. Run `chmod 700 {state}`.")
if not spawner.hold(state):
    refuse(f"A Hub is running already with {state}. End that one, or name another folder as HUB_STATE.")
c.JupyterHub.bind_url = bind
c.JupyterHub.ssl_cert = os.environ.get("HUB_CERTIFICATE", "")
c.JupyterHub.ssl_key = os.environ.get("HUB_KEY", "")
c.JupyterHub.db_url = f"sqlite:///{state}/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = f"{state}/cookie_secret"
c.ConfigurableHTTPProxy.pid_file = f"{state}/proxy.pid"
c.ConfigurableHTTPProxy.command = [proxy]
c.JupyterHub.cleanup_servers = True  # who stops the Hub stops the class
c.JupyterHub.concurrent_spawn_limit = 0  # the spawner lets them wait, instead of sending them away

if login == "pam":
    c.JupyterHub.authenticator_class = "pam"
    c.Authenticator.allow_all = True
elif login == "dummy":
    c.JupyterHub.authenticator_class = "dummy"
    c.Authenticator.allow_all = True
else:
    file = Path(setting("HUB_ATTENDEES", str(state / "attendees")))
    try:
        known = attendees.read(file)
    except attendees.AttendeesError as error:
        refuse(str(error))
    c.JupyterHub.authenticator_class = attendees.AttendeesFile
    c.AttendeesFile.file = str(file)
    c.AttendeesFile.allow_all = True
    c.AttendeesFile.admin_users = {attendees.INSTRUCTOR} & known.keys()
    c.AttendeesFile.create_system_users = accounts == "unix"
    c.AttendeesFile.add_user_cmd = [
        *("useradd", "--create-home", "--shell", "/bin/bash", "--comment", "Attendee of the Falco workshop"),
        *("-K", "HOME_MODE=0700"),
    ]

spawner.Sessions.template = spawner.Template()
c.JupyterHub.spawner_class = spawner.Accounts if accounts == "unix" else spawner.OneAccount
c.SimpleLocalProcessSpawner.home_dir_template = f"{state}/homes/{{username}}"
c.Spawner.start_timeout = 120
c.Spawner.http_timeout = 60
c.Spawner.env_keep = ["PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "TZ"]
c.Spawner.environment = {
    "LABKIT_TARGET": target,
    "LABKIT_IDLE_MINUTES": idle,
    "EKSLAB_NICE": "10",
    "MALLOC_ARENA_MAX": "2",
}
if target == "eks":
    c.Spawner.env_keep += [name for name in os.environ if name.startswith("LABKIT_")]
    c.Spawner.environment["LABKIT_ATTENDEE"] = lambda one: attendees.short(one.user.name)

    def hand_out(one: Any) -> None:
        one.environment = one.environment | attendees.handed_out(state / "env" / one.user.name)

    c.Spawner.pre_spawn_hook = hand_out

c.JupyterHub.services = [
    {
        "name": "idle",
        "command": [
            *(sys.executable, "-m", "jupyterhub_idle_culler"),
            *(f"--timeout={float(idle) * 60:.0f}", f"--cull-every={min(300, max(1, float(idle) * 6)):.0f}"),
        ],
    }
]
c.JupyterHub.load_roles = [
    {
        "name": "idle",
        "services": ["idle"],
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
    }
]
