"""Review APIs (SubjectAccessReview, TokenReview, TokenRequest) and the Scale subresource."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ekslab.identity import API_AUDIENCE, ServiceAccountIssuer
from ekslab.kubernetes.apiserver.auth import (
    Attributes,
    Authenticator,
    Authorizer,
    User,
)
from ekslab.kubernetes.apiserver.bodies import typed
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.errors import Cause, bad_request, invalid
from ekslab.kubernetes.objects.json_patch import json_patch
from ekslab.kubernetes.objects.patch import merge_patch
from ekslab.kubernetes.objects.registry import JSON_PATCH, Call, Registry
from ekslab.kubernetes.objects.resources import Object, Resource, name_of, namespace_of
from ekslab.kubernetes.objects.selectors import selector_text
from ekslab.kubernetes.objects.timestamps import rfc3339


class Reviews:
    """Reviews and tokens. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        registry: Registry,
        authenticator: Authenticator,
        authorizer: Authorizer,
        issuer: ServiceAccountIssuer,
        clock: Callable[[], float],
    ) -> None:
        self.authenticator = authenticator
        self.authorizer = authorizer
        self._registry = registry
        self._issuer = issuer
        self._clock = clock

    def review(self, resource: Resource, body: Object, user: User) -> Object:
        """The review, with its status filled in."""
        spec = body.get("spec") or {}
        status: Object
        if resource is r.SELF_SUBJECT_ACCESS_REVIEWS:
            status = self._access(user, spec)
        elif resource is r.SUBJECT_ACCESS_REVIEWS:
            status = self._access(User(spec.get("user", ""), tuple(spec.get("groups") or ())), spec)
        elif resource is r.SELF_SUBJECT_RULES_REVIEWS:
            status = self._rules(user, spec.get("namespace", ""))
        elif resource is r.SELF_SUBJECT_REVIEWS:
            status = {"userInfo": user.info()}
        else:
            status = self._token(spec)
        return {
            "kind": resource.kind,
            "apiVersion": resource.api_version,
            "metadata": {"creationTimestamp": None},
            "spec": spec,
            "status": status,
        }

    def _access(self, user: User, spec: Object) -> Object:
        if path := spec.get("nonResourceAttributes"):
            wanted = Attributes(path.get("verb", ""), path=path.get("path", ""))
        else:
            attributes = spec.get("resourceAttributes")
            if attributes is None:
                raise bad_request("exactly one of nonResourceAttributes or resourceAttributes must be specified")
            wanted = Attributes(
                attributes.get("verb", ""),
                attributes.get("group", ""),
                attributes.get("resource", ""),
                attributes.get("subresource", ""),
                attributes.get("namespace", ""),
                attributes.get("name", ""),
            )
        return {"allowed": self.authorizer.allows(user, wanted)}

    def _rules(self, user: User, namespace: str) -> Object:
        rules = self.authorizer.rules(user, namespace)
        return {
            "resourceRules": [rule for rule in rules if rule.get("resources")],
            "nonResourceRules": [rule for rule in rules if rule.get("nonResourceURLs")],
            "incomplete": False,
        }

    def _token(self, spec: Object) -> Object:
        audiences = spec.get("audiences") or [API_AUDIENCE]
        for audience in audiences:
            user = self.authenticator.authenticate(spec.get("token", ""), audience)
            if user is not None:
                return {"authenticated": True, "user": user.info(), "audiences": [audience]}
        return {"authenticated": False, "user": {}, "error": "invalid bearer token"}

    def token_request(self, namespace: str, name: str, body: Object) -> Object:
        """A `TokenRequest` with its token. Raises 404 and 422 errors."""
        account = self._registry.get(r.SERVICE_ACCOUNTS, namespace, name)
        spec = body.get("spec") or {}
        lifetime = int(spec.get("expirationSeconds") or 3600)
        if lifetime < 600:
            why = "may not specify a duration less than 10 minutes"
            raise invalid(
                Resource("authentication.k8s.io", "v1", "TokenRequest", "tokenrequests"),
                name,
                [Cause.invalid("spec.expirationSeconds", lifetime, why)],
            )
        audiences = spec.get("audiences") or [API_AUDIENCE]
        bound = spec.get("boundObjectRef") or {}
        pod = self._registry.get(r.PODS, namespace, bound["name"]) if bound.get("kind") == "Pod" else None
        now = self._clock()
        token = self._issuer.issue(
            namespace,
            name,
            audience=audiences[0],
            now=now,
            lifetime=lifetime,
            pod=name_of(pod) if pod else None,
            pod_uid=pod["metadata"]["uid"] if pod else None,
            service_account_uid=account["metadata"]["uid"],
        )
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": name, "namespace": namespace, "creationTimestamp": rfc3339(now)},
            "spec": {"audiences": audiences[:1], "expirationSeconds": lifetime, "boundObjectRef": bound or None},
            "status": {"token": token, "expirationTimestamp": rfc3339(now + lifetime)},
        }


def scale_of(obj: Object) -> Object:
    """The `Scale` of a Deployment or ReplicaSet."""
    metadata = {
        key: obj["metadata"][key]
        for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        if key in obj["metadata"]
    }
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": obj["spec"].get("replicas", 0)},
        "status": {
            "replicas": obj.get("status", {}).get("replicas", 0),
            "selector": selector_text(obj["spec"].get("selector")),
        },
    }


def scaled(
    registry: Registry,
    resource: Resource,
    namespace: str,
    name: str,
    method: str,
    kind: str,
    body: Any,
    call: Call,
) -> Object:
    """Sets the number of replicas by a `Scale` (PUT) or a patch of one; returns the new `Scale`."""
    obj = registry.get(resource, namespace, name)
    if method == "PUT":
        wanted = body
    else:
        wanted = (json_patch if kind == JSON_PATCH else merge_patch)(scale_of(obj), body)
    wanted = typed(wanted, "Scale")
    replicas = (wanted.get("spec") or {}).get("replicas", 0)
    version = (wanted.get("metadata") or {}).get("resourceVersion")
    new = {**obj, "spec": {**obj["spec"], "replicas": replicas}}
    new["metadata"] = {**obj["metadata"], **({"resourceVersion": version} if version else {})}
    return scale_of(registry.update(resource, namespace_of(obj), name_of(obj), new, call))
