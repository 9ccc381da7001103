"""Requests that would stop a lab that trusts them: whatever one client sends, another is answered at once."""

from __future__ import annotations

import contextlib
import gzip
import json
import multiprocessing
import os
import socket
import ssl
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import quote

import boto3
import pytest
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from ekslab.kubernetes.apiserver.spdy import DICTIONARY
from ekslab.state import Endpoints

GROUP = "hostile"
WORST = 2.0  # seconds that anybody else's request may take, on a busy computer
_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_TLS.check_hostname, _TLS.verify_mode = False, ssl.CERT_NONE
Case = Callable[["Attacker"], object]


class Attacker:
    """A client of a lab that means ill."""

    def __init__(self, lab: Endpoints) -> None:
        self.lab = lab
        self._session = requests.Session()
        credentials = lab.credentials
        self._boto = boto3.Session(credentials.access_key_id, credentials.secret_access_key, region_name=lab.region)
        self._keys = Credentials(credentials.access_key_id, credentials.secret_access_key)

    def kube(self, method: str, path: str, body: Any = None, kind: str = "application/json", **options: Any) -> Any:
        token = options.pop("token", self.lab.credentials.kubernetes_token)
        return self._session.request(
            method,
            self.lab.kubernetes_url + path,
            data=body,
            headers={"Authorization": f"Bearer {token}", "Content-Type": kind},
            verify=str(self.lab.ca_file),
            timeout=60,
            **options,
        )

    def aws(self, service: str) -> Any:
        once = Config(retries={"total_max_attempts": 1}, parameter_validation=False, read_timeout=60)
        return self._boto.client(service, endpoint_url=self.lab.aws_url, config=once)

    def call(self, service: str, operation: str, **parameters: Any) -> str:
        """The error's code, or `ok`."""
        try:
            getattr(self.aws(service), operation)(**parameters)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "ok"

    def raw(self, service: str, headers: dict[str, str], body: bytes, *, signed: bool = True) -> requests.Response:
        request = AWSRequest("POST", f"{self.lab.aws_url}/", data=body, headers=headers)
        if signed:
            SigV4Auth(self._keys, service, self.lab.region).add_auth(request)
        else:
            scope = f"AKIA/20260101/{self.lab.region}/{service}/aws4_request"
            request.headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00"
        return self._session.post(f"{self.lab.aws_url}/", data=body, headers=dict(request.headers), timeout=60)

    def connect(self, port: int, *, tls: bool) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", port), timeout=5)
        if not tls:
            return plain
        return _TLS.wrap_socket(plain)


class Bystander:
    """Another client, a process of its own, which asks both APIs all the time and notes how long that takes."""

    def __init__(self, lab: Endpoints) -> None:
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_ask, args=(lab, there), daemon=True)
        self._process.start()
        self.latencies()

    def latencies(self) -> list[float]:
        """How long requests took since the last time this was called, in seconds. Fails if one of them did."""
        self._here.send("latencies")
        assert self._here.poll(60), "nobody was answered for a minute"
        answer = self._here.recv()
        assert isinstance(answer, list), answer
        return answer

    def stop(self) -> None:
        self._process.terminate()
        self._process.join(60)


def _ask(lab: Endpoints, pipe: Connection) -> None:
    attacker = Attacker(lab)
    logs = attacker.aws("logs")
    latencies: list[float] = []
    failure = ""
    while True:
        for ask in (
            lambda: attacker.kube("GET", "/version").raise_for_status(),
            lambda: logs.filter_log_events(logGroupName=GROUP, limit=1),
        ):
            began = time.monotonic()
            try:
                ask()
            except Exception as error:
                failure = repr(error)
            latencies.append(time.monotonic() - began)
        if pipe.poll(0.05):
            pipe.recv()
            pipe.send(failure or latencies)
            latencies, failure = [], ""


def at_once(latencies: list[float]) -> bool:
    """Whether all requests were answered soon enough, as fast as this computer is now."""
    if max(latencies) < WORST:
        return True
    began, used = time.monotonic(), time.thread_time()
    while time.thread_time() - used < 0.1:
        pass
    slowness = (time.monotonic() - began) / 0.1  # how many times longer than alone a program takes
    return max(latencies) < WORST * slowness


@pytest.fixture(scope="module")
def other(lab: Endpoints) -> Iterator[Bystander]:
    other = Bystander(lab)
    yield other
    other.stop()


