"""The console: a link to the embedded lab's own, or on EKS links to AWS's console by region and name."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote, urlsplit

from falcorules import markup
from labkit.calls import near, short_repr
from labkit.connect import console_address
from labkit.errors import LabError
from labkit.settings import Settings
from labkit.show import in_notebook, watched
from labkit.target import Target

# Views of the embedded lab's console, and their names in AWS's console and in kubectl.
VIEWS = {
    "pipeline": "Pipeline",
    "logs": "CloudWatch, Log groups",
    "tail": "CloudWatch, Live Tail",
    "insights": "CloudWatch, Logs Insights",
    "metrics": "CloudWatch, All metrics",
    "alarms": "CloudWatch, Alarms",
    "dashboards": "CloudWatch, Dashboards",
    "nodes": "Cluster, Nodes",
    "pods": "Cluster, Pods",
    "events": "Cluster, Events",
    "rules": "Cluster, Falco rules",
    "terminal": "Cluster, Terminal",
    "findings": "Security Hub, Findings",
}
ROUTE = "falco-workshop/console"
"""Where a Jupyter server of the workshop leads to the console, below its own address."""
OPEN_BESIDE = "falco-workshop:console"
"""The command of the extension in `labkit/shell/labextensions`, which opens an address beside the notebook."""
IN_JUPYTERLAB = "LABKIT_JUPYTERLAB"
"""Environment variable of kernels of a JupyterLab that has that extension."""
ELSEWHERE = "elsewhere"
"""Its value where the person's browser is on another computer than the lab, as on a Hub or outside of a container."""


@dataclass(frozen=True, repr=False)
class Console:
    """Links to a console, by their names; shown at the end of a cell."""

    links: Mapping[str, str]
    beside: bool = False
    """Whether it can be opened beside the notebook in JupyterLab."""
    note: str = ""

    def __repr__(self) -> str:
        width = max(map(len, self.links), default=0)
        lines = [f"  {name:<{width}}  {url}" for name, url in self.links.items()]
        return "\n".join(["Console", *lines, *([self.note] if self.note else [])])

    def _repr_html_(self) -> str:
        rows = []
        for name, url in self.links.items():
            link = f'<a href="{escape(url)}" target="_blank" rel="noopener noreferrer">{escape(name)}</a>'
            if url.startswith("/"):  # below the address of this JupyterLab, which takes such links for files
                link = f"{escape(name)} &nbsp; {_button(url, 'In a tab', tab=True)}"
            if self.beside:
                link += f" &nbsp; {_button(url, 'Beside this notebook')}"
            rows.append(f"<li>{link}</li>")
        note = markup.styled(self.note, markup.FAINT, "div") if self.note else ""
        return f'<b>Console</b><ul style="margin:0.2em 0">{"".join(rows)}</ul>{note}'


def _button(url: str, text: str, **how: bool) -> str:
    """A button that JupyterLab's extension acts on."""
    arguments = escape(json.dumps({"url": url, **how}))
    return f'<button data-commandlinker-command="{OPEN_BESIDE}" data-commandlinker-args="{arguments}">{text}</button>'


_STORED = (
    "The console shows this lab live. Its link works once, for a person who is there: run this cell in JupyterLab, "
    "or type `labkit console` in a terminal."
)


def console(target: Target, view: str = "pipeline") -> Console:
    """See `Lab.console`."""
    if view not in VIEWS:
        hint = f"{near(view, VIEWS)}There are: {', '.join(VIEWS)}."
        raise LabError(f"The console has no view {short_repr(view)}.", hint=hint)
    if target.settings.target != "embedded":
        if lab := _lab_behind(target):
            who = "The instructor's" if target.settings.attendee else "There,"
            return Console({}, note=f"AWS is an embedded lab here ({lab}). {who} `labkit console` shows what is in it.")
        links = aws_links(target.settings, target.aws.identity.partition)
        chosen = {name: url for key, (name, url) in links.items() if view in ("pipeline", key)}
        note = "" if chosen else f"AWS's console has no such view: {VIEWS[view]}. `kubectl` shows it."
        return Console(chosen or dict(links.values()), note=note)
    if in_notebook() and not watched():
        return Console({}, note=_STORED)
    ports = jupyter_ports()
    url = console_address(target.settings, frames=ports)
    if view != "pipeline":
        url += f"&view={view}"
    note = "The link works once and within the hour, in a browser on this computer."
    if os.environ.get(IN_JUPYTERLAB) == ELSEWHERE:
        url = f"{_jupyter_base()}{ROUTE}{url[url.index('/open') :]}"
        note = "The link works once and within the hour. Outside of JupyterLab, put its host before it."
    return Console({f"Open the console: {VIEWS[view]}": url}, beside=bool(os.environ.get(IN_JUPYTERLAB)), note=note)


