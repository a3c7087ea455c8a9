"""Finds, checks and registers the compiled plugin, for building engines and for running them.

The loader reads the library once, compares its hash with the record made when it was built, and maps those very bytes:
a truncated or altered file gives an error message instead of a crash, and replacing the file later changes nothing.
Standard library only; TensorRT is imported lazily.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import importlib
import os
import platform
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutualformer.errors import BuildError
from mutualformer.extras import install
from mutualformer.plugins.attributes import OP_TYPE, PLUGIN_NAMESPACE, PLUGIN_VERSION
from mutualformer.plugins.compile.headers import rtx_library
from mutualformer.plugins.record import Record, record_path
from mutualformer.plugins.record import read as read_record

LIBRARY = "libmutualformer_plugin.so"
SHIM = "libtensorrt_rtx.so"
FLAVORS = {"tensorrt": "tensorrt", "rtx": "tensorrt_rtx"}  # TensorRT flavour → its Python module
ENVIRONMENT = "MUTUALFORMER_PLUGIN"

_ELF_MACHINES = {"x86_64": 62, "aarch64": 183}
_REBUILD = "build it again with `make plugin`"


@dataclass(frozen=True)
class Registered:
    """A registered library. ``sha256``: of the mapped bytes, even if the file has changed since; ``mapped``: the path
    they are mapped from; ``handle``: TensorRT's registry handle."""

    path: Path
    sha256: str
    mapped: str
    handle: Any


_registered: dict[str, Registered] = {}  # by flavour
_mapped: dict[str, tuple[str, ctypes.CDLL]] = {}  # sha256 → path and library, which must stay mapped
_kept: list[ctypes.CDLL] = []  # other libraries that must stay mapped


class PluginError(BuildError, RuntimeError):
    """The plugin cannot be used; the message names the file, the fault and the remedy."""


def find() -> Path:
    """The built library: $MUTUALFORMER_PLUGIN, build/plugins/ beside the packages, or inside the package."""
    if ENVIRONMENT in os.environ:
        path = Path(os.environ[ENVIRONMENT])
        if path.is_file():
            return path.resolve()
        raise PluginError(f"{ENVIRONMENT} names {path}, which is not a file; point it at {LIBRARY} or unset it")
    package = Path(__file__).resolve().parent
    # A checkout's own build comes first: a developer who rebuilds must not test the copy in the package.
    candidates = [package.parent / "build" / "plugins" / LIBRARY, package / LIBRARY]
    for path in candidates:
        if path.is_file():
            return path
    looked = " and ".join(str(path) for path in candidates)
    raise PluginError(
        f"the plugin library was not found (looked for {looked}); build it with `make plugin` (or python -m "
        f"mutualformer.plugins.build) in a checkout, and let {ENVIRONMENT} name it where it lies elsewhere"
    )


def read(path: Path) -> tuple[bytes, Record]:
    """The bytes of the library and its record, once both are checked against each other and against this machine.

    The caller maps these bytes, so a file that changes meanwhile has no effect. Raises PluginError.
    """
    sidecar = record_path(path)
    try:
        record = read_record(sidecar)
    except FileNotFoundError:
        raise PluginError(
            f"{path} has no record {sidecar.name} beside it, so it cannot be checked; {_REBUILD}"
        ) from None
    except (OSError, ValueError) as error:
        raise PluginError(f"{sidecar} cannot be read ({error}), expected a sealed JSON record; {_REBUILD}") from None
    # Everything below judges these bytes and no file: replacing the file after this line changes nothing.
    content = _read_elf(path)
    _expect_digest(path, content, record.sha256)
    # Offset 18 of an ELF header is e_machine. The loader's own message would be "cannot open shared object file".
    machine, own_machine = struct.unpack_from("<H", content, 18)[0], _ELF_MACHINES.get(platform.machine())
    if machine != own_machine:
        raise PluginError(
            f"{path} is built for another processor (ELF machine {machine}, expected {own_machine} for "
            f"{platform.machine()}); {_REBUILD} on this machine"
        )
    if record.plugin_version != PLUGIN_VERSION:
        raise PluginError(f"{path} is plugin version {record.plugin_version}, expected {PLUGIN_VERSION}; {_REBUILD}")
    return content, record


def check(path: Path) -> Record:
    """The record of a library that :func:`read` accepts. Raises PluginError; maps nothing."""
    return read(path)[1]


