"""Delivery under torture: batches come twice and in another order, functions die, imports fail; no alert is lost.

The lab's own AWS runs in this process, the shipped function in processes of its own. Between the log group and the
function, and between the function and Security Hub, is what goes wrong on a bad day.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from ekslab.aws import Aws as EmbeddedAws
from ekslab.aws import lambda_invocations
from ekslab.aws.lambda_functions import digest
from ekslab.aws.protocols import AwsError
from ekslab.identity import Credentials, ServiceAccountIssuer
from labkit.aws import Aws
from labkit.ledger import Ledger
from labkit.provision.findings_forwarder import dead_letter_queue, function_name
from labkit.provision.steps import STEPS
from labkit.respond import forwarder
from labkit.respond.forwarder import to_asff
from labkit.settings import Settings

ACCOUNT, REGION, CLUSTER = "111122223333", "us-east-1", "falco-workshop"
PRIORITIES = ("Emergency", "Critical", "Error", "Warning", "Notice", "Informational")
STREAMS = ("node-a", "node-b", "node-c")


class BadDay:
    """Stands before Security Hub: a request is refused, half of it fails, or the function dies before or after it."""

    def __init__(self, real: Any, chance: random.Random, processes: Callable[[], list[int]]) -> None:
        self._real = real
        self._chance = chance
        self._processes = processes
        self.trouble: Counter[str] = Counter()
        self.over = False

    def resources(self, call: Any, p: Any) -> list[str]:
        return list(self._real.resources(call, p))

    async def handle(self, call: Any, p: Any, caller: Any) -> dict[str, Any]:
        if call.operation != "BatchImportFindings":
            return dict(await self._real.handle(call, p, caller))
        cursed = [finding for finding in p["Findings"] if finding["GeneratorId"] == "falco/Cursed"]
        findings = [finding for finding in p["Findings"] if finding not in cursed]
        failed = [(finding["Id"], "InvalidInput", "It is cursed.") for finding in cursed]
        kind = "none" if self.over else self._pick()
        self.trouble[kind] += 1
        if kind == "throttled":
            raise AwsError("TooManyRequestsException", "Rate exceeded", 429)
        if kind == "killed before":
            self._kill()
            return {}  # delivered nowhere
        if kind == "half":
            failed += [(finding["Id"], "InternalFailure", "Try again") for finding in findings[::2]]
            findings = findings[1::2]
        if findings:
            answer = await self._real.handle(call, {"Findings": findings}, caller)
            assert answer["FailedCount"] == 0, answer
        if kind == "killed after":
            self._kill()
        members = ("Id", "ErrorCode", "ErrorMessage")
        return {
            "SuccessCount": len(findings),
            "FailedCount": len(failed),
            "FailedFindings": [dict(zip(members, failure, strict=True)) for failure in failed],
        }

    def _pick(self) -> str:
        kinds = ("none", "throttled", "half", "killed before", "killed after")
        return self._chance.choices(kinds, weights=(30, 10, 10, 35, 15))[0]

    def _kill(self) -> None:
        for pid in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class BadPost:
    """Stands before the function: what a subscription delivers comes in another order, and some of it twice."""

    def __init__(self, real: Any, chance: random.Random) -> None:
        self._real = real
        self._chance = chance
        self._held: list[tuple[str, str]] = []
        self.twice = 0

    def permits(self, service: str, source_arn: str, function_arn: str) -> bool:
        return bool(self._real.permits(service, source_arn, function_arn))

    def submit(self, function_arn: str, payload: str) -> None:
        self._held.append((function_arn, payload))
        if self._chance.random() < 0.25:
            self.twice += 1
            self._held.append((function_arn, payload))
        self._chance.shuffle(self._held)
        while len(self._held) > 4:
            self._real.submit(*self._held.pop())

    def hand_over(self) -> None:
        while self._held:
            self._real.submit(*self._held.pop())


class TortureLab:
    """An embedded AWS on a loopback port with the forwarder in it, applied by its step."""

    def __init__(self, folder: Path, workshop: Path, seed: int) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        keys = Credentials()
        issuer = ServiceAccountIssuer("https://oidc.eks.us-east-1.amazonaws.com/id/0")
        self.embedded = EmbeddedAws(
            credentials=keys,
            issuer=issuer,
            account_id=ACCOUNT,
            region=REGION,
            cluster=CLUSTER,
            trusted_code=[digest(Path(forwarder.__file__).read_bytes())],
        )
        self._runner = self.run(self._serve())
        self.aws = Aws(
            REGION,
            endpoint=self.embedded.url,
            keys={"aws_access_key_id": keys.access_key_id, "aws_secret_access_key": keys.secret_access_key},
            hint="",
        )
        settings = Settings.load(environ={}, root=workshop, home=folder)
        lab: Any = SimpleNamespace(aws=self.aws, settings=settings, ledger=Ledger(folder / "ledger.json"))
        self.aws.client("securityhub").enable_security_hub(EnableDefaultStandards=False)
        STEPS["log-group"].apply(lab)
        STEPS["findings-forwarder"].apply(lab)
        self.function, self.queue = function_name(lab), dead_letter_queue(lab)
        self._invocations = self.embedded.functions._invocations
        # Dice for each: who throws first depends on how fast this computer is.
        self.hub = BadDay(self.embedded._services["securityhub"], random.Random(f"hub {seed}"), self._processes)
        self.post = BadPost(self.embedded.functions, random.Random(f"post {seed}"))
        self.embedded._services["securityhub"] = self.hub
        self.embedded.logs.region(REGION).subscription_filters._functions = self.post

    async def _serve(self) -> web.AppRunner:
        runner = web.AppRunner(self.embedded.web_app(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.embedded.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    def _processes(self) -> list[int]:
        return [warm.environment.pid for warm in self._invocations._warm if warm.environment.pid]

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(280)

    def settle(self) -> None:
        """Waits until nothing is being invoked and nothing waits to be."""

        async def settled() -> None:
            self.post.hand_over()
            while self._invocations._tasks or self._invocations._timers:
                await asyncio.sleep(0.01)

        self.run(settled())

    def put(self, stream: str, messages: list[str]) -> None:
        events = [{"timestamp": int(time.time() * 1000), "message": message} for message in messages]
        self.aws.client("logs").put_log_events(logGroupName="falco", logStreamName=stream, logEvents=events)

    def findings(self) -> list[dict[str, Any]]:
        pages = self.aws.client("securityhub").get_paginator("get_findings").paginate()
        return [finding for page in pages for finding in page["Findings"]]

    def dead_letters(self) -> list[dict[str, Any]]:
        """All that is in the queue, taken out of it."""
        sqs = self.aws.client("sqs")
        url = sqs.get_queue_url(QueueName=self.queue)["QueueUrl"]
        letters: list[dict[str, Any]] = []
        while found := sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):  # fmt: skip
            letters += found
            for letter in found:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=letter["ReceiptHandle"])
        return letters

    def stop(self) -> None:
        self.run(self._runner.cleanup())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.fixture
def make_lab(tmp_path: Path, workshop: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], TortureLab]]:
    monkeypatch.setattr(lambda_invocations, "RETRY_DELAYS", (0.05, 0.1))
    labs: list[TortureLab] = []

    def make(seed: int) -> TortureLab:
        labs.append(TortureLab(tmp_path, workshop, seed))
        return labs[-1]

    yield make
    for lab in labs:
        lab.stop()


def alert(number: int, chance: random.Random, rule: str = "") -> dict[str, Any]:
    """An alert of a pod; each number is another."""
    second, nanosecond = divmod(number * 137, 60)
    pod = f"web-{chance.randrange(3)}"
    return {
        "hostname": chance.choice(STREAMS),
        "time": f"2026-11-23T04:{number % 60:02d}:{nanosecond:02d}.{second:09d}Z",
        "rule": rule or chance.choice(("Terminal shell in container", "Read sensitive file untrusted")),
        "priority": chance.choice(PRIORITIES),
        "source": "syscall",
        "output": f"event {number}",
        "tags": ["container", "mitre_execution", "T1059"],
        "output_fields": {"evt.type": "execve", "k8s.ns.name": "shop", "k8s.pod.name": pod, "proc.pid": number},
    }


def finding_id(alert: dict[str, Any]) -> str:
    return str(to_asff(alert, account_id=ACCOUNT, region=REGION, partition="aws", cluster=CLUSTER)["Id"])


def delivered(body: dict[str, Any]) -> list[str]:
    """The messages of a delivery that became a dead letter as a whole."""
    document = json.loads(gzip.decompress(base64.b64decode(body["awslogs"]["data"])))
    return [event["message"] for event in document["logEvents"]]


@pytest.mark.parametrize("seed", [3, 5])
def test_every_alert_is_one_finding_or_a_dead_letter_with_its_reason(
    make_lab: Callable[[int], TortureLab], seed: int
) -> None:
    lab, chance = make_lab(seed), random.Random(seed)
    for stream in STREAMS:
        lab.aws.client("logs").create_log_stream(logGroupName="falco", logStreamName=stream)
    alerts = {json.dumps(one): one for one in (alert(number, chance) for number in range(100))}
    cursed = [json.dumps(alert(number, chance, rule="Cursed")) for number in range(100, 104)]
    poison = [json.dumps({"rule": "no output", "priority": "Error", "number": number}) for number in range(4)]
    chatter = ["Falco starts", '{"level": "info"}', '{"rule": "without a priority"}']
    again = chance.sample(list(alerts), 10)  # lines that a log shipper sends a second time
    messages = [*alerts, *cursed, *poison, *again, *chatter * 4]
    chance.shuffle(messages)
    while messages:
        size = chance.randrange(1, 13)
        lab.put(chance.choice(STREAMS), messages[:size])
        del messages[:size]
    lab.settle()

    # It was a bad day: each kind of trouble has happened, unless the dice say that the test is worth nothing.
    assert lab.post.twice > 0
    assert set(lab.hub.trouble) == {"none", "throttled", "half", "killed before", "killed after"}

    # Each finding is one of the alerts, once, and says what its alert says.
    found = Counter(finding["Id"] for finding in lab.findings())
    assert set(found.values()) <= {1}
    expected = {finding_id(one): one for one in alerts.values()}
    assert set(found) <= set(expected)
    assert all(finding["Description"] == expected[finding["Id"]]["output"] for finding in lab.findings())

    # Nothing is lost: what is no finding is in the queue, alone or with the delivery that it came in.
    singles: dict[str, set[str]] = {}
    batches: list[tuple[list[str], str]] = []
    payloads: list[str] = []
    for letter in lab.dead_letters():
        body = json.loads(letter["Body"])
        if "awslogs" in body:
            batches.append((delivered(body), letter["MessageAttributes"]["ErrorMessage"]["StringValue"]))
            payloads.append(letter["Body"])
        else:
            singles.setdefault(body["logEvent"]["message"], set()).add(body["reason"])
    in_batches = {message for messages, _ in batches for message in messages}
    missing = {message for message, one in alerts.items() if finding_id(one) not in found}
    assert missing <= in_batches
    assert {*cursed, *poison} <= in_batches | set(singles)

    # Whatever is in the queue has a reason, and what is there alone could never have become a finding.
    assert all(reason for _, reason in batches)
    assert set(singles) <= {*cursed, *poison}
    for message, reasons in singles.items():
        said = "InvalidInput: It is cursed." if message in cursed else "names no rule, so it is no alert"
        assert all(said in reason for reason in reasons), reasons
    assert not in_batches & set(chatter)

    # On the next day the deliveries among the dead letters are sent again: now findings equal alerts.
    lab.hub.over = True
    for payload in payloads:
        lab.aws.client("lambda").invoke(FunctionName=lab.function, InvocationType="Event", Payload=payload)
    lab.settle()
    assert Counter(finding["Id"] for finding in lab.findings()) == Counter(list(expected))
    rest = [json.loads(letter["Body"]) for letter in lab.dead_letters()]
    assert {*cursed, *poison} == set(singles) | {body["logEvent"]["message"] for body in rest}
