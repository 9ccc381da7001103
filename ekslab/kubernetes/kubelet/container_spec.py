"""Translates a container of a pod into what the container runtime takes."""

from __future__ import annotations

from ekslab.kubernetes.kubelet.environment import environment, expand
from ekslab.kubernetes.objects.quantities import quantity
from ekslab.kubernetes.objects.resources import Object, name_of, namespace_of
from ekslab.kubernetes.objects.store import Store
from ekslab.node import ContainerSpec, Mount, PidNamespace
from ekslab.node.limits import NODE_MEMORY


def container_spec(
    pod: Object,
    spec: Object,
    *,
    sandbox_id: str,
    mounts: tuple[Mount, ...],
    restarts: int,
    node_name: str,
    store: Store,
    pid_namespace: PidNamespace | None = None,
) -> ContainerSpec:
    """The runtime's spec of the container `spec` of `pod`, whose status must have its addresses.

    Raises `ConfigError` when a ConfigMap, Secret or key of its environment doesn't exist.
    """
    pod_context, context = pod["spec"].get("securityContext") or {}, spec.get("securityContext") or {}
    variables = environment(spec, pod, store)
    user = context.get("runAsUser", pod_context.get("runAsUser"))
    group = context.get("runAsGroup", pod_context.get("runAsGroup"))
    capabilities = context.get("capabilities") or {}
    limit = ((spec.get("resources") or {}).get("limits") or {}).get("memory")
    host_network = bool(pod["spec"].get("hostNetwork"))
    return ContainerSpec(
        pod_name=name_of(pod),
        pod_namespace=namespace_of(pod),
        pod_uid=pod["metadata"]["uid"],
        sandbox_id=sandbox_id,
        name=str(spec["name"]),
        image=str(spec["image"]),
        command=tuple(expand(part, variables) for part in spec.get("command") or ()),
        args=tuple(expand(part, variables) for part in spec.get("args") or ()),
        env=variables,
        workdir=spec.get("workingDir", ""),
        user="" if user is None else str(user) if group is None else f"{user}:{group}",
        tty=bool(spec.get("tty")),
        stdin=bool(spec.get("stdin")),
        stdin_once=bool(spec.get("stdinOnce")),
        privileged=bool(context.get("privileged")),
        no_new_privileges=context.get("allowPrivilegeEscalation") is False,
        read_only_root=bool(context.get("readOnlyRootFilesystem")),
        add=tuple(capabilities.get("add") or ()),
        drop=tuple(capabilities.get("drop") or ()),
        mounts=mounts,
        restart_count=restarts,
        host_network=host_network,
        host_pid=bool(pod["spec"].get("hostPID")),
        host_ipc=bool(pod["spec"].get("hostIPC")),
        pod_ip=pod["status"]["podIP"],
        hostname=node_name if host_network else name_of(pod)[:63],
        pod_labels=dict(pod["metadata"].get("labels") or {}),
        memory_limit=int(quantity(limit)) if limit else NODE_MEMORY,
        pid_namespace=pid_namespace,
    )
