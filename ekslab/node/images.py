"""Container images: root file system and entry point, and the registry that a node pulls them from."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ekslab.names import hex_id
from ekslab.node import programs
from ekslab.node.inodes import Directory, File, Inode, Symlink

# Time of an image's files: constant, so that runs are reproducible.
BUILT_AT = 1_760_000_000_000_000_000


class Layer:
    """A read-only file tree that containers share. Methods that add to it return it."""

    def __init__(self) -> None:
        self.root = Directory(0o755, now=BUILT_AT)

    def _parent(self, path: str) -> tuple[Directory, str]:
        directory = self.root
        *parents, name = [part for part in self._followed(path).split("/") if part]
        for part in parents:
            below = directory.lookup(part)
            if below is None:
                below = Directory(0o755, now=BUILT_AT)
                directory.insert(part, below, BUILT_AT)
            if not isinstance(below, Directory):
                raise ValueError(f"{path}: {part} is not a directory in this layer")
            directory = below
        return directory, name

    def _followed(self, path: str) -> str:
        """The path with links among its directories followed (`/bin/x` is `/usr/bin/x`)."""
        directory, done = self.root, "/"
        *parents, name = [part for part in path.split("/") if part]
        for part in parents:
            below = directory.lookup(part)
            if isinstance(below, Symlink):
                done = posixpath.normpath(posixpath.join(done, below.target))
                below = self.lookup(done)
            else:
                done = posixpath.join(done, part)
            directory = below if isinstance(below, Directory) else Directory()
        return posixpath.join(done, name)

    def lookup(self, path: str) -> Inode | None:
        """The inode at a path (without following links), or None."""
        current: Inode | None = self.root
        for part in (part for part in path.split("/") if part):
            current = current.lookup(part) if isinstance(current, Directory) else None
        return current

    def _add(self, path: str, inode: Inode) -> Layer:
        directory, name = self._parent(path)
        directory.insert(name, inode, BUILT_AT)
        return self

    def file(self, path: str, content: str | bytes = b"", mode: int = 0o644, uid: int = 0, gid: int = 0) -> Layer:
        data = content.encode() if isinstance(content, str) else content
        return self._add(path, File(data, mode, uid=uid, gid=gid, now=BUILT_AT))

    def directory(self, path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> Layer:
        parent, name = self._parent(path)
        below = parent.lookup(name)
        if isinstance(below, Directory):
            below.mode, below.uid, below.gid = mode, uid, gid
            return self
        return self._add(path, Directory(mode, uid=uid, gid=gid, now=BUILT_AT))

    def symlink(self, path: str, target: str) -> Layer:
        return self._add(path, Symlink(target, now=BUILT_AT))

    def program(self, path: str, name: str, mode: int = 0o755) -> Layer:
        """An executable file that is a registered program."""
        return self._add(path, File(programs.elf(name), mode, now=BUILT_AT))

    def remove(self, path: str) -> Layer:
        directory, name = self._parent(path)
        directory.remove(name, BUILT_AT)
        return self

    def user(
        self, name: str, uid: int, gid: int, home: str = "/nonexistent", shell: str = "/usr/sbin/nologin"
    ) -> Layer:
        """Adds a user and the group of the same name to /etc/passwd, /etc/group and /etc/shadow."""
        self.append("/etc/passwd", f"{name}:x:{uid}:{gid}:{name} user:{home}:{shell}\n", 0o644)
        self.append("/etc/group", f"{name}:x:{gid}:\n", 0o644)
        return self.append("/etc/shadow", f"{name}:!:20370::::::\n", 0o640)

    def append(self, path: str, text: str, mode: int = 0o644) -> Layer:
        """Adds to a file, which is made if there is none."""
        old = self.lookup(path)
        if isinstance(old, File):
            old.data = bytes(old.data) + text.encode()
            return self
        return self.file(path, text, mode)

    def copy(self) -> Layer:
        """A separate layer with the same content."""
        made = Layer()
        made.root = _copied(self.root)
        return made


def _copied(directory: Directory) -> Directory:
    made = Directory(directory.mode, uid=directory.uid, gid=directory.gid, now=directory.mtime)
    for name, inode in directory.entries.items():
        if isinstance(inode, Directory):
            made.entries[name] = _copied(inode)
        elif isinstance(inode, File):
            made.entries[name] = File(bytes(inode.data), inode.mode, uid=inode.uid, gid=inode.gid, now=inode.mtime)
        elif isinstance(inode, Symlink):
            made.entries[name] = Symlink(inode.target, now=inode.mtime)
    return made


@dataclass(frozen=True)
class Image:
    """An image. `user` is a name or number, with an optional `:group`; root when empty."""

    repository: str
    tags: tuple[str, ...]
    layer: Layer
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    workdir: str = "/"
    stop_signal: str = "SIGTERM"
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"sha256:{hex_id(64, 'image', self.repository, *self.tags)}"

    @property
    def digest(self) -> str:
        return f"sha256:{hex_id(64, 'manifest', self.repository, *self.tags)}"


class ImagePullError(Exception):
    """An image can't be pulled; `reason` and `message` are what the kubelet reports."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def normalized(reference: str) -> tuple[str, str, str]:
    """Repository, tag and digest as containerd normalizes a reference: `nginx` is docker.io/library/nginx:latest."""
    name, _, digest = reference.partition("@")
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = name, ""
    first, slash, _ = repository.partition("/")
    if not slash:
        repository = f"docker.io/library/{repository}"
    elif "." not in first and ":" not in first and first != "localhost":
        repository = f"docker.io/{repository}"
    return repository, tag or ("" if digest else "latest"), digest


