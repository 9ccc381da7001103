"""The image of the agent of EKS Pod Identity: pods of a node ask it for their role's credentials."""

from __future__ import annotations

import asyncio
import json
import signal
import time as clock

from ekslab.http import HttpRequest, HttpResponse
from ekslab.node import Image, Layer, Process, program

REPOSITORY = "602401143452.dkr.ecr.us-west-2.amazonaws.com/eks/eks-pod-identity-agent"
TAG = "v0.1.37"
ADDRESS = "169.254.170.23"
"""Link-local: each node has it for itself."""
_TEXT = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}


def image() -> Image:
    """EKS's image: the program, and what starts it."""
    layer = (
        Layer()
        .directory("/etc")
        .directory("/tmp", 0o1777)
        .user("root", 0, 0, "/root", "/sbin/nologin")
        .program("/go-runner", "eks-pod-identity-agent")
    )
    return Image(repository=REPOSITORY, tags=(TAG,), layer=layer, entrypoint=("/go-runner",), cmd=())


@program("eks-pod-identity-agent")
async def agent(p: Process) -> int:
    """`initialize` makes the node's address; `server` answers at it until SIGTERM."""
    words = list(p.argv[2:])
    if words[:1] != ["server"]:
        return 0
    options = dict(zip(words[1::2], words[2::2], strict=False))
    cluster, region = options.get("--cluster-name", ""), p.env.get("AWS_REGION", "")

    def say(level: str, message: str, **more: str) -> None:
        time = clock.strftime("%Y-%m-%dT%H:%M:%SZ", clock.gmtime(p.kernel.now() // 1_000_000_000))
        p.stderr.write(
            json.dumps({**more, "cluster-name": cluster, "level": level, "msg": message, "time": time}) + "\n"
        )

    def refused(status: int, message: str) -> HttpResponse:
        say("error", f"Error fetching credentials: {message}")
        return HttpResponse(status, _TEXT, f"{message}\n".encode())

    async def credentials(request: HttpRequest) -> HttpResponse:
        if request.url.partition("?")[0] != f"http://{request.host}/v1/credentials":
            return HttpResponse(404, _TEXT, b"404 page not found\n")
        say("info", "handling new request request from " + request.peer, **{"client-addr": request.peer})
        token = request.header("authorization")
        if not token:
            return refused(400, "Service account token cannot be empty")
        if token.count(".") != 2:
            why = "token is malformed: token contains an invalid number of segments"
            return refused(400, f"Service account token cannot be parsed: {why}")
        say("info", "Calling EKS Auth to fetch credentials", **{"client-addr": request.peer})
        url = f"https://eks-auth.{region}.api.aws/clusters/{cluster}/assume-role-for-pod-identity"
        try:
            answer = await p.http(
                "POST", url, {"Content-Type": "application/json"}, json.dumps({"token": token}).encode(), timeout=1.0
            )
        except (OSError, TimeoutError) as error:
            return refused(500, f"unable to fetch credentials from EKS Auth: {error}")
        body = json.loads(answer.body or b"{}")
        if answer.status != 200:
            code, id_ = answer.headers.get("x-amzn-ErrorType", ""), answer.headers.get("x-amzn-RequestId", "")
            return refused(answer.status, f"[{id_}]: ({code}): {body.get('message', '')}, fault: client")
        found = body["credentials"]
        say("info", "Storing creds in cache", **{"fetched_role_arn": body["assumedRoleUser"]["arn"]})
        said = {
            "AccessKeyId": found["accessKeyId"],
            "SecretAccessKey": found["secretAccessKey"],
            "Token": found["sessionToken"],
            "AccountId": body["assumedRoleUser"]["arn"].split(":")[4],
            "Expiration": clock.strftime("%Y-%m-%dT%H:%M:%SZ", clock.gmtime(found["expiration"])),
        }
        return HttpResponse(200, {"Content-Type": "application/json"}, json.dumps(said).encode())

    async def well(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, _TEXT, b"ok\n")

    ended = asyncio.Event()
    p.on_signal(signal.SIGTERM, ended.set)
    stops = [
        p.listen(int(options.get("--port", "80")), credentials, address=ADDRESS),
        p.listen(int(options.get("--probe-port", "2703")), well),
    ]
    try:
        await ended.wait()
    finally:
        for stop in stops:
            stop()
    return 0