@pytest.fixture(scope="module")
def lab(new_lab: Callable[..., Endpoints]) -> Endpoints:
    lab = new_lab()
    logs = Attacker(lab).aws("logs")
    logs.create_log_group(logGroupName=GROUP)
    logs.create_log_stream(logGroupName=GROUP, logStreamName="a")
    now = int(time.time() * 1000)
    logs.put_log_events(
        logGroupName=GROUP,
        logStreamName="a",
        logEvents=[
            {"timestamp": now, "message": text}
            for text in ("a" * 100_000, "[ " * 100_000, '" ' * 99_999 + '"', json.dumps({"a": "x" * 100_000}))
        ],
    )
    attacker = Attacker(lab)
    pod = {"metadata": {"name": "hostile"}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    attacker.kube("POST", "/api/v1/namespaces/default/pods", json.dumps(pod)).raise_for_status()
    deadline = time.monotonic() + 30
    while attacker.kube("GET", "/api/v1/namespaces/default/pods/hostile").json()["status"]["phase"] != "Running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return lab


def memory(lab: Endpoints) -> int:
    with open(f"/proc/{lab.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _gzip_bomb(a: Attacker, *, signed: bool) -> None:
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "Logs_20140328.PutLogEvents"}
    body = gzip.compress(bytes(50 * 1024**2), 1)
    answer = a.raw("logs", headers | {"Content-Encoding": "gzip"}, body, signed=signed)
    assert answer.status_code == (413 if signed else 400), answer.text


def _large(a: Attacker, size: int) -> None:
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "Logs_20140328.PutLogEvents"}
    with contextlib.suppress(requests.ConnectionError):  # it may be closed while we are still sending
        assert a.raw("logs", headers, b" " * size).status_code == 413


def _kube_body(a: Attacker, body: bytes, code: int, kind: str = "application/json", method: str = "POST") -> None:
    path = "/api/v1/namespaces/default/configmaps"
    answer = a.kube(method, path if method == "POST" else f"{path}/x?fieldManager=x", body, kind)
    assert answer.status_code == code, answer.text[:500]


def _policy(a: Attacker, stars: int) -> None:
    document = {"Statement": [{"Effect": "Allow", "Action": "*a" * stars + "b", "Resource": "*"}]}
    answer = a.call(
        "iam",
        "simulate_custom_policy",
        PolicyInputList=[json.dumps(document)],
        ActionNames=["logs:" + "a" * 200],
    )
    assert answer == "ok"


def _filter(a: Attacker, pattern: str) -> None:
    assert a.call("logs", "filter_log_events", logGroupName=GROUP, filterPattern=pattern) in (
        "ok",
        "InvalidParameterException",
    )


