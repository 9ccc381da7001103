"""The HTTP front of the API server: authenticates and authorizes requests, and routes them to what answers them."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import orjson
from aiohttp import web

from ekslab import memory
from ekslab.http import HttpRequest, HttpResponse
from ekslab.kubernetes.apiserver import discovery, openapi, openapi_v2
from ekslab.kubernetes.apiserver.auth import ANONYMOUS, Attributes, User
from ekslab.kubernetes.apiserver.bodies import MAX_BODY, YAML_TYPES, Unreadable, parse, refusal, typed
from ekslab.kubernetes.apiserver.exec import serve_exec
from ekslab.kubernetes.apiserver.logs import log_request, read_log, stream_log
from ekslab.kubernetes.apiserver.metrics import Usage
from ekslab.kubernetes.apiserver.portforward import serve_port_forward
from ekslab.kubernetes.apiserver.proxy import proxied
from ekslab.kubernetes.apiserver.requests import (
    PROXY,
    STREAMED,
    Accept,
    Request,
    Target,
    attributes,
    parse_path,
    refuse_not_emulated,
)
from ekslab.kubernetes.apiserver.reviews import Reviews, scale_of, scaled
from ekslab.kubernetes.apiserver.tables import partial_metadata, table
from ekslab.kubernetes.apiserver.watch import serve_watch
from ekslab.kubernetes.controllers.node import disrupt
from ekslab.kubernetes.kubelet.kubelet import Kubelet
from ekslab.kubernetes.kubelet.registration import node_address
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.errors import (
    ApiError,
    bad_request,
    gone,
    method_not_allowed,
    no_such_path,
    not_found,
    request_entity_too_large,
    too_many_requests,
    unauthorized,
)
from ekslab.kubernetes.objects.registry import APPLY_PATCH, Call, Registry, check_type, dry_run
from ekslab.kubernetes.objects.resources import Object, Resource, name_of, namespace_of
from ekslab.kubernetes.objects.selectors import selection
from ekslab.turns import TooLong, limited

_log = logging.getLogger(__name__)

_HEALTH = ("healthz", "livez", "readyz")  # all that EKS shows to anonymous users
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}
_STORING = tuple(_VERBS)
_RBAC = (r.ROLES, r.ROLE_BINDINGS, r.CLUSTER_ROLES, r.CLUSTER_ROLE_BINDINGS)
_MAX_STREAMS = 400  # watches, execs and followed logs at a time; kube-apiserver's --max-requests-inflight
_BODY_SECONDS = 60  # in which a client has to have sent its body
_PARSED_AT_ONCE = 64 * 1024  # bytes; what is larger is parsed in a thread, and the loop goes on meanwhile


_CREATED = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


class Api:
    """Answers the Kubernetes API for loopback (`serve`) and for pods (`handle`)."""

    def __init__(
        self,
        registry: Registry,
        reviews: Reviews,
        kubelets: Mapping[str, Kubelet],
    ) -> None:
        self._registry = registry
        self._reviews = reviews
        self._kubelets = kubelets
        self._streams: set[asyncio.Task[Any]] = set()
        self._parsing = asyncio.Semaphore(1)
        self._usage = Usage(kubelets, registry.clock)

    def web_app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self.serve)
        app.on_shutdown.append(self._end_streams)
        return app

    async def _end_streams(self, _: web.Application) -> None:
        for task in tuple(self._streams):
            task.cancel()
        await asyncio.gather(*self._streams, return_exceptions=True)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """The answer to a request that isn't a stream: what pods get when they call the API."""
        parts = urlsplit(request.url)

        async def read() -> bytes:
            if len(request.body) > MAX_BODY:
                raise request_entity_too_large(f"limit is {MAX_BODY}")
            return request.body

        return await self._guarded(
            request.method,
            unquote(parts.path),
            parse_qsl(parts.query, keep_blank_values=True),
            request.headers,
            read,
            self._answer,
        )

    async def serve(self, web_request: web.Request) -> web.StreamResponse:
        """The aiohttp handler of every path."""
        streamed: list[web.StreamResponse] = []

        async def answer(request: Request, target: Target | None) -> HttpResponse:
            stream = self._stream(web_request, request, target)
            if stream is None:
                return await self._answer(request, target)
            if len(self._streams) >= _MAX_STREAMS:
                raise too_many_requests()
            task = asyncio.current_task()
            assert task is not None
            self._streams.add(task)
            try:
                streamed.append(await stream)
            except ConnectionError:  # the client went away
                streamed.append(web.Response(status=499))
            finally:
                self._streams.discard(task)
            return HttpResponse(200)

        async def read() -> bytes:
            try:
                async with asyncio.timeout(_BODY_SECONDS):
                    return await web_request.read()
            except web.HTTPRequestEntityTooLarge as error:
                raise request_entity_too_large(f"limit is {MAX_BODY}") from error
            except (OSError, web.RequestPayloadError) as error:  # too late, or the client went away
                raise bad_request("timed out reading the body of the request") from error

        response = await limited(
            self._guarded(
                web_request.method,
                web_request.path,
                list(web_request.query.items()),
                web_request.headers,
                read,
                answer,
            )
        )
        if streamed:
            return streamed[0]
        headers: Any = response.headers
        return web.Response(status=response.status, headers=headers, body=response.body)

    async def _guarded(
        self,
        method: str,
        path: str,
        pairs: list[tuple[str, str]],
        headers: Mapping[str, str],
        read: Callable[[], Awaitable[bytes]],
        answer: Callable[[Request, Target | None], Awaitable[HttpResponse]],
    ) -> HttpResponse:
        """Authenticates, authorizes, reads the body, answers; every refusal becomes a Status."""
        try:
            authorization = next((value for key, value in headers.items() if key.lower() == "authorization"), "")
            user = self._reviews.authenticator.user(authorization)
            if user is ANONYMOUS and path.split("/")[1] not in _HEALTH:
                raise unauthorized()
            user = self._impersonated(user, headers)
            request = Request(method, path, pairs, headers, user)
            target = parse_path(path)
            self._authorize(request, target)
            if target is not None:
                refuse_not_emulated(target)
            if target is not None and target.resource in r.LACKED and method in _STORING:
                raise ApiError(501, "NotImplemented", r.lacked(target.resource), {})
            if method not in ("GET", "HEAD") and ((body := await read()).strip() or _needs_body(method, target)):
                if target is not None and target.subresource == PROXY:
                    request.body = body
                else:
                    request.parsed = await self._parsed(body, request, target)
            if method in _STORING and _stores(target) and memory.is_full():
                raise ApiError(500, "InternalError", f"Internal error occurred: {memory.MESSAGE}")
            return await answer(request, target)
        except ApiError as error:
            return _json(error.status(), error.code)
        except TooLong:
            _log.warning("%s %s took too long", method, path)
            message = "request did not complete within the allotted timeout"
            return _json(ApiError(504, "Timeout", message).status(), 504)
        except RecursionError:
            return _json(bad_request("the request is nested too deeply").status(), 400)
        except Exception:  # MemoryError, too: the next request may find more
            _log.exception("%s %s failed", method, path)
            status = ApiError(500, "InternalError", "Internal error occurred: see the lab's log").status()
            return _json(status, 500)

    async def _parsed(self, body: bytes, request: Request, target: Target | None) -> Any:
        kind = request.header("content-type").partition(";")[0].strip()
        try:
            if len(body) <= _PARSED_AT_ONCE and kind not in YAML_TYPES:
                return parse(body, kind)
            async with self._parsing:
                return await asyncio.to_thread(parse, body, kind)
        except Unreadable as why:
            what = target.resource.kind if target is not None and request.method in ("POST", "PUT") else ""
            raise refusal(body, kind, what, why) from why

    def _impersonated(self, user: User, headers: Mapping[str, str]) -> User:
        """The user as whom the caller wants to act (`kubectl --as`), if the caller may."""
        pairs = [(key.lower(), value) for key, value in (headers.items() if headers else ())]
        name = next((value for key, value in pairs if key == "impersonate-user"), "")
        if not name:
            if any(key.startswith("impersonate-") for key, _ in pairs):
                raise bad_request("requested impersonation without impersonating a user")
            return user
        groups = [value for key, value in pairs if key == "impersonate-group"]
        parts = name.split(":")
        if name.startswith("system:serviceaccount:") and len(parts) == 4:
            wanted = Attributes("impersonate", resource="serviceaccounts", namespace=parts[2], name=parts[3])
        else:
            wanted = Attributes("impersonate", resource="users", name=name)
        self._reviews.authorizer.check(user, wanted)
        for group in groups:
            self._reviews.authorizer.check(user, Attributes("impersonate", resource="groups", name=group))
        if name.startswith("system:serviceaccount:") and len(parts) == 4 and not groups:
            groups = ["system:serviceaccounts", f"system:serviceaccounts:{parts[2]}"]
        return User(name, (*groups, "system:authenticated"))

    def _authorize(self, request: Request, target: Target | None) -> None:
        wanted = attributes(request, target)
        self._reviews.authorizer.check(request.user, wanted)
        if target is not None and target.subresource in STREAMED and wanted.verb == "get":
            # A WebSocket opens with GET. Since 1.35 that needs what the POST of the older protocol needs, too.
            self._reviews.authorizer.check(request.user, replace(wanted, verb="create"))

    def _stream(
        self, web_request: web.Request, request: Request, target: Target | None
    ) -> Awaitable[web.StreamResponse] | None:
        """The stream a request asks for, if it asks for one."""
        if target is None:
            return None
        if request.method == "GET" and not target.name and request.flag("watch"):
            accept = Accept.parse(request.header("accept"))
            keep = selection(
                target.resource, request.query.get("labelSelector", ""), request.query.get("fieldSelector", "")
            )
            return serve_watch(
                web_request,
                self._registry.store,
                target.resource,
                target.namespace,
                keep,
                lambda obj: self._representation(target.resource, obj, accept, request),
                timeout=float(request.number("timeoutSeconds")),
            )
        if target.resource is r.PODS and target.subresource in STREAMED:
            pod = self._registry.get(r.PODS, target.namespace, target.name)
            if target.subresource == "portforward":
                return serve_port_forward(web_request, pod, self._kubelet(pod))
            return serve_exec(web_request, pod, self._kubelet(pod), attach=target.subresource == "attach")
        if target.resource is r.PODS and target.subresource == "log" and request.flag("follow"):
            pod = self._registry.get(r.PODS, target.namespace, target.name)
            return stream_log(web_request, self._kubelet(pod), pod, log_request(pod, request.query), self._registry)
        return None

    def _kubelet(self, pod: Object) -> Kubelet:
        node = pod["spec"].get("nodeName")
        if not node:
            raise bad_request(f"pod {name_of(pod)} does not have a host assigned")
        if node not in self._kubelets:
            raise ApiError(500, "InternalError", f"Internal error occurred: no kubelet answers on node {node}")
        kubelet = self._kubelets[node]
        if kubelet.silent:
            why = f"error dialing backend: dial tcp {node_address(kubelet.node)}:10250: i/o timeout"
            raise ApiError(500, "InternalError", why)
        return kubelet

    async def _answer(self, request: Request, target: Target | None) -> HttpResponse:
        if target is None:
            return await self._openapi(request.path) or self._meta(request)
        if target.subresource:
            return await self._subresource(request, target)
        if "create" in target.resource.verbs and target.resource.verbs == ("create",):
            if request.method != "POST":
                raise method_not_allowed()
            return _json(
                self._reviews.review(target.resource, typed(request.parsed, target.resource.kind), request.user), 201
            )
        return self._object(request, target)

    async def _openapi(self, path: str) -> HttpResponse | None:
        """The OpenAPI document at a path, if there is one. The first request makes it, in a thread."""
        if path.rstrip("/") == "/openapi/v2":
            return HttpResponse(
                200, {"Content-Type": openapi_v2.CONTENT_TYPE}, await asyncio.to_thread(openapi_v2.document)
            )
        if not path.startswith("/openapi/v3/"):
            return None
        text = await asyncio.to_thread(openapi.document, path.removeprefix("/openapi/v3/"))
        headers = {"Content-Type": "application/json", "Cache-Control": "public, immutable"}
        return HttpResponse(200, headers, text) if text is not None else None

    def _meta(self, request: Request) -> HttpResponse:
        """Discovery, health, version, schemas."""
        parts = [part for part in request.path.split("/") if part]
        match parts:
            case []:
                return _json({"paths": ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/readyz", "/version"]})
            case ["version"]:
                return _json(discovery.version())
            case ["healthz" | "livez" | "readyz", *_]:
                return HttpResponse(200, {"Content-Type": "text/plain; charset=utf-8"}, b"ok")
            case ["openapi", "v3"]:
                return _json(openapi.index())
            case ["api"]:
                return _json(discovery.api_versions(request.header("host") or "127.0.0.1"))
            case ["apis"]:
                return _json(discovery.api_groups())
            case ["apis", group]:
                found = discovery.api_group(group)
            case ["api", version]:
                found = discovery.api_resources("", version)
            case ["apis", group, version]:
                found = discovery.api_resources(group, version)
            case _:
                found = None
        if found is None:
            raise no_such_path()
        return _json(found)

    def _object(self, request: Request, target: Target) -> HttpResponse:
        registry, resource = self._registry, target.resource
        if resource in r.METRICS:
            return self._metrics(request, target)
        call = self._call(request)
        code = 200
        if resource in _RBAC and request.method in _STORING and not call.dry_run:
            self._check_grant(request, target, call)
        match request.method, bool(target.name):
            case "GET", True:
                obj = registry.get(resource, target.namespace, target.name)
            case "GET", False:
                return self._list(request, target)
            case "POST", False:
                obj = registry.create(resource, self._namespace(target, request), _body(request, resource), call)
                code = 201
            case "PUT", True:
                obj = registry.update(resource, target.namespace, target.name, _body(request, resource), call)
            case "PATCH", True:
                obj, created = self._patch(request, target, call)
                code = 201 if created else 200
            case "DELETE", True:
                options = self._delete_options(request, call)
                obj = registry.delete(resource, target.namespace, target.name, options)
            case "DELETE", False:
                return self._delete_collection(request, target, call)
            case _:
                raise method_not_allowed()
        return _json(
            self._representation(resource, obj, Accept.parse(request.header("accept")), request), code, call.warnings
        )

    def _check_grant(self, request: Request, target: Target, call: Call) -> None:
        """Raises the 403 error for a role or binding that would give more than the caller has."""
        key, trial = (target.resource, target.namespace), replace(call, dry_run=True, warnings=[])
        if request.method == "POST":
            obj = self._registry.create(*key, _body(request, target.resource), trial)
        elif request.method == "PUT":
            obj = self._registry.update(*key, target.name, _body(request, target.resource), trial)
        else:
            obj, _ = self._patch(request, target, trial)
        self._reviews.authorizer.check_grant(request.user, target.resource, obj)

    def _metrics(self, request: Request, target: Target) -> HttpResponse:
        """What a metrics server answers."""
        if request.method != "GET" or request.flag("watch"):
            raise method_not_allowed()
        of = r.NODES if target.resource.plural == "nodes" else r.PODS
        measure = partial(self._usage.of_node if of is r.NODES else self._usage.of_pod, target.resource)
        if target.name:
            measured = measure(self._registry.get(of, target.namespace, target.name))
            if measured is None:
                raise not_found(target.resource, f"{target.namespace}/{target.name}".lstrip("/"))
            return _json(measured)
        query = request.query
        keep = selection(of, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        found = [measure(obj) for obj in self._registry.store.list(of, target.namespace) if keep(obj)]
        items = [item for item in found if item is not None]
        version = target.resource.api_version
        return _json({"kind": f"{target.resource.kind}List", "apiVersion": version, "metadata": {}, "items": items})

    @staticmethod
    def _namespace(target: Target, request: Request) -> str:
        if target.resource.namespaced and not target.namespace:
            raise method_not_allowed()
        return target.namespace

    def _patch(self, request: Request, target: Target, call: Call) -> tuple[Object, bool]:
        kind = request.header("content-type").partition(";")[0].strip()
        if kind == APPLY_PATCH and self._registry.store.get(target.resource, target.namespace, target.name) is None:
            self._reviews.authorizer.check(request.user, replace(attributes(request, target), verb="create"))
        return self._registry.patch(
            target.resource, target.namespace, target.name, kind, request.parsed, call, target.subresource
        )

    def _list(self, request: Request, target: Target) -> HttpResponse:
        if request.flag("watch"):
            raise ApiError(501, "NotImplemented", "a simulated pod can list but not watch: repeat the list instead")
        resource, store, query = target.resource, self._registry.store, request.query
        keep = selection(resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        found = [obj for obj in store.list(resource, target.namespace) if keep(obj)]
        metadata: Object = {"resourceVersion": str(store.revision)}
        if token := query.get("continue"):
            start = _continue_from(token)
            found = [obj for obj in found if (namespace_of(obj), name_of(obj)) > start]
        limit = request.number("limit")
        if limit and len(found) > limit:
            last = found[limit - 1]
            key = json.dumps([namespace_of(last), name_of(last)])
            metadata["continue"] = base64.urlsafe_b64encode(key.encode()).decode()
            metadata["remainingItemCount"] = len(found) - limit
            found = found[:limit]
        accept = Accept.parse(request.header("accept"))
        if accept.kind == "Table":
            listed = self._table(resource, found, request)
            listed["metadata"].update(metadata)
            return _json(listed)
        if accept.kind == "PartialObjectMetadataList":
            items = [partial_metadata(obj) for obj in found]
            return _json(
                {
                    "kind": "PartialObjectMetadataList",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": metadata,
                    "items": items,
                }
            )
        items = [{k: v for k, v in obj.items() if k not in ("apiVersion", "kind")} for obj in found]
        return _json(
            {
                "kind": f"{resource.kind}List",
                "apiVersion": resource.api_version,
                "metadata": metadata,
                "items": items,
            }
        )

    def _delete_collection(self, request: Request, target: Target, call: Call) -> HttpResponse:
        resource, query = target.resource, request.query
        keep = selection(resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        options = self._delete_options(request, call)
        for obj in [obj for obj in self._registry.store.list(resource, target.namespace) if keep(obj)]:
            self._registry.delete(resource, namespace_of(obj), name_of(obj), options)
        details = {"kind": resource.plural, **({"group": resource.group} if resource.group else {})}
        return _json({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})

    @staticmethod
    def _delete_options(request: Request, call: Call) -> Object:
        """DeleteOptions, in the body or as parameters of the query; what both have, the body decides."""
        options = typed(request.parsed, "DeleteOptions") if request.parsed is not None else {}
        query = request.query
        if call.dry_run:
            options.setdefault("dryRun", ["All"])
        if "propagationPolicy" in query:
            options.setdefault("propagationPolicy", query["propagationPolicy"])
        if "gracePeriodSeconds" in query:
            options.setdefault("gracePeriodSeconds", request.number("gracePeriodSeconds"))
        if "orphanDependents" in query:
            options.setdefault("orphanDependents", request.flag("orphanDependents"))
        return options

    async def _subresource(self, request: Request, target: Target) -> HttpResponse:
        registry, resource = self._registry, target.resource
        if target.subresource == PROXY:
            return await self._proxied(request, target)
        call = self._call(request)
        key = (resource, target.namespace, target.name)
        match target.subresource, request.method:
            case ("status" | "scale" | "ephemeralcontainers") as part, "GET":
                obj = registry.get(*key)
                return _json(scale_of(obj) if part == "scale" else obj)
            case "ephemeralcontainers", "PUT":
                return _json(registry.update(*key, _body(request, resource), call, "ephemeralcontainers"))
            case ("status" | "finalize") as part, "PUT":
                if part == "finalize":
                    spec = typed(request.parsed, "Namespace").get("spec") or {}
                    finalizers = spec.get("finalizers") or []
                    old = registry.get(*key)
                    obj = {**old, "spec": {**old["spec"], "finalizers": finalizers}}
                    if not call.dry_run:
                        obj = registry.change(resource, old, lambda new: new["spec"].update(finalizers=finalizers))
                else:
                    obj = registry.update(*key, _body(request, resource), call, "status")
                return _json(obj)
            case "status" | "ephemeralcontainers", "PATCH":
                obj, _ = self._patch(request, target, call)
                return _json(obj)
            case "scale", "PUT" | "PATCH":
                kind = request.header("content-type").partition(";")[0].strip()
                body = typed(request.parsed, "Scale") if request.method == "PUT" else request.parsed
                return _json(scaled(registry, *key, request.method, kind, body, call))
            case "token", "POST":
                body = typed(request.parsed, "TokenRequest")
                return _json(self._reviews.token_request(target.namespace, target.name, body), 201)
            case "eviction", "POST":
                options = typed(request.parsed, "Eviction").get("deleteOptions") or {}
                if call.dry_run:
                    options.setdefault("dryRun", ["All"])
                if not call.dry_run:
                    disrupt(registry, registry.get(*key), "EvictionByEvictionAPI", "Eviction API: evicting")
                registry.delete(*key, options)
                return _json(_CREATED, 201)
            case "binding", "POST":
                node = (typed(request.parsed, "Binding").get("target") or {}).get("name", "")
                pod = registry.get(*key)
                if not call.dry_run:
                    registry.change(resource, pod, lambda new: new["spec"].update(nodeName=node))
                return _json(_CREATED, 201)
            case "log", "GET":
                pod = registry.get(*key)
                text = read_log(self._kubelet(pod), pod, log_request(pod, request.query), registry)
                return HttpResponse(200, {"Content-Type": "text/plain"}, text)
        raise method_not_allowed()

    async def _proxied(self, request: Request, target: Target) -> HttpResponse:
        network = next(iter(self._kubelets.values())).node.network
        path = request.path.partition(f"/{target.name}/{PROXY}")[2].removeprefix("/")
        return await proxied(
            self._registry,
            network,
            target.resource,
            target.namespace,
            target.name,
            path,
            urlencode(request.pairs),
            request.method,
            request.headers,
            request.body,
        )

    def _call(self, request: Request) -> Call:
        query = request.query
        manager = query.get("fieldManager") or request.header("user-agent").partition("/")[0] or "unknown"
        validation = query.get("fieldValidation")
        dry = dry_run([value for name, value in request.pairs if name == "dryRun"])
        return Call(
            manager, dry, request.flag("force"), validation == "Strict", validation == "Ignore", request.warnings
        )

    def _representation(self, resource: Resource, obj: Object, accept: Accept, request: Request) -> Object:
        """An object in the form that the client accepts."""
        if obj.get("kind") == "Status":
            return obj
        if accept.kind == "Table":
            return self._table(resource, [obj], request)
        if accept.kind == "PartialObjectMetadata":
            return partial_metadata(obj)
        return obj

    def _table(self, resource: Resource, objects: list[Object], request: Request) -> Object:
        return table(
            resource,
            objects,
            self._registry.clock(),
            include=request.query.get("includeObject", "Metadata"),
            revision=str(self._registry.store.revision),
        )


def _needs_body(method: str, target: Target | None) -> bool:
    if target is None or target.subresource or _VERBS.get(method) not in target.resource.verbs:
        return False
    return bool(target.name) == (method != "POST")


def _stores(target: Target | None) -> bool:
    """Whether a request that creates or changes this takes memory."""
    return target is not None and target.subresource != "eviction" and target.resource.verbs != ("create",)


def _body(request: Request, resource: Resource) -> Object:
    body: Object = {} if request.parsed is None else request.parsed
    check_type(resource, body)
    return body


def _continue_from(token: str) -> tuple[str, str]:
    try:
        namespace, name = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, binascii.Error) as error:
        raise gone("The provided continue parameter is too old to display a consistent list result.") from error
    return str(namespace), str(name)


def _json(value: Any, code: int = 200, warnings: list[str] | None = None) -> HttpResponse:
    headers = {"Content-Type": "application/json"}
    if warnings:
        quoted = [text.replace("\\", "\\\\").replace('"', '\\"') for text in warnings]
        headers["Warning"] = ", ".join(f'299 - "{text}"' for text in quoted)
    return HttpResponse(code, headers, orjson.dumps(value) + b"\n")
