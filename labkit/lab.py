"""`Lab`: the settings, clients and operations that a notebook uses.

    lab = Lab.connect()
    lab.ensure("nginx", "fluent-bit", "falco")
    lab.exec("deploy/nginx", "cat /etc/shadow")
    lab.wait_for_alert("Read sensitive file untrusted")

No method depends on which target the lab is on.
"""

from __future__ import annotations

import os
import shlex
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.calls import checked, near, short_repr, shortened, texts
from labkit.errors import LabError
from labkit.settings import Settings
from labkit.show import in_notebook, say

if TYPE_CHECKING:
    import pandas as pd

    from falcorules import RecordedEvent
    from labkit.alerts.live import Following
    from labkit.alerts.times import When
    from labkit.attacks import Attack, Outcomes
    from labkit.attacks.catalogue import AttackName
    from labkit.aws import Aws
    from labkit.console import Console
    from labkit.drafts.draft import Draft
    from labkit.exercises import Feedback
    from labkit.kube import ExecResult
    from labkit.kube.pods import Pods
    from labkit.provision.audit import Audit
    from labkit.provision.preflight import Preflight
    from labkit.provision.steps import Change, StepName, StepResult
    from labkit.respond.dashboard import Dashboard
    from labkit.show import Table
    from labkit.source import Source
    from labkit.target import Target


