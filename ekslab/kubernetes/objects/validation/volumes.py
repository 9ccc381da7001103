"""Tables of volumes, mounts and claims."""

from __future__ import annotations

from collections.abc import Iterable

from ekslab.kubernetes.objects.errors import Cause
from ekslab.kubernetes.objects.quantities import quantity
from ekslab.kubernetes.objects.resources import Object
from ekslab.kubernetes.objects.validation import formats
from ekslab.kubernetes.objects.validation.metadata import SELECTOR, TEMPLATE_METADATA
from ekslab.kubernetes.objects.validation.references import FIELD_OF_VOLUME, RESOURCE_OF_VOLUME
from ekslab.kubernetes.objects.validation.rules import (
    Causes,
    Place,
    Rule,
    Scope,
    between,
    both,
    each,
    each_unplaced,
    field,
    fields,
    forbidden,
    formatted,
    has,
    holds,
    is_unique,
    lacks,
    one_of,
    pointer,
    required,
    union,
    when,
    within,
)

mode = within(0, 0o777, "must be a number between 0 and 0777 (octal), both inclusive")
relative = holds(lambda path: not path.startswith("/"), "must be a relative path")
no_backsteps = holds(lambda path: ".." not in path.split("/"), "must not contain '..'")
absolute = holds(lambda path: path.startswith("/"), "must be an absolute path")
_not_reserved = holds(lambda path: not path.startswith("..") or path.startswith("../"), "must not start with '..'")
LOCAL_PATH = (relative, no_backsteps)
FILE = (*LOCAL_PATH, _not_reserved)
_partition = between(1, 255)
_TOKEN_SECONDS = 10 * 60
_MAX_TOKEN_SECONDS = 1 << 32

KEY_TO_PATH = fields(required("key"), required("path", *FILE), pointer("mode", mode))


def _either_reference(value: Object, at: Place, _: Scope) -> Causes:
    if "fieldRef" in value and "resourceFieldRef" in value:
        why = "fieldRef and resourceFieldRef can not be specified simultaneously"
        yield Cause.invalid(str(at), "resource", why)


DOWNWARD_FILE = fields(
    required("path", *FILE),
    field("fieldRef", FIELD_OF_VOLUME),
    _either_reference,
    when(lacks("fieldRef"), when(has("resourceFieldRef"), field("resourceFieldRef", RESOURCE_OF_VOLUME))),
    when(
        both(lacks("fieldRef"), lacks("resourceFieldRef")),
        lambda _, at, __: (Cause.required(str(at), "one of fieldRef and resourceFieldRef is required"),),
    ),
    pointer("mode", mode),
)

_TOKEN = fields(
    field(
        "expirationSeconds",
        holds(lambda seconds: seconds >= _TOKEN_SECONDS, "may not specify a duration less than 10 minutes"),
        holds(lambda seconds: seconds <= _MAX_TOKEN_SECONDS, "may not specify a duration larger than 2^32 seconds"),
        absent=0,
    ),
)
_items = field("items", each(KEY_TO_PATH))
_PROJECTED_KEYS = fields(required("name"), _items)
_CLUSTER_TRUST_BUNDLE = fields(
    when(
        both(lacks("name"), lacks("signerName")),
        lambda _, at, __: (Cause.required(str(at), "either name or signerName must be specified"),),
    ),
    required("path", *FILE),
)


def _projected_sources(sources: list[Object], at: Place, scope: Scope) -> Causes:
    """The sources of a projected volume; no two of them may fill the same file."""
    above = at.above()
    paths: set[str] = set()
    for index, source in enumerate(sources):
        place = at.item(index)
        for kind in ("secret", "configMap"):
            if (source.get(kind)) is not None:
                yield from _PROJECTED_KEYS(source[kind], place.child(kind), scope)
                yield from _conflicts(source[kind].get("items") or (), paths, source[kind].get("name", ""), above)
        if (downward := source.get("downwardAPI")) is not None:
            for file in downward.get("items") or ():
                yield from DOWNWARD_FILE(file, place.child("downwardAPI"), scope)
                yield from _conflicts([file], paths, file.get("path", ""), above)
        if (token := source.get("serviceAccountToken")) is not None:
            yield from _TOKEN(token, place.child("serviceAccountToken"), scope)
            if not token.get("path"):
                yield Cause.required(str(above.child("path")))
            for rule in FILE:
                yield from rule(token.get("path", ""), above.child("path"), scope)
        if (bundle := source.get("clusterTrustBundle")) is not None:
            yield from _CLUSTER_TRUST_BUNDLE(bundle, place.child("clusterTrustBundle"), scope)
            yield from _conflicts([bundle], paths, bundle.get("path", ""), above)
        if len(source) > 1:
            yield Cause.forbidden(str(place), "may not specify more than 1 volume type per source")