def _insights(a: Attacker, query: str) -> None:
    logs = a.aws("logs")
    now = int(time.time())
    try:
        started = logs.start_query(logGroupName=GROUP, startTime=now - 3600, endTime=now + 60, queryString=query)
    except ClientError:
        return
    deadline = time.monotonic() + 60
    while logs.get_query_results(queryId=started["queryId"])["status"] in ("Running", "Scheduled"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _metrics(a: Attacker) -> None:
    cloudwatch = a.aws("cloudwatch")
    for batch in range(10):
        cloudwatch.put_metric_data(
            Namespace="H",
            MetricData=[
                {"MetricName": f"m{batch}-{n}", "Dimensions": [{"Name": "d", "Value": "a" * 200}], "Value": 1}
                for n in range(1000)
            ],
        )
    now = time.time()
    for expression in ("SEARCH('{H,d} " + "a OR " * 100 + "a', 'Sum', 60)", "(" * 900 + "1" + ")" * 900):
        with contextlib.suppress(ClientError):
            cloudwatch.get_metric_data(
                MetricDataQueries=[{"Id": "a", "Expression": expression}], StartTime=now - 3600, EndTime=now
            )


def _images(a: Attacker) -> None:
    rows = [["H", f"m0-{n}", "d", "a" * 200, {"label": f"$_{{{n}" * 99}] for n in range(100)]
    size = {"width": 2000, "height": 2000}
    for more in (
        {},
        {"stacked": True},
        {"view": "bar"},
        {"view": "pie"},
        {"view": "singleValue"},
        {"metrics": rows * 9},
    ):
        a.call("cloudwatch", "get_metric_widget_image", MetricWidget=json.dumps({"metrics": rows, **size, **more}))
    for text in ("[" * 50_000, '{"metrics":' * 4_000, '{"start": "-P' + "9" * 50_000 + 'D"}'):
        a.call("cloudwatch", "get_metric_widget_image", MetricWidget=text)


def _sns(a: Attacker) -> None:
    sns, sqs = a.aws("sns"), a.aws("sqs")
    topic = sns.create_topic(Name="hostile")["TopicArn"]
    queue = sqs.create_queue(QueueName="hostile")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    sns.publish(TopicArn=topic, Message=json.dumps({"a": "a" * 200_000}))
    with contextlib.suppress(ClientError):
        sns.publish(TopicArn=topic, Message='{"a":' * 40_000)


def _dashboard(a: Attacker) -> None:
    for body in ("[" * 100_000, '{"widgets":' + "[" * 50_000, json.dumps({"widgets": [{}] * 20_000})):
        a.call("cloudwatch", "put_dashboard", DashboardName="h", DashboardBody=body)


def _idle_connections(a: Attacker) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(1_200):
            kubernetes = number % 4 == 0
            port = a.lab.kubernetes_port if kubernetes else a.lab.aws_port
            with contextlib.suppress(OSError):
                one = stack.enter_context(a.connect(port, tls=kubernetes))
                if number % 3:
                    one.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Le")
                else:
                    one.sendall(b"POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nx")


def _watches(a: Attacker) -> None:
    lines = []
    with contextlib.ExitStack() as stack:
        refused = 0
        for _ in range(430):
            one = stack.enter_context(a.connect(a.lab.kubernetes_port, tls=True))
            token = a.lab.credentials.kubernetes_token
            one.sendall(
                b"GET /api/v1/configmaps?watch=1 HTTP/1.1\r\nHost: x\r\n"
                b"Authorization: Bearer " + token.encode() + b"\r\n\r\n"
            )
            lines.append(one.recv(64)[:12])
        refused = lines.count(b"HTTP/1.1 429")
        assert 0 < refused < 430
        for number in range(20):
            assert a.kube("POST", "/api/v1/namespaces/default/configmaps", _config_map(f"w{number}")).status_code == 201
    for number in range(20):
        a.kube("DELETE", f"/api/v1/namespaces/default/configmaps/w{number}")


def _config_map(name: str, size: int = 0) -> str:
    return json.dumps({"metadata": {"name": name}, "data": {"k": "x" * size}})


def _fill_the_store(a: Attacker) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    codes = [a.kube("POST", path, _config_map(f"f{number}", 1_000_000)).status_code for number in range(60)]
    assert codes[0] == 201
    assert codes[-1] == 500
    assert a.kube("DELETE", path, json.dumps({})).status_code == 200


def _many_patches(a: Attacker) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    a.kube("POST", path, json.dumps({"metadata": {"name": "p"}, "data": {f"k{n}": "v" for n in range(30_000)}}))
    doubling = [{"op": "copy", "from": "/data", "path": f"/data/c{n}"} for n in range(10_000)]
    small = [{"op": "copy", "from": "/data/k0", "path": f"/data/k{n}"} for n in range(10_000)]
    adds = [{"op": "add", "path": f"/data/k{n}", "value": "w"} for n in range(10_000)]
    moves = [{"op": "move", "from": "/data", "path": "/data/x"} for _ in range(10_000)]
    for body, kind in (
        (doubling, "application/json-patch+json"),
        (small, "application/json-patch+json"),
        (adds, "application/json-patch+json"),
        (moves, "application/json-patch+json"),
        (adds * 3, "application/json-patch+json"),
        ({"data": {f"k{n}": "w" for n in range(30_000)}}, "application/merge-patch+json"),
        ({"data": {f"k{n}": "x" for n in range(30_000)}}, "application/strategic-merge-patch+json"),
    ):
        a.kube("PATCH", f"{path}/p", json.dumps(body), kind)
    a.kube("DELETE", f"{path}/p")


def _wide_pod(a: Attacker) -> None:
    env = [{"name": f"N{n}", "value": "v"} for n in range(20_000)]
    pod = {"metadata": {"name": "h"}, "spec": {"containers": [{"name": "c", "image": "nginx", "env": env}]}}
    a.kube("POST", "/api/v1/namespaces/default/pods?dryRun=All", json.dumps(pod))
    apply = json.dumps({"apiVersion": "v1", "kind": "Pod", **pod})
    path = "/api/v1/namespaces/default/pods/h?dryRun=All&fieldManager=h"
    a.kube("PATCH", path, apply, "application/apply-patch+yaml")


def _exec(a: Attacker, *command: str) -> socket.socket:
    """An exec in the pod, its WebSocket open."""
    one = a.connect(a.lab.kubernetes_port, tls=True)
    query = "&".join([*(f"command={quote(word)}" for word in command), "stdin=1", "stdout=1"])
    one.sendall(
        f"GET /api/v1/namespaces/default/pods/hostile/exec?{query} HTTP/1.1\r\n"
        f"Host: x\r\nAuthorization: Bearer {a.lab.credentials.kubernetes_token}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n".encode()
    )
    assert one.recv(12) == b"HTTP/1.1 101"
    return one


def _exec_frames(a: Attacker) -> None:
    """A frame that says it has 4 exabytes."""
    with _exec(a, "cat") as one, contextlib.suppress(OSError):
        one.sendall(b"\x82\xff" + struct.pack("!Q", 1 << 62) + b"\x00" * 4)
        for _ in range(64):
            one.sendall(bytes(1024 * 1024))


def _exec_unread(a: Attacker) -> None:
    """Output without an end, which nobody reads."""
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(_exec(a, "yes"))
        time.sleep(1)  # in which it would fill the memory


def _forward(a: Attacker) -> tuple[socket.socket, Any]:
    """A port-forward to the pod, upgraded to SPDY; what compresses the headers of its streams."""
    one = a.connect(a.lab.kubernetes_port, tls=True)
    one.sendall(
        b"POST /api/v1/namespaces/default/pods/hostile/portforward HTTP/1.1\r\nHost: x\r\n"
        b"Authorization: Bearer " + a.lab.credentials.kubernetes_token.encode() + b"\r\nContent-Length: 0\r\n"
        b"Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n"
    )
    assert one.recv(4096).startswith(b"HTTP/1.1 101")
    return one, zlib.compressobj(zdict=DICTIONARY)


def _stream(headers: Any, number: int, kind: str, request: int) -> bytes:
    block = struct.pack("!I", 3)
    for name, value in (("streamtype", kind), ("port", "80"), ("requestid", str(request))):
        block += b"".join(struct.pack("!I", len(part)) + part.encode() for part in (name, value))
    block = headers.compress(block) + headers.flush(zlib.Z_SYNC_FLUSH)
    return struct.pack("!HHIIIH", 0x8003, 1, len(block) + 10, number, 0, 0) + block


def _forward_streams(a: Attacker) -> None:
    """Streams and more streams, none of which sends anything."""
    one, headers = _forward(a)
    with one, contextlib.suppress(OSError):
        one.settimeout(0.2)
        for number in range(1, 20_001, 2):
            one.sendall(_stream(headers, number, ("error", "data")[number // 2 % 2], number // 4))
            if number % 400 == 1:
                with contextlib.suppress(TimeoutError):
                    one.recv(1 << 20)


def _forward_unread(a: Attacker) -> None:
    """Requests for large answers, which the client doesn't read, and one request without an end."""
    with _exec(a, "sh", "-c", "head -c 20000000 /dev/zero > /usr/share/nginx/html/big"):
        time.sleep(1)
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
        for _ in range(3):
            one, headers = _forward(a)
            stack.enter_context(one)
            one.settimeout(5)
            for number in range(1, 200, 4):
                one.sendall(_stream(headers, number, "error", number) + _stream(headers, number + 2, "data", number))
                one.sendall(_frame(number + 2, b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n"))
            for number in range(3, 200, 4):
                for _ in range(20):
                    one.sendall(_frame(number, b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n"))
            endless = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000000\r\n\r\n"
            one.sendall(_stream(headers, 1001, "data", 1001) + _frame(1001, endless))
            for _ in range(64):
                one.sendall(_frame(1001, bytes(1024 * 1024 - 8)))
        time.sleep(1)


def _frame(stream: int, data: bytes) -> bytes:
    return struct.pack("!II", stream, len(data)) + data


def _forward_bomb(a: Attacker) -> None:
    """Headers that are large once they are decompressed, and frames that say they are."""
    for _ in range(20):
        one, headers = _forward(a)
        block = headers.compress(struct.pack("!II", 1, 1 << 30) + bytes(30_000_000)) + headers.flush()
        with one, contextlib.suppress(OSError):
            one.sendall(struct.pack("!HHIIIH", 0x8003, 1, len(block) + 10, 1, 0, 0) + block)
        one, _ = _forward(a)
        with one, contextlib.suppress(OSError):
            one.sendall(struct.pack("!HHI", 0x8003, 1, 0xFFFFFF) + bytes(1_000_000))


def _debuggers(a: Attacker) -> None:
    """Ephemeral containers of an image that isn't there, as many as one patch takes."""
    path = "/api/v1/namespaces/default/pods/hostile/ephemeralcontainers?dryRun=All"
    many = [{"name": f"d{number}", "image": "busybox"} for number in range(20_000)]
    body = json.dumps({"spec": {"ephemeralContainers": many}})
    a.kube("PATCH", path, body, "application/strategic-merge-patch+json")


def _documents(a: Attacker) -> None:
    paths = a.kube("GET", "/openapi/v3").json()["paths"].values()
    for _ in range(3):
        for entry in paths:
            assert a.kube("GET", entry["serverRelativeURL"]).status_code == 200
    for path in (
        "/openapi/v3/" + "x/" * 3_000,
        "/openapi/v3/..%2f..",
        "/apis/metrics.k8s.io/v1beta1/pods?labelSelector=",
    ):
        a.kube("GET", path)


_YAML, _APPLY = "application/yaml", "application/apply-patch+yaml"
_LAUGHS = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (n + 1, n + 1, b",".join([b"*%c" % n] * 9)) for n in range(97, 107)
)
_RECURSIVE = b"apiVersion: v1\nkind: ConfigMap\ndata: &d {a: *d}"
CASES: dict[str, Case] = {
    "gzip-bomb": lambda a: _gzip_bomb(a, signed=True),
    "gzip-bomb-unsigned": lambda a: _gzip_bomb(a, signed=False),
    "body-of-20-mb": lambda a: _large(a, 20 * 1024**2),
    "json-deep": lambda a: a.raw(
        "logs", {"X-Amz-Target": "Logs_20140328.DescribeLogGroups"}, b'{"a":' * 100_000
    ),
    "json-wide": lambda a: a.call("logs", "describe_log_groups", logGroupIdentifiers=["x"] * 500_000),
    "form-wide": lambda a: a.raw(
        "iam",
        {"Content-Type": "application/x-www-form-urlencoded"},
        b"Action=ListRoles&Version=2010-05-08&" + b"&".join(b"a.member.%d=1" % n for n in range(400_000)),
    ),
    "form-list": lambda a: a.raw(
        "sns",
        {"Content-Type": "application/x-www-form-urlencoded"},
        b"Action=TagResource&Version=2010-03-31&ResourceArn=x&"
        + b"&".join(b"Tags.member.%d.Key=a&Tags.member.%d.Value=b" % (n, n) for n in range(1, 4_900)),
    ),
    "policy-25-stars": lambda a: _policy(a, 25),
    "policy-2000-stars": lambda a: _policy(a, 2_000),
    "policy-pairs": lambda a: a.call(
        "iam",
        "simulate_custom_policy",
        PolicyInputList=[json.dumps({"Statement": [{"Effect": "Allow", "Action": ["a:*b*c"] * 200, "Resource": "*"}]})],
        ActionNames=["logs:A"] * 300,
        ResourceArns=["*"] * 300,
    ),
    "policy-deep": lambda a: a.call(
        "iam", "create_policy", PolicyName="h", PolicyDocument='{"Statement":' + "[" * 100_000
    ),
    "filter-stars": lambda a: _filter(a, '{ $.a = "' + "*x" * 300 + 'y" }'),
    "filter-regex": lambda a: _filter(a, "%(x+x+)+y%"),
    "filter-words": lambda a: _filter(a, "[a, b, ..., c]"),
    "filter-deep": lambda a: _filter(a, "{ " + "(" * 500 + "$.a = 1" + ")" * 500 + " }"),
    "filter-terms": lambda a: _filter(a, " ".join(f"?t{n}" for n in range(200))),
    "insights-regex": lambda a: _insights(a, "filter @message like /(a+)+(b+)+$/ | stats count(*) by @message"),
    "insights-parse": lambda a: _insights(a, "parse @message '" + "*a" * 40 + "' as " + ",".join(
        f"f{n}" for n in range(40))),
    "insights-deep": lambda a: _insights(a, "filter " + "(" * 2_000 + "1=1" + ")" * 2_000),
    "insights-not": lambda a: _insights(a, "filter " + "not " * 2_000 + "1=1"),
    "insights-functions": lambda a: _insights(a, "fields " + "concat(" * 500 + "@message" + ")" * 500 + " as a"),
    "insights-double": lambda a: _insights(
        a, "fields concat(@message,@message) as a0" + "".join(
            f" | fields concat(a{n},a{n}) as a{n + 1}" for n in range(12))),
    "metrics": _metrics,
    "sns-deep": _sns,
    "dashboards": _dashboard,
    "images": _images,
    "lambda-code": lambda a: a.call(
        "lambda", "create_function", FunctionName="h", Role="arn:aws:iam::111122223333:role/x", Handler="a.b",
        Runtime="python3.12", Code={"ZipFile": gzip.compress(bytes(20_000_000), 1)}),
    "securityhub": lambda a: a.call(
        "securityhub", "batch_import_findings", Findings=[{"Title": "x" * 10_000, "Resources": [{}] * 100}] * 100),
    "yaml-deep-flow": lambda a: _kube_body(a, b"[" * 100_000, 400, _YAML),
    "yaml-deep-mapping": lambda a: _kube_body(a, b"{a: " * 50_000, 400, _YAML),
    "yaml-deep-block": lambda a: _kube_body(a, b"- " * 100_000, 400, _YAML),
    "yaml-deep-indent": lambda a: _kube_body(a, b"\n".join(b" " * n + b"a:" for n in range(800)), 400, _YAML),
    "yaml-question-marks": lambda a: _kube_body(a, b"? " * 100_000, 400, _YAML),
    "yaml-laughs": lambda a: _kube_body(a, _LAUGHS, 400, _YAML),
    "yaml-recursive": lambda a: _kube_body(a, _RECURSIVE, 400, _APPLY, "PATCH"),
    "yaml-long": lambda a: _kube_body(a, b"a: b\n" * 20_000, 422, _YAML),
    "yaml-large": lambda a: _kube_body(a, b"a: b\n" * 200_000, 413, _YAML),
    "yaml-plain": lambda a: _kube_body(a, b"a " * 20_000, 400, _YAML),
    "kube-json-deep": lambda a: _kube_body(a, b'{"a":' * 100_000, 400),
    "kube-json-deep-closed": lambda a: _kube_body(a, b'{"data":' * 500 + b"1" + b"}" * 500, 400),
    "kube-body-of-4-mb": lambda a: _kube_body(a, b" " * 4 * 1024**2, 413),
    "kube-protobuf": lambda a: _kube_body(
        a, b"k8s\x00\x0a\x0f\x0a\x02v1\x12\x09ConfigMap" + b"\x12\x80\x80\xb4\x01" + b"\x12\x00" * (90_000 * 16 - 8),
        400),
    "kube-unauthorised": lambda a: a.kube(
        "POST", "/api/v1/namespaces/default/configmaps", b"[" * 2_000_000, _YAML, token="x"),
    "selectors": lambda a: a.kube("GET", "/api/v1/pods?labelSelector=" + "a%20in%20(b)," * 500 + "a"),
    "patches": _many_patches,
    "wide-pod": _wide_pod,
    "fill-the-store": _fill_the_store,
    "exec-frames": _exec_frames,
    "exec-unread": _exec_unread,
    "forward-streams": _forward_streams,
    "forward-unread": _forward_unread,
    "forward-bomb": _forward_bomb,
    "debuggers": _debuggers,
    "openapi": _documents,
    "proxied": lambda a: a.kube(
        "POST", "/api/v1/namespaces/default/pods/hostile:80/proxy/x?" + "a=b&" * 1_000, b"[" * 3_000_000),
    "idle-connections": _idle_connections,
    "watches": _watches,
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_others_are_answered_meanwhile(lab: Endpoints, other: Bystander, case: str) -> None:
    other.latencies()
    CASES[case](Attacker(lab))
    assert at_once(other.latencies())
    assert memory(lab) < 600 * 1024**2


@pytest.fixture(scope="module", autouse=True)
def as_before(lab: Endpoints) -> Iterator[None]:
    """After all of it the lab is as well as it was."""
    yield
    attacker = Attacker(lab)
    assert attacker.kube("GET", "/version").status_code == 200
    assert attacker.call("logs", "filter_log_events", logGroupName=GROUP) == "ok"
    assert "failed" not in (lab.home / "lab.log").read_text()