class ImageRegistry:
    """Every image there is in the lab."""

    def __init__(self, images: Iterable[Image] = ()) -> None:
        self._images: dict[str, list[Image]] = {}
        for image in images:
            self.add(image)

    def add(self, image: Image) -> ImageRegistry:
        self._images.setdefault(image.repository, []).append(image)
        return self

    def __iter__(self) -> Iterator[Image]:
        for images in self._images.values():
            yield from images

    def resolve(self, reference: str) -> Image:
        """The image that a reference names, by tag or digest; ImagePullError when there is none."""
        if not _valid(reference):
            raise ImagePullError(
                "InvalidImageName",
                f'Failed to apply default image tag "{reference}": couldn\'t parse image name "{reference}": '
                "invalid reference format",
            )
        repository, tag, digest = normalized(reference)
        for image in self._images.get(repository, ()):
            if tag in image.tags or (digest and digest == image.digest):
                return image
        full = f"{repository}@{digest}" if digest else f"{repository}:{tag}"
        if repository.startswith(FAULTY):
            raise _fault(repository.removeprefix(FAULTY), full)
        prefix = f'failed to pull and unpack image "{full}": failed to resolve reference "{full}"'
        if found := self._images.get(repository):
            tags = ", ".join(tag for image in found for tag in image.tags)
            why = f"{full}: not found: of this image the embedded lab has only {tags}"
            raise ImagePullError("ErrImagePull", f"rpc error: code = NotFound desc = {prefix}: {why}")
        have = ", ".join(sorted(name.removeprefix("docker.io/").removeprefix("library/") for name in self._images))
        why = f"the embedded lab has no such image and reaches no registry: it has only {have}"
        raise ImagePullError("ErrImagePull", f"{prefix}: {why}")


FAULTY = "registry.example/"
"""A registry in which each repository named in `_FAULTS` fails as real registries do."""
_HEAD = 'failed to do request: Head "https://registry.example/v2/{name}/manifests/{tag}": '
_DENIED = "pull access denied, repository does not exist or may require authorization: "
_STATUS = "unexpected status from HEAD request to https://registry.example/v2/{name}/manifests/{tag}: "
# What containerd says after `failed to resolve reference "...": `; after a bar, in place of that.
_FAULTS = {
    "denied": f"{_DENIED}server message: insufficient_scope: authorization failed",
    "no-credentials": f"{_DENIED}authorization failed: no basic auth credentials",
    "unauthorized": "failed to authorize: failed to fetch anonymous token: unexpected status from GET request to "
    "https://registry.example/token?scope=repository%3A{name}%3Apull: 401 Unauthorized",
    "forbidden": f"{_STATUS}403 Forbidden",
    "rate-limit": f"{_STATUS}429 Too Many Requests - Server message: toomanyrequests: You have reached your "
    "unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit",
    "unavailable": f"{_STATUS}503 Service Unavailable",
    "no-name": f"{_HEAD}dial tcp: lookup registry.example on 10.0.0.2:53: no such host",
    "no-route": f"{_HEAD}dial tcp 203.0.113.10:443: i/o timeout",
    "certificate": f"{_HEAD}tls: failed to verify certificate: x509: certificate signed by unknown authority",
    "platform": "|no match for platform in manifest: not found",
    "inspect": "!",
    "disk": "|failed to extract layer sha256:0d653a9bda6a5c7c1cd8d1a5c1f4b4f0: write "
    "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/21/fs/usr/bin/x: no space left on device",
}


def _fault(name: str, full: str) -> ImagePullError:
    """How pulling an image of the registry `FAULTY` fails; one without a fault isn't there."""
    if _FAULTS.get(name) == "!":  # it is there, and can't be read
        why = (
            f'Failed to inspect image "{full}": rpc error: code = Unknown desc = failed to get image content: not found'
        )
        return ImagePullError("ImageInspectError", why)
    said = _FAULTS.get(name, f"{full}: not found").format(name=name, tag=full.rpartition(":")[2])
    whole, _, after = said.rpartition("|")
    missing = "not found" in said
    pulled = f'failed to pull and unpack image "{full}": '
    resolved = "" if "|" in said else f'failed to resolve reference "{full}": '
    code = "rpc error: code = NotFound desc = " if missing else ""
    return ImagePullError("ErrImagePull", f"{code}{pulled}{resolved}{after or whole}")


def _valid(reference: str) -> bool:
    name = reference.partition("@")[0]
    return (
        bool(name)
        and not name.endswith((":", "/"))
        and all(character.isalnum() or character in "._-/:" for character in name)
        and name.rpartition(":")[0].lower() == name.rpartition(":")[0]
    )
