"""Find, check and register the compiled plugin: the one loader that building and running both use.

A library is read once, its bytes must match the hash recorded beside it when it was built, and those bytes are mapped:
a truncated or altered file is an error message and never a crash, and one that is replaced meanwhile changes nothing.
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
    """A registered library. ``sha256``: of the bytes that are mapped, whatever the file holds by now; ``mapped``: the
    path they are mapped from; ``handle``: TensorRT's registry handle."""

    path: Path
    sha256: str
    mapped: str
    handle: Any


_registered: dict[str, Registered] = {}  # by flavour
_mapped: dict[str, tuple[str, ctypes.CDLL]] = {}  # sha256 → the path it is mapped from, which stays mapped
_kept: list[ctypes.CDLL] = []  # other libraries that must stay mapped


class PluginError(BuildError, RuntimeError):
    """The plugin cannot be used; the message says what is wrong, with which file, and what to do."""


def find() -> Path:
    """The built library: $MUTUALFORMER_PLUGIN, build/plugins/ beside the packages, or inside the package."""
    if ENVIRONMENT in os.environ:
        path = Path(os.environ[ENVIRONMENT])
        if path.is_file():
            return path.resolve()
        raise PluginError(f"{ENVIRONMENT} names {path}, which is not a file; point it at {LIBRARY} or unset it")
    package = Path(__file__).resolve().parent
    candidates = [package / LIBRARY]
    if (package.parent / "CMakeLists.txt").is_file():  # a checkout; an installed wheel has none
        candidates.insert(0, package.parent / "build" / "plugins" / LIBRARY)
    for path in candidates:
        if path.is_file():
            return path
    looked = " and ".join(str(path) for path in candidates)
    raise PluginError(
        f"the plugin library was not found (looked for {looked}); build it with `make plugin` (or python -m "
        f"mutualformer.plugins.build) in a checkout, and let {ENVIRONMENT} name it where it lies elsewhere"
    )


def read(path: Path) -> tuple[bytes, Record]:
    """The bytes of a sound library of this machine and version, and its record.

    The file is read once: what is mapped later are these bytes, whatever becomes of the file meanwhile.
    Raises PluginError.
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
    content = _read_elf(path)
    _expect_digest(path, content, record.sha256)
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
    """The record of a sound library of this machine and version. Raises PluginError; maps nothing."""
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
            f"{path} is damaged or was replaced: its sha256 is {digest[:12]}…, expected {expected[:12]}… "
            f"({LIBRARY}.json); {_REBUILD}"
        )


def _in_memory(name: str, content: bytes) -> str:
    """A path under which the loader maps exactly ``content``: a sealed file in memory, open as long as the process."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return f"/proc/self/fd/{descriptor}"


def _map(path: Path, content: bytes, mode: int = ctypes.DEFAULT_MODE) -> str:
    """Map ``content``, which ``path`` held; returns the path it is mapped from. The same bytes are mapped once."""
    digest = hashlib.sha256(content).hexdigest()
    if digest not in _mapped:
        try:
            name = _in_memory(path.name, content)
            _mapped[digest] = (name, ctypes.CDLL(name, mode=mode))
        except OSError as error:
            raise PluginError(f"{path} cannot be loaded ({error}); {_REBUILD}") from None
    return _mapped[digest][0]


def _exported_info(path: Path, mapped: str) -> str:
    """What the library itself says it is, e.g. "CrossDiffusionAttention version 1; sm_75, …"."""
    try:
        function = ctypes.CDLL(mapped).mutualformer_plugin_info
    except (OSError, AttributeError) as error:
        raise PluginError(f"{path} cannot be loaded ({error}); {_REBUILD}") from None
    function.restype = ctypes.c_char_p
    text = (function() or b"").decode()
    if not text.startswith(f"{OP_TYPE} version {PLUGIN_VERSION};"):
        raise PluginError(f"{path} says it is '{text}', expected {OP_TYPE} version {PLUGIN_VERSION}; {_REBUILD}")
    return text


def _preload_rtx(plugin: Path, record: Record) -> None:
    """Make the name "libtensorrt_rtx.so" resolvable, which TensorRT-RTX opens when a plugin layer is added.

    Its wheel only has "libtensorrt_rtx.so.1"; without the name the process would be terminated by the library. The
    shim of that name beside the plugin is checked like the plugin, and nothing is searched by name.
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
        _kept.append(ctypes.CDLL(str(runtime), mode=ctypes.RTLD_GLOBAL))
    _map(shim, content, ctypes.RTLD_GLOBAL)


def load(flavor: str) -> Path:
    """Check the plugin and register it with a TensorRT flavour, "rtx" or "tensorrt"; returns the library's path.

    Idempotent. Raises PluginError (missing, damaged or foreign library, TensorRT not installed, refused).
    """
    if flavor not in FLAVORS:
        raise PluginError(f"TensorRT flavour is {flavor!r}, expected one of {', '.join(FLAVORS)}")
    path = find()
    content, record = read(path)
    if flavor in _registered:
        registered = _registered[flavor]
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
    _exported_info(path, mapped)
    registry = trt.get_plugin_registry()
    handle = registry.load_library(mapped)
    if handle is None or registry.get_creator(OP_TYPE, PLUGIN_VERSION, PLUGIN_NAMESPACE) is None:
        raise PluginError(f"{FLAVORS[flavor]} {trt.__version__} did not accept {path}; {_REBUILD}")
    _registered[flavor] = Registered(path, record.sha256, mapped, handle)
    return path


def registered(flavor: str) -> Registered:
    """The library that :func:`load` registered. Raises PluginError where it did not."""
    if flavor not in _registered:
        raise PluginError(f"no plugin is registered with TensorRT flavour {flavor} in this process")
    return _registered[flavor]


def last_error() -> str:
    """The plugin's last error message in this process, "" if there was none.

    TensorRT's own message only says that a plugin refused; this says why.
    """
    if not _registered:
        return ""
    text = ctypes.create_string_buffer(4096)
    mapped = next(iter(_registered.values())).mapped
    ctypes.CDLL(mapped).mutualformer_last_error(text, ctypes.c_size_t(len(text)))
    return text.value.decode(errors="replace")


def serialized_nodes() -> dict[str, str]:
    """Node → what the plugin put into the engine for it, e.g. "num_heads=8 … tactic=2/3", since this was last asked.

    For an engine's card: TensorRT-RTX prints neither the tactic nor the metadata of a plugin in its layer list.
    """
    if not _registered:
        return {}
    function = ctypes.CDLL(next(iter(_registered.values())).mapped).mutualformer_serialized_nodes
    function.restype, function.argtypes = ctypes.c_size_t, [ctypes.c_char_p, ctypes.c_size_t]
    size = 4096
    while True:
        text = ctypes.create_string_buffer(size)
        needed = function(text, size)
        if needed <= size:
            break
        size = needed
    lines = text.value.decode(errors="replace").splitlines()
    return dict(line.split("\t", 1) for line in lines if "\t" in line)