def _conflicts(files: Iterable[Object], paths: set[str], named: str, at: Place) -> Causes:
    for path in filter(None, (file.get("path") for file in files)):
        if path in paths:
            yield Cause.invalid(str(at), named, "conflicting duplicate paths")
        paths.add(path)


_driver = (
    holds(lambda name: len(name) <= 63, "must be no more than 63 characters"),
    lambda name, at, _: [Cause.invalid(str(at), name, why) for why in formats.dns_subdomain(name.lower())],
)
_ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")


def _once_pod(value: list[str], at: Place, _: Scope) -> Causes:
    if "ReadWriteOncePod" in value and set(value) & set(_ACCESS_MODES[:3]):
        yield Cause.forbidden(str(at), "may not use ReadWriteOncePod with other access modes")


def _storage(value: Object, at: Place, _: Scope) -> Causes:
    place = str(at.child("resources").key("storage"))
    text = ((value.get("resources") or {}).get("requests") or {}).get("storage")
    if text is None:
        yield Cause.required(place)
    elif quantity(text) <= 0:
        yield Cause.invalid(place, text, "must be greater than zero")


_DATA_SOURCE = fields(
    required("name"),
    required("kind"),
    when(
        lambda value: not value.get("apiGroup") and value.get("kind") != "PersistentVolumeClaim",
        lambda value, at, _: (
            Cause.invalid(
                str(at),
                value.get("kind", ""),
                "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
            ),
        ),
    ),
    field("apiGroup", formatted(formats.dns_subdomain)),
)
CLAIM = fields(
    required("accessModes", why="at least 1 access mode is required"),
    field("selector", SELECTOR),
    field("accessModes", each_unplaced(one_of(*_ACCESS_MODES)), _once_pod),
    _storage,
    field("storageClassName", formatted(formats.dns_subdomain)),
    pointer("volumeMode", one_of("Block", "Filesystem")),
    field("dataSource", _DATA_SOURCE),
    field("dataSourceRef", _DATA_SOURCE),
    field("volumeAttributesClassName", formatted(formats.dns_subdomain)),
)
_CLAIM_TEMPLATE = fields(field("metadata", TEMPLATE_METADATA, absent={}), field("spec", CLAIM, absent={}))

_HOST_PATH_TYPES = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
_host_path_type = field("type", one_of(*_HOST_PATH_TYPES))
SOURCE = union(
    field(
        "emptyDir",
        fields(
            field(
                "sizeLimit",
                lambda text, at, _: (
                    (Cause.forbidden(str(at), "SizeLimit field must be a valid resource quantity"),)
                    if quantity(text) < 0
                    else ()
                ),
            )
        ),
    ),
    field(
        "hostPath",
        fields(required("path", no_backsteps), when(lambda path: bool(path.get("path")), _host_path_type)),
    ),
    field("gitRepo", fields(required("repository"), field("directory", *LOCAL_PATH))),
    field("gcePersistentDisk", fields(required("pdName"), field("partition", _partition))),
    field("awsElasticBlockStore", fields(required("volumeID"), field("partition", _partition))),
    field("secret", fields(required("secretName"), pointer("defaultMode", mode), _items)),
    field("nfs", fields(required("server"), required("path"), field("path", absolute, absent=""))),
    field("iscsi", fields(required("targetPortal"), required("iqn"))),
    field("glusterfs", fields(required("endpoints"), required("path"))),
    field("flocker", fields()),
    field("persistentVolumeClaim", fields(required("claimName"))),
    field("rbd", fields(required("monitors"), required("image"))),
    field("cinder", fields(required("volumeID"))),
    field("cephfs", fields(required("monitors"))),
    field("quobyte", fields(required("registry"), required("volume"))),
    field(
        "downwardAPI",
        fields(pointer("defaultMode", mode), field("items", each(DOWNWARD_FILE, place=lambda at, _: at.above()))),
    ),
    field("fc", fields()),
    field("flexVolume", fields(required("driver"))),
    field("configMap", fields(required("name"), pointer("defaultMode", mode), _items)),
    field("azureFile", fields(required("secretName"), required("shareName"))),
    field("vsphereVolume", fields(required("volumePath"))),
    field("photonPersistentDisk", fields(required("pdID"))),
    field("portworxVolume", fields(required("volumeID"))),
    field("azureDisk", fields(required("diskName"), required("diskURI"))),
    field("storageos", fields(required("volumeName"))),
    field("projected", fields(pointer("defaultMode", mode), field("sources", _projected_sources))),
    field("scaleIO", fields(required("gateway"), required("system"), required("volumeName"))),
    field(
        "csi",
        fields(
            required("driver", *_driver),
            field("nodePublishSecretRef", fields(required("name", formatted(formats.dns_subdomain)))),
        ),
    ),
    field("ephemeral", fields(required("volumeClaimTemplate"), field("volumeClaimTemplate", _CLAIM_TEMPLATE))),
    field("image", fields(required("reference"), field("pullPolicy", one_of("Always", "IfNotPresent", "Never")))),
    many="may not specify more than 1 volume type",
    none="must specify a volume type",
)
VOLUME = fields(SOURCE, required("name", formatted(formats.dns_label), is_unique))