def _lab_behind(target: Target) -> str:
    """The address that stands for AWS, if it is one of this computer: AWS's console doesn't show what is there."""
    address = str(target.aws.client("logs").meta.endpoint_url)
    return address if urlsplit(address).hostname in ("localhost", "127.0.0.1", "::1") else ""


def jupyter_ports() -> list[int]:
    """The ports of this person's Jupyter servers on loopback, whose pages may show the console in a frame."""
    return [port for port, _ in _jupyter_servers()]


def _jupyter_base() -> str:
    """The path of this kernel's server below its host: what a Hub has given it, or the only server's."""
    if prefix := os.environ.get("JUPYTERHUB_SERVICE_PREFIX"):
        return prefix
    return next((base for _, base in _jupyter_servers()), "/")


def _jupyter_servers() -> list[tuple[int, str]]:
    """Ports and base paths of this person's Jupyter servers."""
    try:
        from jupyter_core.paths import jupyter_runtime_dir
    except ImportError:
        return []
    servers = []
    for file in sorted(Path(jupyter_runtime_dir()).glob("jpserver-*.json")):
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
            servers.append((int(known["port"]), str(known["base_url"])))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return servers


_HOSTS = {"aws-cn": "console.amazonaws.cn", "aws-us-gov": "console.amazonaws-us-gov.com"}


def aws_links(settings: Settings, partition: str = "aws") -> dict[str, tuple[str, str]]:
    """The pages of AWS's console: view -> its name, and the address by region and name."""
    region, group, prefix = settings.region, settings.log_group, settings.prefix
    host = f"https://{region}.{_HOSTS.get(partition, 'console.aws.amazon.com')}"
    watch = f"{host}/cloudwatch/home?region={region}#"
    query = "fields @timestamp, priority, rule\n| filter ispresent(rule)\n| sort @timestamp desc\n| limit 100"
    detail = (
        f"(end~0~start~-3600~timeType~'RELATIVE~unit~'seconds~editorString~'{_starred(query)}"
        f"~source~(~'{_starred(group)}))"
    )
    generator = quote(quote("\\operator\\:EQUALS\\:Falco", safe=""), safe="")
    return {
        "logs": (f"CloudWatch, log group {group}", f"{watch}logsV2:log-groups/log-group/{_dollars(group)}"),
        "tail": ("CloudWatch, Live Tail", f"{watch}logsV2:live-tail"),
        "insights": ("CloudWatch, Logs Insights", f"{watch}logsV2:logs-insights$3FqueryDetail$3D{detail}"),
        "metrics": (f"CloudWatch, metrics of {prefix}", f"{watch}metricsV2?graph=~()&query=~'{_starred(prefix)}"),
        "alarms": (f"CloudWatch, alarms of {prefix}", f"{watch}alarmsV2:?search={quote(prefix, safe='')}"),
        "dashboards": (f"CloudWatch, dashboard {prefix}", f"{watch}dashboards/dashboard/{quote(prefix, safe='')}"),
        "pods": (
            f"EKS, cluster {settings.cluster}",
            f"{host}/eks/clusters/{quote(settings.cluster, safe='')}?region={region}&selectedTab=cluster-resources-tab",
        ),
        "findings": (
            "Security Hub CSPM, findings of Falco",
            f"{host}/securityhub/home?region={region}#/findings?search=ProductName%3D{generator}",
        ),
    }


def _dollars(name: str) -> str:
    """A name in the part of a CloudWatch address after `#`: encoded twice, with `$` for the first percent sign."""
    return quote(quote(name, safe=""), safe="").replace("%", "$")


def _starred(text: str) -> str:
    """A text in the parameters of a CloudWatch view: what isn't a letter or digit as `*` and two hexadecimal digits."""
    return re.sub(r"[^A-Za-z0-9_.-]", lambda found: "".join(f"*{byte:02x}" for byte in found[0].encode()), text)