def _read_elf(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PluginError(f"{path} cannot be read ({error.strerror}); {_REBUILD}") from None
    if len(content) < 64 or content[:4] != b"\x7fELF":
        raise PluginError(f"{path} is not a shared library ({len(content)} bytes, no ELF header); {_REBUILD}")
    return content


def _expect_digest(path: Path, content: bytes, expected: str) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected:
        raise PluginError(
            f"{path} is corrupt or was replaced: its sha256 is {digest[:12]}…, expected {expected[:12]}… "
            f"({LIBRARY}.json); {_REBUILD}"
        )


def _in_memory(name: str, content: bytes) -> str:
    """A path to map exactly ``content`` from: a sealed file in memory that lives as long as the process."""
    # A file in memory has no path that somebody else could write to, and the seals forbid this process to change it
    # too. dlopen takes it by its name under /proc.
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return f"/proc/self/fd/{descriptor}"


def _map(path: Path, content: bytes, mode: int = ctypes.DEFAULT_MODE) -> str:
    """Map ``content``, read from ``path``, unless it is mapped already; returns the path it is mapped from."""
    digest = hashlib.sha256(content).hexdigest()
    # Mapping the same bytes twice would give two copies of the plugin's globals, and with them two registries of
    # kernels.
    if digest not in _mapped:
        try:
            name = _in_memory(path.name, content)
            _mapped[digest] = (name, ctypes.CDLL(name, mode=mode))
        except OSError as error:
            raise PluginError(f"{path} cannot be loaded ({error}); {_REBUILD}") from None
    return _mapped[digest][0]


def _preload_rtx(plugin: Path, record: Record) -> None:
    """Make the name "libtensorrt_rtx.so" resolvable, which TensorRT-RTX opens when a plugin layer is added.

    Its wheel only has "libtensorrt_rtx.so.1", and TensorRT-RTX terminates the process where it does not find the
    name. The shim of that name beside the plugin is checked like the plugin; no search path is used.
    """
    shim = plugin.with_name(SHIM)
    if not record.shim_sha256:
        raise PluginError(
            f"{plugin} was built without {SHIM}, which TensorRT-RTX needs; install tensorrt-rtx-cu13 and {_REBUILD}"
        )
    if record.shim_sha256 in _mapped:
        return
    if not shim.is_file():
        raise PluginError(
            f"{shim} is missing: TensorRT-RTX needs that name beside the plugin; install tensorrt-rtx-cu13 and "
            f"{_REBUILD}"
        )
    content = _read_elf(shim)
    _expect_digest(shim, content, record.shim_sha256)
    runtime = rtx_library()
    if runtime is not None:
        # RTLD_GLOBAL makes its symbols visible to the shim, which has none of its own.
        _kept.append(ctypes.CDLL(str(runtime), mode=ctypes.RTLD_GLOBAL))
    _map(shim, content, ctypes.RTLD_GLOBAL)


def load(flavor: str) -> Path:
    """Check the plugin and register it with a TensorRT flavour, "rtx" or "tensorrt"; returns the library's path.

    Idempotent. Raises PluginError: the library is missing, corrupt or for another machine, or TensorRT is missing or
    refuses it.
    """
    if flavor not in FLAVORS:
        raise PluginError(f"TensorRT flavour is {flavor!r}, expected one of {', '.join(FLAVORS)}")
    path = find()
    content, record = read(path)
    if flavor in _registered:
        registered = _registered[flavor]
        # TensorRT cannot forget a plugin while an engine uses it, so another library needs another process.
        if (registered.path, registered.sha256) == (path, record.sha256):
            return path
        raise PluginError(
            f"{registered.path} ({registered.sha256[:12]}…) is already registered with {flavor}; start a new process "
            f"to load {path} ({record.sha256[:12]}…)"
        )
    try:
        trt = importlib.import_module(FLAVORS[flavor])
    except (ImportError, OSError) as error:
        raise PluginError(f"TensorRT flavour {flavor} is not usable here ({error}): {install(flavor)}") from None
    if flavor == "rtx":
        _preload_rtx(path, record)
    mapped = _map(path, content)
    registry = trt.get_plugin_registry()
    handle = registry.load_library(mapped)
    # A library may load and yet register nothing, for instance where it was built against another major version of
    # TensorRT; asking for the creator finds that.
    if handle is None or registry.get_creator(OP_TYPE, PLUGIN_VERSION, PLUGIN_NAMESPACE) is None:
        raise PluginError(f"{FLAVORS[flavor]} {trt.__version__} did not accept {path}; {_REBUILD}")
    _registered[flavor] = Registered(path, record.sha256, mapped, handle)
    return path


def last_error() -> str:
    """The plugin's last error message in this process, "" if there was none.

    TensorRT's own message only reports that a plugin refused; this gives the reason.
    """
    if not _registered:
        return ""
    text = ctypes.create_string_buffer(4096)
    mapped = next(iter(_registered.values())).mapped
    ctypes.CDLL(mapped).mutualformer_last_error(text, ctypes.c_size_t(len(text)))
    return text.value.decode(errors="replace")