def volumes(value: list[Object], at: Place, scope: Scope) -> Causes:
    """The table of each volume; those that are right can be mounted."""
    scope.seen = {}
    for index, volume in enumerate(value):
        if causes := list(VOLUME(volume, at.item(index), scope)):
            scope.seen.get("name", set()).discard(volume.get("name"))
            scope.seen.setdefault("name", set()).update(scope.volumes)
            yield from causes
        else:
            scope.volumes[volume["name"]] = volume
    scope.seen = {}


def _bidirectional(value: str, at: Place, scope: Scope) -> Causes:
    if value == "Bidirectional" and not (scope.container.get("securityContext") or {}).get("privileged"):
        why = "Bidirectional mount propagation is available only to privileged containers"
        yield Cause.forbidden(str(at), why)


def _is_volume(name: str, at: Place, scope: Scope) -> Causes:
    return () if name in scope.volumes else (Cause.not_found(str(at), name),)


def _is_no_device(kind: str, why: str) -> Rule:
    def check(value: str, at: Place, scope: Scope) -> Causes:
        if any(device.get(kind) == value for device in scope.container.get("volumeDevices") or ()):
            yield Cause.invalid(str(at), value, why)

    return check


def _is_no_mount(kind: str, why: str) -> Rule:
    def check(value: str, at: Place, scope: Scope) -> Causes:
        if any(mount.get(kind) == value for mount in scope.container.get("volumeMounts") or ()):
            yield Cause.invalid(str(at), value, why)

    return check


def _mounted_once(value: str, at: Place, scope: Scope) -> Causes:
    seen = scope.seen.setdefault(at.name, set())
    if value in seen:
        yield Cause.invalid(str(at), value, "must be unique")
    seen.add(value)


def _in_list(*rules: Rule) -> Rule:
    """Rules whose messages name the list's field, and not the item's: `volumeMounts.subPath`."""

    def check(value: str, at: Place, scope: Scope) -> Causes:
        for rule in rules:
            yield from rule(value, at.above(2).child(at.name), scope)

    return check


_read_only_needed = when(
    lambda mount: mount.get("recursiveReadOnly") in ("Enabled", "IfPossible"),
    when(
        lambda mount: not mount.get("readOnly"),
        field("recursiveReadOnly", _in_list(forbidden("may only be specified when readOnly is true"))),
    ),
    when(
        lambda mount: mount.get("mountPropagation", "None") != "None",
        field(
            "recursiveReadOnly",
            _in_list(forbidden("may only be specified when mountPropagation is None or not specified")),
        ),
    ),
)
MOUNT = fields(
    required("name"),
    field("name", _is_volume, absent=""),
    required("mountPath"),
    field("mountPath", _mounted_once, absent=""),
    field("name", _is_no_device("name", "must not already exist in volumeDevices")),
    field("mountPath", _is_no_device("devicePath", "must not already exist as a path in volumeDevices")),
    field("subPath", _in_list(*LOCAL_PATH)),
    when(
        lambda mount: bool(mount.get("subPath")),
        field(
            "subPathExpr",
            lambda value, at, _: (Cause.invalid(str(at), value, "subPathExpr and subPath are mutually exclusive"),),
        ),
    ),
    field("subPathExpr", _in_list(*LOCAL_PATH)),
    pointer("mountPropagation", _in_list(one_of("Bidirectional", "HostToContainer", "None"), _bidirectional)),
    _read_only_needed,
    pointer("recursiveReadOnly", _in_list(one_of("Disabled", "Enabled", "IfPossible"))),
)


def _is_block_volume(name: str, at: Place, scope: Scope) -> Causes:
    volume = scope.volumes.get(name)
    if volume is None:
        yield Cause.not_found(str(at), name)
    elif "persistentVolumeClaim" not in volume and "ephemeral" not in volume:
        why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
        yield Cause.invalid(str(at), name, why)


DEVICE = fields(
    required("name", _mounted_once),
    field("name", _is_block_volume, absent=""),
    required("devicePath", _mounted_once),
    field(
        "devicePath",
        holds(lambda path: ".." not in path.split("/"), "can not contain backsteps ('..')"),
    ),
    field("name", _is_no_mount("name", "must not already exist in volumeMounts")),
    field("devicePath", _is_no_mount("mountPath", "must not already exist as a path in volumeMounts")),
)