@checked
class Lab:
    """A target, connected. `Lab.connect(...)` is the way to get one.

    `aws` makes boto3 clients, `kube` talks to the cluster, `helm` installs charts, `ledger` remembers what was made.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.settings = target.settings
        self.aws = target.aws
        self.kube = target.kube
        self.helm = target.helm
        self.ledger = target.ledger
        self._since = self.kube.now()

    @classmethod
    def connect(
        cls,
        *,
        target: str | None = None,
        region: str | None = None,
        cluster: str | None = None,
        context: str | None = None,
        profile: str | None = None,
        role: str | None = None,
        identity: str | None = None,
        log_group: str | None = None,
        log_stream: str | None = None,
        retention_days: Any = None,
        logging_namespace: str | None = None,
        falco_namespace: str | None = None,
        app_namespace: str | None = None,
        role_name: str | None = None,
        prefix: str | None = None,
        attendee: str | None = None,
        rule_tiers: str | None = None,
        falco_privileges: str | None = None,
        timeout: Any = None,
        alert_timeout: Any = None,
        nodes: Any = None,
        idle_minutes: Any = None,
        aws_port: Any = None,
        kubernetes_port: Any = None,
        home: Path | str | None = None,
        root: Path | str | None = None,
        start: bool = True,
        partly: bool = False,
    ) -> Lab:
        """Connects to a lab and checks that AWS and the cluster answer. What isn't given is the setting `LABKIT_*`.

        * `target`: `embedded` (default; started if it isn't running) or `eks`
        * `region`, `cluster`: AWS region, and name of the EKS cluster in it
        * `context`: kubeconfig context on `eks` (default: the cluster's own endpoint and a token)
        * `profile`: profile of the AWS configuration on `eks`; `role`: ARN of a role to assume for everything
        * `identity`: how Fluent Bit gets its role, `irsa` (default) or `pod-identity`
        * `log_group`, `log_stream`, `retention_days`: where alerts go in CloudWatch Logs, and for how long
        * `logging_namespace`, `falco_namespace`, `app_namespace`: namespaces of Fluent Bit, of Falco and of nginx
        * `rule_tiers` (`incubating,sandbox`): Falco's rules besides the stable ones; `falco_privileges`: `all`, `least`
        * `role_name`: IAM role of Fluent Bit; `prefix`: beginning of the other names in AWS
        * `attendee`: who works on a shared cluster, such as `"07"`: namespace and prefix become `attendee-07`'s own
        * `timeout`, `alert_timeout`: seconds (or `"5m"`) to wait for a rollout, and for an alert to arrive
        * `nodes`, `idle_minutes`, `aws_port`, `kubernetes_port`: the embedded lab's nodes, minutes without a request
          until it ends, and ports
        * `home`, `root`: folder of the lab's state, and of the workshop (`manifests/`, `custom-rules/`)
        * `start=False`: raises `NoLabError` instead of starting the embedded lab
        * `partly=True`: AWS or the cluster may give no answer, so that what is there can be torn down

        Raises `SettingsError`, `TargetError` (credentials, region, cluster, kubeconfig) or `NotRunningError`.
        """
        given = {name: value for name, value in locals().items() if name not in ("cls", "start", "partly")}
        from labkit.connect import connect

        settings = Settings.load(**given)
        if settings.target == "eks" and region is None and "LABKIT_REGION" not in os.environ:
            settings = replace(settings, region="")  # the default is the embedded lab's; here boto3 knows better
        lab = cls(connect(settings, start=start, partly=partly))
        if in_notebook():
            from IPython import get_ipython

            from labkit import completion, unset
            from labkit.drafts.cell import register

            register(lab.target)
            completion.register(get_ipython())
            unset.load_ipython_extension(get_ipython())
        return lab

    def __repr__(self) -> str:
        s = self.settings
        return f"Lab on {s.target}: cluster {s.cluster}, region {s.region}"

    # Provisioning

    def apply(self, step: StepName, *, timeout: float | None = None, **options: Any) -> StepResult:
        """Applies one step; applied again, it changes nothing. `custom-rules` takes `files=...`, one or a list.

        Steps that it needs and that were never applied are applied first; the result shows them, too. Steps that need
        it and have lost parts to what it makes again (a log group takes its metric filters along) are named in the
        result (`lost`), and not applied. `timeout` is for rollouts, in seconds or as in `"5m"` (default: the setting).
        Raises `StepError` with the step and what is wrong, in the words of the part that refused.
        """
        from labkit.provision.steps import applying

        target = self.target
        if timeout is not None:
            target = replace(target, settings=replace(self.settings, timeout=timeout))
        *needed, result = applying(target, [step], **options)
        return replace(result, needed=tuple(needed))

    def ensure(self, *steps: StepName | Iterable[StepName]) -> Table:
        """Applies steps and all that they need, in order; one row each. Without arguments: all steps.

        Other steps that have lost parts to what was made again (`StepResult.lost`) have a row, too.
        """
        from labkit.provision.steps import STEPS, with_lost
        from labkit.show import Table
        from labkit.waiting import progress

        chosen = STEPS.with_needs(texts(steps, "step") or STEPS.ORDER)
        names = [step.name for step in chosen]
        lost: dict[str, Change] = {}
        with self.helm.reading_once():
            for step in progress(chosen, "Steps", len(chosen), lambda step: step.name):
                result = with_lost(self.target, step.apply(self.target), names)
                lost |= {change.name: change for change in result.lost}
        rows = [(s.name, "ready", s.title) for s in chosen] + [(c.name, c.action, c.why) for c in lost.values()]
        return Table("In place", ("step", "state", "what"), tuple(rows))

    def status(self) -> Table:
        """Every step with what is there of it: `applied`, `not ready` (and why), `partly` or `absent`."""
        from labkit.provision.steps import STEPS
        from labkit.show import Table

        with self.helm.reading_once():
            found = [step.status(self.target) for step in STEPS]
        what = [textwrap.shorten(s.fault, 120, placeholder=" ...") or s.title for s in found]
        rows = tuple((s.step, s.state, text) for s, text in zip(found, what, strict=True))
        return Table("Steps", ("step", "state", "what"), rows)

    def cli(self, step: StepName) -> str:
        """The commands that do by hand what a step does."""
        from labkit.provision.steps import STEPS
        from labkit.show import Cli

        return Cli(STEPS[step].cli(self.target))

    def show(
        self,
        what: Any,
        *,
        mark: str | Iterable[str] | Mapping[str, str] = (),
        language: str | None = None,
    ) -> Source:
        """A file, a dict or list (as JSON), or a text, in colour. Printed, it is the text.

        `what` is a path in the workshop's folder, such as `manifests/falco/values.yaml`; a text needs a line break or
        its `language` (`yaml`, `json`, `bash`...). `mark` takes regular expressions of the lines to mark, and with
        `{pattern: note}` what to say about them. The placeholders of a template are listed with their values here.
        Raises `StepError` if the file can't be read, `LabError` for a pattern that no line matches.
        """
        from labkit.provision.iam import policy_values
        from labkit.provision.templates import placeholders
        from labkit.source import source

        shown = source(what, self.settings.root, mark=mark, language=language)
        return replace(shown, placeholders=placeholders(self.target, shown.text, **policy_values(self.target)))

    def undo(self, step: StepName) -> StepResult:
        """Deletes what the step made; what was there before the lab stays.

        Raises `TeardownError` (a `StepError`) with what can't be deleted and why.
        """
        from labkit.provision.steps import STEPS, TeardownError, table_of

        result = STEPS[step].undo(self.target)
        if result.left:
            raise TeardownError(result.left, table_of(f"{step}: {result.action}", result.changes))
        return result

    def teardown(self) -> Table:
        """Undoes every step, last first; after an interruption, run it again.

        It continues after errors, and raises `TeardownError` at the end, with what is left and why.
        """
        from labkit.attacks.pods import remove_left
        from labkit.connect import end_noise
        from labkit.provision.steps import STEPS, undo_all

        end_noise(self.target)
        remove_left(self.target)
        return undo_all(self.target, STEPS)

    def audit(self) -> Audit:
        """What is left of the workshop, found by ledger, by tag and by name; `.clean` if nothing is."""
        from labkit.provision.audit import audit

        return audit(self.target)

    def preflight(self, *chapters: str) -> Preflight:
        """What stands in the way of chapters (`"01"`; default: all), what they make, and what that costs an hour.

        `.passed` if there is no blocker, `.failures` what to do otherwise. It changes nothing.
        """
        from labkit.provision.preflight import preflight

        return preflight(self.target, chapters)

    @property
    def cluster(self) -> dict[str, Any]:
        """EKS's description of the cluster. Raises `TargetError` if there is no such cluster."""
        return self.target.cluster

    def pods(self, namespace: str = "", *, labels: str = "") -> Pods:
        """The pods of a namespace (default: the application's), with what keeps some from being ready.

        `labels` is a selector such as `app=nginx`. The result's `items` are the pods as the API has them.
        """
        from labkit.kube.pods import pods

        return pods(self.kube, namespace or self.settings.app_namespace, labels)

    # Triggering

    def exec(
        self,
        target: str,
        *argv: Any,
        tty: bool = False,
        stdin: str | bytes | None = None,
        container: str = "",
        namespace: str = "",
        timeout: float = 60.0,
    ) -> ExecResult:
        """Runs a command in a pod and returns what it printed and its exit code.

        `target` is `deploy/nginx`, a pod, `namespace/pod` or a bare name. Several arguments, or a list, are the program
        and its arguments; a single text is a command line, which `sh` runs if it takes a shell (`|`, `&&`, `$`...).
        `tty` gives the command a terminal, as `kubectl exec -t` does at a terminal; `stdin` is its input. Raises
        `ExecError` if it can't be run.
        """
        from labkit.kube.command import command
        from labkit.waiting import waiting

        words = command(*argv)
        self._since = self.kube.now()
        namespace = namespace or self.settings.app_namespace
        with waiting(f"`{shortened(shlex.join(words), 60)}` to end", timeout):
            return self.kube.exec(
                target, words, namespace=namespace, container=container, tty=tty, stdin=stdin, timeout=timeout
            )

    @contextmanager
    def record(self, file: Path | str | None = None, *, namespace: str = "") -> Iterator[list[RecordedEvent]]:
        """Records the system calls that containers make meanwhile: `with lab.record("visit.jsonl") as events: ...`.

        `events` is filled at the end of the block; `file` gets them as lines of JSON, which `Engine.replay` and
        `labkit rules replay` read. By default the application's namespace is recorded. Raises `TargetError` on a real
        cluster, where Falco hands out alerts only.
        """
        from falcorules import read_events

        namespace = namespace or self.settings.app_namespace
        if self.kube.get("Namespace", namespace) is None:
            there = [item["metadata"]["name"] for item in self.kube.list("Namespace")]
            hint = f"{near(namespace, there)}There are: {', '.join(there)}."
            raise LabError(f"There is no namespace {short_repr(namespace)}.", hint=hint)
        events: list[RecordedEvent] = []
        lines: list[str] = []
        if file is not None:
            _write_events(file, lines)  # raises at once if the file can't be written
        try:
            with self.target.record(namespace) as lines:
                yield events
        finally:
            events += read_events(lines)
            if file is not None:
                _write_events(file, lines)

    def attack(self, *names: AttackName | Attack | Iterable[AttackName | Attack], benign: bool = False) -> Outcomes:
        """Runs attacks of the catalogue in the application's pod; outcomes by name, each with the alert it raised.

        `benign`: runs their twins, which are much like them and must not alert. Ctrl-C ends the whole; what was seen
        until then is returned.
        """
        from labkit.attacks import run

        self._since = self.kube.now()
        return run(self.target, *names, benign=benign)

    def console(self, view: str = "pipeline") -> Console:
        """A link to the console, which shows live what happens in the embedded lab; on `eks`, links to AWS's console.

        `view` is the page that it begins with: `pipeline`, `logs`, `tail`, `insights`, `metrics`, `alarms`,
        `dashboards`, `nodes`, `pods`, `events`, `rules`, `terminal` or `findings`. The link works once, in a browser on
        this computer. Raises `LabError` for another view.
        """
        from labkit.console import console

        return console(self.target, view)

    def as_service_account(self, namespace: str, name: str) -> Aws:
        """AWS with the credentials of a service account's role, by a token of the cluster for it.

        Raises `TargetError` if STS refuses, `StepError` if the account isn't there or has no role.
        """
        from labkit.provision.iam import assume_role_of

        return assume_role_of(self.target, namespace, name)

    def falco_rules(self) -> pd.DataFrame:
        """The rules that a running Falco has loaded (`falco -L`): `rule`, `priority`, `tags`..."""
        from labkit.alerts.falco_rules import loaded_rules

        return loaded_rules(self.target)

    def default_rules(self) -> tuple[str, str]:
        """Name and text of a running Falco's default rule file, after which custom rules are loaded."""
        from labkit.alerts.falco_rules import default_rules

        return default_rules(self.target)

    def draft(self, name: str) -> Draft:
        """The rule of the cell that begins with `%%rule NAME`, as it was run last.

        `.text`, `.report` (Falco's), `.ready`, `.replay` (its alerts on the recording), `.engine`, `.why()`. A path to
        everything that takes one: `lab.apply("custom-rules", files=[lab.draft("mine")])`. Raises `DraftError` if there
        is none.
        """
        from labkit.drafts.draft import load

        return load(self.target, name)

    # Alerts

    def alerts(
        self,
        start: When | None = None,
        end: When | None = None,
        *,
        rule: str | Iterable[str] | None = None,
        pod: str | None = None,
        priority: str | None = None,
        limit: int | None = None,
        after: pd.DataFrame | None = None,
        by: str | None = None,
    ) -> pd.DataFrame:
        """Alerts in the log group as a typed frame, oldest first; columns and `attrs` as in `labkit.alerts.read`.

        `start` and `end` are times with a zone, or how long ago (`"1h"`, `"5 minutes"`, a timedelta); left out, they
        are no bound. `rule` is the name of a rule, or several; `pod` a pod's, with its namespace or without
        (`"default/web-0"`); `priority` the lowest (`"Warning"`: that and what is more severe). `limit=100` gives the
        newest 100. `after=df` gives what came since, without what `df` has. Stopped by Ctrl-C, it gives what was read
        until then, and `df.attrs["complete"]` is False. `by="insights"` reads a long window by Logs Insights, which
        costs money, and says about how much (`labkit.alerts.read_by_insights`). On a shared cluster an attendee gets
        the alerts of the own namespace.

        Raises `LabError` with similar names for a `rule` without alerts that Falco hasn't loaded.
        """
        from labkit.alerts import insights_price, read, read_by_insights
        from labkit.alerts.choice import Choice
        from labkit.alerts.diagnose import refuse_unknown
        from labkit.alerts.frame import Found
        from labkit.alerts.reader import reading
        from labkit.charts import accessor  # noqa: F401  registers df.falco

        scope = self.settings.scope
        choice = Choice.of(rule, pod, priority, scope)
        logs, group = self.aws.client("logs"), self.settings.log_group
        chosen: dict[str, Any] = {
            "rule": choice.rules or None,
            "pod": pod,
            "priority": priority,
            "namespace": scope or None,
        }
        if by not in (None, "insights"):
            raise LabError(f"by is {short_repr(by)}.", hint='Say by="insights", or leave it out: FilterLogEvents.')
        if by and (limit is not None or after is not None):
            raise LabError("Insights reads a whole window.", hint="Leave limit= and after= out, or by=.")
        if by:
            say(repr(insights_price(logs, group, start, end)))
        with reading() as shown:
            if by:
                df = read_by_insights(logs, group, start, end, **chosen, progress=shown)
            else:
                df = read(logs, group, start, end, **chosen, limit=limit, after=after, progress=shown)
        if not df.empty or not df.attrs["complete"]:
            return df
        for name in choice.rules if after is None else ():
            refuse_unknown(self.target, name)
        bounds = [f" {word} {bound}" for word, bound in (("since", start), ("until", end)) if bound is not None]
        others = " beside those that were given" if after is not None else ""
        named = " (A pod is named in full: lab.pods() lists them.)" if choice.pod else ""
        return Found(df, f"No alerts{choice}{''.join(bounds)}{others} in log group {self.settings.log_group}.{named}")

    def read_alerts(self, file: Path | str) -> pd.DataFrame:
        """The alerts of a file: lines as Falco prints them, Parquet, an export of CloudWatch Logs to S3 (its folder)...

        See `labkit.alerts.read_file`. The path counts from here or from the workshop's folder. Columns as in `alerts`;
        `attrs["skipped"]` counts lines that are no alerts. Raises `LabError` for a file that can't be read, and for one
        without an alert.
        """
        from labkit.alerts import read_file
        from labkit.charts import accessor  # noqa: F401  registers df.falco

        there = self.settings.root / file
        return read_file(there if there.exists() and not Path(file).exists() else file)

    def wait_for_alert(
        self,
        rule: str | None = None,
        *,
        where: Callable[[pd.Series[Any]], bool] | Mapping[str, Any] | None = None,
        since: When | None = None,
        timeout: float | None = None,
    ) -> pd.Series[Any]:
        """The latest alert of `rule` since the last command was run here, as soon as CloudWatch Logs has it.

        `where` narrows it down: `{"proc.name": "cat"}`, or a function of the alert. `since` is a time with its zone or
        how long ago; `timeout` is in seconds. The result, a Series that a notebook shows as a card, holds the alert's
        fields that have a value, under Falco's names. Raises `AlertTimeoutError` that says which link of the chain is
        broken.
        """
        from labkit.alerts.arrival import wait_for_alert

        return wait_for_alert(
            self.target,
            rule,
            where=where,
            since=self._since if since is None else since,
            timeout=self.settings.alert_timeout if timeout is None else timeout,
        )

    def alerts_of(self, result: ExecResult, *, timeout: float | None = None) -> pd.DataFrame:
        """The alerts that a command raised while it ran, or for certain none: `lab.alerts_of(lab.exec(...))`.

        Columns as in `alerts`. It raises one more alert in the same container, a marker, and waits until that has
        arrived; so nothing is waited for that may never come. An empty result, when shown, says so. `timeout` is in
        seconds (default: the setting `alert_timeout`). Raises `ExecError` if no marker can be raised (the pod is gone,
        or has no `cat`), `AlertTimeoutError` with the broken link if the marker doesn't arrive.
        """
        from labkit.alerts.arrival import alerts_of
        from labkit.charts import accessor  # noqa: F401  registers df.falco

        return alerts_of(self.target, result, timeout=self.settings.alert_timeout if timeout is None else timeout)

    def wait_for_log(
        self, pattern: str, *, since: When | None = None, timeout: float | None = None
    ) -> Mapping[str, Any]:
        """The latest log event that a CloudWatch Logs filter pattern matches, alert or not, once it is there.

        Keys as FilterLogEvents has them (`message`, `timestamp` in ms, `logStreamName`...). By default any age will
        do; the line of a canary that was replaced since doesn't count. Raises `AlertTimeoutError` that says where the
        line got stuck: it wasn't printed, wasn't shipped, or the log group is another.
        """
        from labkit.alerts.arrival import wait_for_log

        return wait_for_log(
            self.target, pattern, since=since, timeout=self.settings.alert_timeout if timeout is None else timeout
        )

    def wait_until(self, look: Callable[[], Any], what: str, *, timeout: float | None = None) -> Any:
        """The first result of `look()` that isn't None; `what` says what is waited for.

        Raises `LabError` after `timeout` seconds (default: the setting).
        """
        from labkit.waiting import poll

        seconds = self.settings.timeout if timeout is None else timeout
        found = poll(look, what, seconds)
        if found is None:
            raise LabError(f"Waited {seconds:g} s for {what}: it isn't there.", hint="Run it again to go on waiting.")
        return found

    def follow(self, *, timeout: float | None = None) -> Following:
        """Alerts from now on, one by one as they become readable: `with lab.follow() as stream: first = next(stream)`.

        Each is as `wait_for_alert` returns it. In a notebook, a table grows with each that is taken. The stream ends
        after `timeout` seconds (default: the setting `alert_timeout`), or when the cell is stopped. Raises
        `AlertTimeoutError` if the `with` block asks for an alert and none came.
        """
        from labkit.alerts.choice import Choice
        from labkit.alerts.live import Following, follow_events
        from labkit.alerts.times import utc

        seconds = self.settings.alert_timeout if timeout is None else timeout
        client, group = self.aws.client("logs"), self.settings.log_group
        start, choice = utc(self.kube.now()), Choice(namespace=self.settings.scope)
        batches = follow_events(client, group, start, timeout=seconds, poll=0.2, filter_pattern=choice.pattern())
        return Following(map(choice.events, batches) if self.settings.scope else batches, seconds)

    def insights(
        self, text: str, start: When = "1h", end: When = "now", *, limit: int | None = None, timeout: float = 60.0
    ) -> pd.DataFrame:
        """The result of a Logs Insights query over the alerts; see `labkit.alerts.insights`.

        For an attendee on a shared cluster the query begins with a filter for the alerts of the own namespace.
        """
        from labkit.alerts.query import insights, limited

        query = limited(text, self.settings.scope)
        client, group = self.aws.client("logs"), self.settings.log_group
        return insights(client, query, log_group=group, start=start, end=end, limit=limit, timeout=timeout)

    # Responding

    def wait_for_counts(self, alerts: pd.DataFrame, *, timeout: float | None = None) -> pd.DataFrame:
        """What CloudWatch's metrics have counted, as soon as that is as much as `alerts`, or after `timeout` seconds.

        `alerts` is what `labkit.respond.metrics.count` gives; the result is such a frame, too.
        """
        from labkit.provision.metric_filters import requests
        from labkit.respond import metrics

        counters = metrics.counters(requests(self.target), self.settings.scope)
        by = next((name for name in alerts.columns if name not in ("period", "count")), "")
        if by not in counters or "count" not in alerts.columns:
            raise LabError(
                f"These are no counts: the columns are {', '.join(map(str, alerts.columns))}.",
                hint="Give it what labkit.respond.metrics.count(...) gives.",
            )
        seconds = self.settings.timeout if timeout is None else timeout
        return metrics.wait(self.aws.client("cloudwatch"), counters[by], alerts, timeout=seconds)

    def wait_for_alarm(self, name: str, state: str = "ALARM", *, timeout: float | None = None) -> dict[str, Any]:
        """The alarm as DescribeAlarms shows it, as soon as it is in `state`.

        Raises `LabError` after `timeout` seconds (default: the setting), with CloudWatch's reason for its state.
        """
        from labkit.respond.alarms import wait_for_alarm

        seconds = self.settings.timeout if timeout is None else timeout
        return wait_for_alarm(self.aws.client("cloudwatch"), name, state, timeout=seconds)

    def alarm_history(self, name: str, limit: int = 20) -> pd.DataFrame:
        """The last `limit` entries of an alarm's history, oldest first: changes of state, actions, configuration.

        Columns: `time` (UTC), `type`, `summary`, `reason`. Raises `LabError` if CloudWatch has no history of it.
        """
        from labkit.respond.alarms import history

        return history(self.aws.client("cloudwatch"), name, limit)

    def dashboard(self, name: str | None = None) -> Dashboard:
        """A CloudWatch dashboard (default: the workshop's) with its widgets drawn, as they are now.

        Raises `LabError` if there is no such dashboard.
        """
        from labkit.respond.dashboard import read

        return read(self.aws.client("cloudwatch"), self.aws.client("logs"), name or self.settings.prefix)

    def wait_for_findings(
        self, ids: str | Iterable[str], *, where: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> list[dict[str, Any]]:
        """Findings as Security Hub has them, by their Ids and in that order, as soon as all are there.

        `where` are values that they must have, too, such as `{"RecordState": "ARCHIVED"}`. Raises `AlertTimeoutError`
        after `timeout` seconds (default: the setting), with what keeps the forwarder from making them.
        """
        from labkit.provision.forwarder_diagnosis import broken_link
        from labkit.respond import findings

        seconds = self.settings.timeout if timeout is None else timeout
        hub = self.aws.client("securityhub")
        why = partial(broken_link, self.target)
        return findings.wait_for(hub, texts(ids, "id"), where=where, timeout=seconds, why=why)

    def notifications(self, *, timeout: float = 0.0) -> pd.DataFrame:
        """Notifications of alarms, taken out of their queue; waits up to `timeout` seconds for the first.

        Columns: `time` (UTC), `alarm`, `old`, `new`, `reason`. Raises `StepError` if there is no queue.
        """
        from labkit.provision.alarms import notification_queue
        from labkit.respond.alarms import notifications

        return notifications(self.aws.client("sqs"), notification_queue(self.target), timeout=timeout)

    # Exercises

    def check(self, exercise: str, *answers: Any) -> Feedback:
        """Says whether the answer to a chapter's exercise is right, and if not, what about it isn't.

        Raises `NotYet` for an answer that is wrong or still `...`, so that `Run All Cells` stops there, and `LabError`
        if there is no such exercise.
        """
        from labkit import exercises

        return exercises.check(self.target, exercise, *answers)

    def hint(self, exercise: str) -> Feedback:
        """A hint for an exercise; called again, another one, and at last a solution."""
        from labkit import exercises

        return exercises.hint(self.target, exercise)

    def checkpoint(self, chapter: str, conditions: Mapping[str, Callable[[], Any]]) -> Feedback:
        """Says whether a chapter is complete: its exercises are solved, and `conditions` hold.

        The keys of `conditions` say in words what each is about. Raises `NotYet` with what is missing and which cell to
        run.
        """
        from labkit import exercises

        return exercises.checkpoint(self.target, chapter, conditions)

    def progress(self) -> Table:
        """Every exercise and checkpoint, and which are done; kept in the state folder."""
        from labkit.exercises import table

        return table(self.settings)


def _write_events(file: Path | str, lines: list[str]) -> None:
    from falcorules import EventError, write_lines

    try:
        write_lines(file, lines)
    except EventError as error:
        raise LabError(error.message, hint=error.hint) from error
