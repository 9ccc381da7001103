"""Kubernetes' own test image, agnhost: of its many programs, `pause` and the admission webhook (`agnhost webhook`)."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from ekslab.http import HttpRequest, HttpResponse
from ekslab.node import Image, Layer, Process, program

_SLOW = 5.0
_UNWANTED = "webhook-disallow"


def image() -> Image:
    return Image(
        "registry.k8s.io/e2e-test-images/agnhost",
        ("2.53", "2.47"),
        Layer().directory("/tmp", 0o1777).program("/agnhost", "agnhost"),
        entrypoint=("/agnhost",),
        cmd=("pause",),
    )


@program("agnhost")
async def _agnhost(p: Process) -> int:
    command = p.argv[1] if len(p.argv) > 1 else "help"
    if command == "pause":
        await asyncio.Event().wait()
    if command != "webhook":
        return p.fail(f'Error: unknown command "{command}" for "app": the embedded lab has pause and webhook')
    port = next((arg.partition("=")[2] for arg in p.argv if arg.startswith("--port=")), "8444")
    stop = p.listen(int(port), _answer_in_time)
    place = (p.ip, int(port))
    p.network.instant[place] = _answer
    try:
        await asyncio.Event().wait()
    finally:
        stop()
        p.network.instant.pop(place, None)
    return 0


async def _answer_in_time(request: HttpRequest) -> HttpResponse:
    if answer := _answer(request):
        return answer
    await asyncio.sleep(_SLOW)
    return _reviewed({"uid": "", "allowed": True})


def _answer(request: HttpRequest) -> HttpResponse | None:
    """The answer to a request; None where it takes seconds."""
    path = "/" + request.url.split("://", 1)[-1].partition("/")[2].partition("?")[0]
    try:
        asked = orjson.loads(request.body)["request"]
    except (ValueError, KeyError, TypeError):
        return HttpResponse(400, {}, b"")
    response: dict[str, Any] = {"uid": asked.get("uid", ""), "allowed": True}
    if path == "/always-allow-delay-5s":
        return None
    elif path == "/always-deny":
        response |= {"allowed": False, "status": {"message": "this webhook denies all requests"}}
    elif path == "/pods":
        if said := _unwanted(asked.get("object") or {}):
            response |= {"allowed": False, "status": {"message": said}}
    elif path != "/readyz":
        return HttpResponse(404, {}, b"404 page not found\n")
    return _reviewed(response)


def _reviewed(response: dict[str, Any]) -> HttpResponse:
    review = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response}
    return HttpResponse(200, {"Content-Type": "application/json"}, orjson.dumps(review))


def _unwanted(pod: dict[str, Any]) -> str:
    said = []
    if any(_UNWANTED in container["name"] for container in pod.get("spec", {}).get("containers") or ()):
        said.append("the pod contains unwanted container name; ")
    if (pod.get("metadata", {}).get("labels") or {}).get("webhook-e2e-test") == _UNWANTED:
        said.append("the pod contains unwanted label; ")
    return "".join(said).rstrip()
