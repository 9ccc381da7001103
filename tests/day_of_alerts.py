"""Writes `notebooks/data/day.jsonl.gz`: a day of alerts of a cluster that is busy, and has an intruder.

`python -m tests.day_of_alerts` runs each kind of command once in a pod of the embedded lab, takes the system calls that
alerted, and lets Falco's rules alert on copies of them: in other pods, at other times, with other programs. So each
alert is one that Falco's rules raise. The same seed gives the same file.
"""

from __future__ import annotations

import gzip
import os
import random
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import falcorules as rules
from labkit import Lab

FILE = Path(__file__).parent.parent / "notebooks" / "data" / "day.jsonl.gz"
DAY = datetime(2026, 3, 10, tzinfo=UTC)
NODES = ("ip-10-0-1-23.ec2.internal", "ip-10-0-2-46.ec2.internal", "ip-10-0-3-71.ec2.internal")
# Kind of event -> a command that makes it, on a terminal or not, and the rule that alerts.
COMMANDS: dict[str, tuple[str, bool, str]] = {
    "terminal": ("bash", True, "Terminal shell in container"),
    "read": ("cat /etc/shadow", False, "Read sensitive file untrusted"),
    "keys": ("find / -xdev -name id_rsa", False, "Search Private Keys or Passwords"),
    "aws": ("grep -rs aws_secret_access_key /etc", False, "Find AWS Credentials"),
    "drop": ("sh -c 'cp /bin/ls /tmp/new && /tmp/new -d /'", False, "Drop and execute new binary in container"),
    "shm": ("sh -c 'echo true > /dev/shm/run; sh /dev/shm/run'", False, "Execution from /dev/shm"),
    "log": ("sh -c ': > /var/log/dpkg.log'", False, "Clear Log Activities"),
    "api": (
        "curl -sk --max-time 5 https://kubernetes.default.svc.cluster.local/version",
        False,
        "Contact K8S API Server From Container",
    ),
    "shell": (
        "sh -c \"cp /bin/bash /tmp/nginx; /tmp/nginx -c 'sh -c id; true'\"",
        False,
        "Run shell untrusted",
    ),
    "reverse": (
        "bash -c 'exec 3<>/dev/tcp/127.0.0.1/80; echo x >&3'",
        False,
        "Redirect STDOUT/STDIN to Network Connection in Container",
    ),
    "traversal": ("cat /usr/share/../../etc/passwd", False, "Directory traversal monitored file read"),
}


