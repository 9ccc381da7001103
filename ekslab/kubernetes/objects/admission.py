"""Admission of new objects: service account tokens, IAM roles for service accounts, default tolerations, priority,
pod security, limits and quotas."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ekslab import names
from ekslab.kubernetes.objects import pod_security, quota
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.errors import forbidden, invalid, not_found
from ekslab.kubernetes.objects.pod_identity import containers_of, give_identity
from ekslab.kubernetes.objects.resources import Object, Resource
from ekslab.kubernetes.objects.store import Store
from ekslab.kubernetes.objects.validation import formats
from ekslab.kubernetes.objects.webhooks import Webhooks

_API_ACCESS_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"

_TEMPLATED = (r.DEPLOYMENTS, r.REPLICA_SETS, r.DAEMON_SETS, r.JOBS)


class Admission:
    """Mutates and checks new objects. `region` is the AWS region that the pod identity webhook gives to pods."""

    def __init__(self, store: Store, region: str) -> None:
        self._store = store
        self._region = region
        self.webhooks = Webhooks(store)
        self.associated: Callable[[str, str], bool] = lambda namespace, account: False
        """Whether EKS has a Pod Identity association for a service account."""

    def admit_create(self, resource: Resource, obj: Object) -> None:
        """Changes a new `obj` in place, before it is validated. Raises the API error with which it is refused."""
        self._check_namespace(resource, obj)
        if resource is r.PODS:
            self._service_account(obj)
            self._pod_identity(obj)
            self._tolerations(obj)
            self._priority(obj)
            self._runtime_class(obj)
            quota.default_limits(self._store, obj)
        self.webhooks.call("mutating", resource, obj, None)

    def admit_update(self, resource: Resource, obj: Object, old: Object) -> None:
        """Changes what is to replace `old` in place, before it is validated."""
        if resource is r.PODS:
            self._tolerations(obj)
            for name in ("priority", "preemptionPolicy"):
                if obj["spec"].get(name) is None and name in old["spec"]:
                    obj["spec"][name] = old["spec"][name]
        self.webhooks.call("mutating", resource, obj, old)

    @staticmethod
    def _runtime_class(pod: Object) -> None:
        """The cluster has no runtime but containerd's own."""
        if (name := pod["spec"].get("runtimeClassName")) is not None:
            why = f'pod rejected: RuntimeClass "{name}" not found'
            raise forbidden(r.PODS, pod["metadata"].get("name", ""), why)

    def check(self, resource: Resource, obj: Object, old: Object | None, warnings: list[str]) -> None:
        """Pod security, limits and quotas for a valid object that is new or replaces `old`.

        Raises 403 and 422; appends to `warnings`.
        """
        if resource is r.NAMESPACES:
            self._security_labels(obj, old, warnings)
        elif resource is r.PODS and old is not None:
            if pod_security.images(obj["spec"]) != pod_security.images(old["spec"]):
                self._pod_security(resource, obj, warnings)
        elif resource is r.PODS or resource in _TEMPLATED:
            self._pod_security(resource, obj, warnings)
        if resource is r.PODS and old is None:
            quota.check_limits(self._store, obj)
        self.webhooks.call("validating", resource, obj, old)
        quota.check_quotas(self._store, resource, obj, old)

    def _check_namespace(self, resource: Resource, obj: Object) -> None:
        if not resource.namespaced:
            return
        name = obj["metadata"]["namespace"]
        namespace = self._store.get(r.NAMESPACES, "", name)
        if namespace is None:
            raise not_found(r.NAMESPACES, name)
        if namespace["metadata"].get("deletionTimestamp") and resource is not r.EVENTS:
            why = f"unable to create new content in namespace {name} because it is being terminated"
            error = forbidden(resource, obj["metadata"].get("name", ""), why)
            assert error.details is not None
            error.details["causes"] = [
                {
                    "reason": "NamespaceTerminating",
                    "message": f"namespace {name} is being terminated",
                    "field": "metadata.namespace",
                }
            ]
            raise error

    def _service_account(self, pod: Object) -> None:
        spec = pod["spec"]
        namespace = pod["metadata"]["namespace"]
        if (pod["metadata"].get("annotations") or {}).get("kubernetes.io/config.mirror"):
            return
        name = spec["serviceAccountName"] = spec.get("serviceAccountName") or "default"
        spec["serviceAccount"] = name
        account = self._store.get(r.SERVICE_ACCOUNTS, namespace, name)
        if account is None:
            wrong = formats.path_segment(name)
            lacks = (
                f'invalid resource name "{name}": [{" ".join(wrong)}]'
                if wrong
                else f'serviceaccount "{name}" not found'
            )
            why = f"error looking up service account {namespace}/{name}: {lacks}"
            raise forbidden(r.PODS, pod["metadata"].get("name", ""), why)
        if account.get("imagePullSecrets") and not spec.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [dict(item) for item in account["imagePullSecrets"]]
        automount = spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken", True))
        if not automount:
            return
        volume = f"kube-api-access-{names.suffix(5, 'kube-api-access', namespace, pod['metadata'].get('name', ''))}"
        containers = containers_of(spec)
        lacking = [
            c
            for c in containers
            if not any(m.get("mountPath") == _API_ACCESS_DIRECTORY for m in c.get("volumeMounts") or ())
        ]
        if not lacking:
            return
        for container in lacking:
            container.setdefault("volumeMounts", []).append(
                {"name": volume, "readOnly": True, "mountPath": _API_ACCESS_DIRECTORY}
            )
        spec.setdefault("volumes", []).append(
            {
                "name": volume,
                "projected": {
                    "sources": [
                        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                        {
                            "configMap": {
                                "name": "kube-root-ca.crt",
                                "items": [{"key": "ca.crt", "path": "ca.crt"}],
                            }
                        },
                        {
                            "downwardAPI": {
                                "items": [
                                    {
                                        "path": "namespace",
                                        "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                                    }
                                ]
                            }
                        },
                    ],
                    "defaultMode": 420,
                },
            }
        )

    def _pod_identity(self, pod: Object) -> None:
        """Lets pods of a service account with a role have it, as the pod identity webhook of EKS does."""
        namespace, name = pod["metadata"]["namespace"], pod["spec"].get("serviceAccountName", "")
        account = self._store.get(r.SERVICE_ACCOUNTS, namespace, name)
        give_identity(pod, account or {}, self._region, associated=self.associated(namespace, name))

    def _tolerations(self, pod: Object) -> None:
        tolerations = pod["spec"].setdefault("tolerations", [])
        for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
            if not any(
                t.get("key") in (None, "", key) and t.get("effect") in (None, "", "NoExecute") for t in tolerations
            ):
                tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})

    def _priority(self, pod: Object) -> None:
        spec = pod["spec"]
        name = spec.get("priorityClassName")
        value, priority = 0, None
        if name:
            priority = self._store.get(r.PRIORITY_CLASSES, "", name)
            if priority is None:
                raise forbidden(r.PODS, pod["metadata"].get("name", ""), f"no PriorityClass with name {name} was found")
            value = priority["value"]
        spec["priority"] = value
        policy = (priority or {}).get("preemptionPolicy") or "PreemptLowerPriority"
        if spec.setdefault("preemptionPolicy", policy) != policy:
            why = (
                f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod spec; "
                f"priority admission controller computed {policy} from the given PriorityClass name"
            )
            raise forbidden(r.PODS, pod["metadata"].get("name", ""), why)

    def _security_labels(self, namespace: Object, old: Object | None, warnings: list[str]) -> None:
        """Refuses labels that name no level; warns of the pods that a tightened namespace wouldn't take any more."""
        labels = namespace["metadata"].get("labels") or {}
        before = (old or {}).get("metadata", {}).get("labels") or {}
        name = namespace["metadata"]["name"]
        if (causes := pod_security.wrong_labels(labels)) and causes != pod_security.wrong_labels(before):
            raise invalid(r.NAMESPACES, name, causes)
        if old is None:
            return
        level, version = pod_security.level(labels, "enforce")
        if pod_security.is_tighter((level, version), pod_security.level(before, "enforce")):
            warnings += pod_security.violating(name, (level, version), self._store.list(r.PODS, name))

    def _pod_security(self, resource: Resource, obj: Object, warnings: list[str]) -> None:
        namespace = self._store.get(r.NAMESPACES, "", obj["metadata"]["namespace"])
        labels = ((namespace or {}).get("metadata") or {}).get("labels") or {}
        is_pod = resource is r.PODS
        holder = obj if is_pod else obj["spec"]["template"]
        notes = (holder.get("metadata") or {}).get("annotations") or {}
        broken = partial(pod_security.violations, holder["spec"], annotations=notes, is_pod=is_pod)
        if is_pod:
            wanted, version = pod_security.level(labels, "enforce")
            if found := broken(wanted):
                why = f'violates PodSecurity "{wanted}:{version}": {", ".join(found)}'
                raise forbidden(r.PODS, obj["metadata"].get("name", ""), why)
        wanted, version = pod_security.warn_level(labels)
        if found := broken(wanted):
            warnings.append(f'would violate PodSecurity "{wanted}:{version}": {", ".join(found)}')