class Cluster:
    """Pods that come and go, and the events that happen in them."""

    def __init__(self, recorded: dict[str, rules.RecordedEvent], seed: int) -> None:
        self._recorded = recorded
        self._random = random.Random(seed)
        self.events: list[tuple[int, str, rules.RecordedEvent]] = []

    def suffix(self, length: int = 5) -> str:
        return "".join(self._random.choice("bcdfghjklmnpqrstvwxz2456789") for _ in range(length))

    def pod(self, namespace: str, name: str, image: str, tag: str) -> dict[str, Any]:
        """The fields of a container in a pod."""
        return {
            "k8s.ns.name": namespace,
            "k8s.pod.name": name,
            "container.id": "".join(self._random.choice("0123456789abcdef") for _ in range(12)),
            "container.name": image.rpartition("/")[2],
            "container.image.repository": image,
            "container.image.tag": tag,
            "container.image": f"{image}:{tag}",
            "node": self._random.choice(NODES),
        }

    def at(self, hour: float, jitter: float = 0.0) -> datetime:
        """A moment of the day; `jitter` is in seconds."""
        return DAY + timedelta(hours=hour, seconds=self._random.uniform(-jitter, jitter))

    def happens(self, kind: str, when: datetime, pod: dict[str, Any], **fields: Any) -> None:
        """An event as recorded, but there and then; `fields` are given with `_` for the dots in their names."""
        nanoseconds = int(when.timestamp() * 1e6) * 1000 + self._random.randrange(1000)
        pid = self._random.randrange(2000, 60000)
        changed = {name.replace("_", "."): value for name, value in fields.items()}
        there = {name: value for name, value in pod.items() if name != "node"}
        event = self._recorded[kind].to_dict() | there | {"evt.time": nanoseconds, "proc.pid": pid} | changed
        second = 1_000_000_000
        times = {"container.start_ts": -900 * second, "proc.exe_ino.ctime": -second, "proc.exe_ino.mtime": -second}
        event |= {name: nanoseconds + before for name, before in times.items() if name in event}
        if kind == "drop":
            event |= {"proc.exe_ino.ctime_duration_proc_start": second, "proc.exe": event["proc.exepath"]}
        self.events.append((nanoseconds, pod["node"], rules.RecordedEvent(event)))

    def business(self) -> None:
        """What is normal here: an operator, audits, builds, a scanner, people who look into pods."""
        pick, uniform = self._random.choice, self._random.uniform
        operator = self.pod(
            "monitoring", f"operator-{self.suffix(9)}-{self.suffix()}", "quay.io/acme/operator", "2.4.1"
        )
        for minutes in range(3, 24 * 60, 9):
            when = self.at(minutes / 60, jitter=40)
            self.happens(
                "api",
                when,
                operator,
                proc_name="operator",
                proc_cmdline="operator --watch",
                proc_pname="tini",
                proc_exepath="/usr/bin/operator",
                user_name="nobody",
                user_uid=65534,
            )
        for hour in range(24):
            audit = self.pod("ops", f"account-audit-{29552400 + hour * 60}-{self.suffix()}", "ecr.acme/audit", "1.9")
            for file in ("/etc/shadow", "/etc/sudoers"):
                self.happens(
                    "read",
                    self.at(hour + 0.25, jitter=4),
                    audit,
                    fd_name=file,
                    proc_name="audit",
                    proc_cmdline="audit --accounts /etc",
                    proc_pname="python3",
                    proc_exepath="/opt/audit/audit",
                )
        for _ in range(46):
            build = self.pod("ci", f"build-{self.suffix(6)}", "ecr.acme/builder", "2026.03")
            program = pick(("unit.test", "e2e.test", "codegen"))
            self.happens(
                "drop",
                self.at(uniform(7.5, 19)),
                build,
                proc_name=program,
                proc_cmdline=f"{program} -v",
                proc_pname="make",
                proc_exepath=f"/workspace/bin/{program}",
            )
        for _ in range(9):  # the nightly build, which takes an hour
            build = self.pod("ci", f"nightly-{self.suffix(6)}", "ecr.acme/builder", "2026.03")
            self.happens(
                "drop",
                self.at(uniform(3.2, 4.4)),
                build,
                proc_name="e2e.test",
                proc_cmdline="e2e.test -v -all",
                proc_pname="make",
                proc_exepath="/workspace/bin/e2e.test",
            )
        for hour in (2, 6, 10, 14, 18, 22):
            scanner = self.pod("security", f"scanner-{self.suffix(9)}-{self.suffix()}", "ecr.acme/scanner", "4.0.2")
            for name in ("id_rsa", "id_ed25519", "id_dsa"):
                self.happens(
                    "keys",
                    self.at(hour + 0.1, jitter=50),
                    scanner,
                    proc_cmdline=f"find / -name {name}",
                    proc_pname="scanner",
                )
        web = [self.pod("shop", f"web-7d9c6f58b5-{self.suffix()}", "ecr.acme/shop-web", "3.12.0") for _ in range(4)]
        self.front = web[2]
        for _ in range(17):  # colleagues, in working hours
            pod, when = pick(web), self.at(uniform(8.2, 17.8))
            self.happens("terminal", when, pod, proc_tty=34816)
            if uniform(0, 1) < 0.25:
                self.happens(
                    "read",
                    when + timedelta(seconds=uniform(20, 90)),
                    pod,
                    proc_tty=34816,
                    proc_pname="bash",
                    proc_cmdline="cat /etc/shadow",
                    proc_aname=["cat", "bash", "containerd-shim"],
                )
        self.happens("terminal", self.at(1.2), web[0], proc_tty=34816)  # on call
        for pod in web:
            self.happens(
                "log",
                self.at(0.02, jitter=30),
                pod,
                fd_name="/var/log/nginx/access.log",
                proc_name="logrotate",
                proc_cmdline="logrotate /etc/logrotate.conf",
                proc_pname="crond",
                proc_exepath="/usr/sbin/logrotate",
            )

    def intrusion(self) -> None:
        """At night, by way of the web server: look around, take what there is, stay, move on, tidy up."""
        pod, uniform = self.front, self._random.uniform
        self.second = self.pod("batch", f"report-runner-{self.suffix(9)}-{self.suffix()}", "ecr.acme/report", "0.8.4")
        when = self.at(3 + 37 / 60)
        user = {"user_name": "www-data", "user_uid": 33}
        web = {
            "proc_pname": "nginx",
            "proc_pexe": "nginx",
            "proc_pexepath": "/usr/sbin/nginx",
            "proc_pcmdline": "nginx: worker process",
            "proc_aname": ["sh", "nginx", "nginx", "containerd-shim"],
            **user,
        }
        shell = {"proc_pname": "sh", "proc_pcmdline": "sh", "proc_aname": ["", "sh", "nginx", "nginx"], **user}
        steps: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
            (
                "traversal",
                pod,
                {
                    **web,
                    "proc_name": "nginx",
                    "proc_cmdline": "nginx: worker process",
                    "proc_exepath": "/usr/sbin/nginx",
                    "proc_pid": 31,
                },
            ),
            ("shell", pod, {**web, "proc_cmdline": "sh -c id"}),
            ("shell", pod, {**web, "proc_cmdline": "sh -c uname -a; env"}),
            ("aws", pod, {**shell, "proc_cmdline": "grep -rs aws_secret_access_key /var/www /home"}),
            ("keys", pod, {**shell, "proc_cmdline": "find / -name id_rsa"}),
            (
                "reverse",
                pod,
                {
                    **shell,
                    "proc_name": "bash",
                    "proc_cmdline": "bash -i",
                    "fd_name": "10.0.2.19:45012->203.0.113.7:443",
                },
            ),
            (
                "drop",
                pod,
                {
                    **shell,
                    "proc_name": "kworker",
                    "proc_cmdline": "kworker -o pool.invalid:443",
                    "proc_exepath": "/tmp/.X11/kworker",
                },
            ),
            ("api", pod, {**shell, "proc_cmdline": "curl -sk https://kubernetes.default.svc/api/v1/pods"}),
            (
                "api",
                pod,
                {**shell, "proc_cmdline": "curl -sk https://kubernetes.default.svc/api/v1/namespaces/batch/pods"},
            ),
            ("terminal", self.second, {"proc_tty": 34816}),
            ("read", self.second, {"proc_pname": "bash", "proc_tty": 34816}),
            ("shm", self.second, {"proc_pname": "bash", "proc_cmdline": "sh /dev/shm/.a", "proc_tty": 34816}),
            (
                "log",
                self.second,
                {
                    "proc_pname": "bash",
                    "proc_tty": 34816,
                    "fd_name": "/var/log/report.log",
                    "proc_cmdline": "sh -c : > /var/log/report.log",
                },
            ),
        ]
        for kind, where, fields in steps:
            self.happens(kind, when, where, **fields)
            when += timedelta(seconds=uniform(30, 260))


def recorded(lab: Lab, engine: rules.Engine) -> dict[str, rules.RecordedEvent]:
    """For each kind the event on which its rule alerts."""
    found = {}
    for kind, (command, tty, rule) in COMMANDS.items():
        with lab.record() as events:
            lab.exec("deploy/nginx", command, tty=tty, stdin="exit\n" if tty else None)
        found[kind] = next(event for event in events if engine.replay([event]).rules == [rule])
    return found


def lines(lab: Lab) -> Iterator[str]:
    """The alerts as JSON lines, in the order in which they happened."""
    engine = rules.load([lab.default_rules()])
    cluster = Cluster(recorded(lab, engine), seed=20260310)
    cluster.business()
    cluster.intrusion()
    for _, node, event in sorted(cluster.events, key=lambda item: item[:2]):
        for alert in engine.replay([event]):
            yield rules.Alert(**{**vars(alert), "hostname": node}).to_json()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        os.environ["LABKIT_HOME"] = home
        lab = Lab.connect()
        lab.ensure("falco", "nginx")
        text = "".join(f"{line}\n" for line in lines(lab))
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_bytes(gzip.compress(text.encode(), mtime=0))
        from ekslab import client

        client.stop(Path(home))
