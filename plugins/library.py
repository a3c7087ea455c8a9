"""Find, check and register the compiled plugin: the one loader that building and running both use.

A library is only mapped into the process after its bytes match the hash recorded beside it when it was built, so a
truncated or altered file is an error message and never a crash. Standard library only; TensorRT is imported lazily.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import json
import os
import platform
import struct
from pathlib import Path
from typing import Any

from mutualformer.plugins.attributes import OP_TYPE, PLUGIN_NAMESPACE, PLUGIN_VERSION
from mutualformer.plugins.compile.headers import rtx_library

LIBRARY = "libmutualformer_plugin.so"
SHIM = "libtensorrt_rtx.so"
FLAVORS = {"rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}
ENVIRONMENT = "MUTUALFORMER_PLUGIN"

_ELF_MACHINES = {"x86_64": 62, "aarch64": 183}
_REBUILD = "build it again with `make plugin`"

_registered: dict[str, tuple[Path, Any]] = {}  # flavour → (library, registry handle)
_kept: list[ctypes.CDLL] = []  # libraries that must stay mapped


class PluginError(RuntimeError):
    """The plugin cannot be used; the message says what is wrong, with which file, and what to do."""


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def find() -> Path:
    """The built library: $MUTUALFORMER_PLUGIN, build/plugins/ beside the packages, or inside the package."""
    if ENVIRONMENT in os.environ:
        path = Path(os.environ[ENVIRONMENT])
        if path.is_file():
            return path.resolve()
        raise PluginError(f"{ENVIRONMENT} names {path}, which is not a file; point it at {LIBRARY} or unset it")
    package = Path(__file__).resolve().parent
    candidates = [package.parent / "build" / "plugins" / LIBRARY, package / LIBRARY]
    for path in candidates:
        if path.is_file():
            return path
    looked = " and ".join(str(path) for path in candidates)
    raise PluginError(f"the plugin library was not found (looked for {looked}); build it with `make plugin`")


def check(path: Path) -> dict[str, Any]:
    """The record of a sound library of this machine and version. Raises PluginError; never maps a file unchecked."""
    sidecar = path.with_name(path.name + ".json")
    try:
        record = json.loads(sidecar.read_text())
        expected, version = str(record["sha256"]), str(record["plugin_version"])
    except FileNotFoundError:
        raise PluginError(
            f"{path} has no record {sidecar.name} beside it, so it cannot be checked; {_REBUILD}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PluginError(f"{sidecar} cannot be read ({error}), expected a JSON record; {_REBUILD}") from None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PluginError(f"{path} cannot be read ({error.strerror}); {_REBUILD}") from None
    if len(content) < 64 or content[:4] != b"\x7fELF":
        raise PluginError(f"{path} is not a shared library ({len(content)} bytes, no ELF header); {_REBUILD}")
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise PluginError(
            f"{path} is damaged or was replaced: its sha256 is {found[:12]}…, expected {expected[:12]}… "
            f"({sidecar.name}); {_REBUILD}"
        )
    machine, wanted = struct.unpack_from("<H", content, 18)[0], _ELF_MACHINES.get(platform.machine())
    if machine != wanted:
        raise PluginError(
            f"{path} is built for another processor (ELF machine {machine}, expected {wanted} for "
            f"{platform.machine()}); {_REBUILD} on this machine"
        )
    if version != PLUGIN_VERSION:
        raise PluginError(f"{path} is plugin version {version}, expected {PLUGIN_VERSION}; {_REBUILD}")
    return dict(record)


def _exported_info(path: Path) -> str:
    """What the library itself says it is, e.g. "CrossDiffusionAttention version 1; sm_75, …"."""
    try:
        library = ctypes.CDLL(str(path))
        function = library.mutualformer_plugin_info
    except (OSError, AttributeError) as error:
        raise PluginError(f"{path} cannot be loaded ({error}); {_REBUILD}") from None
    function.restype = ctypes.c_char_p
    text = (function() or b"").decode()
    if not text.startswith(f"{OP_TYPE} version {PLUGIN_VERSION};"):
        raise PluginError(f"{path} says it is '{text}', expected {OP_TYPE} version {PLUGIN_VERSION}; {_REBUILD}")
    return text


def _preload_rtx(plugin: Path) -> None:
    """Make the name "libtensorrt_rtx.so" resolvable, which TensorRT-RTX opens when a plugin layer is added.

    Its wheel only has "libtensorrt_rtx.so.1"; without the name the process would be terminated by the library.
    """
    runtime = rtx_library()
    if runtime is not None:
        _kept.append(ctypes.CDLL(str(runtime), mode=ctypes.RTLD_GLOBAL))
    try:
        _kept.append(ctypes.CDLL(SHIM, mode=ctypes.RTLD_GLOBAL))  # a full TensorRT-RTX SDK has the real name
        return
    except OSError:
        pass
    shim = plugin.with_name(SHIM)
    if not shim.is_file():
        raise PluginError(
            f"{shim} is missing: TensorRT-RTX needs that name beside the plugin; install tensorrt-rtx-cu13 and "
            f"{_REBUILD}"
        )
    try:
        _kept.append(ctypes.CDLL(str(shim), mode=ctypes.RTLD_GLOBAL))
    except OSError as error:
        raise PluginError(f"{shim} cannot be loaded ({error}); {_REBUILD}") from None


def load(flavor: str) -> Path:
    """Check the plugin and register it with a TensorRT flavour, "rtx" or "tensorrt"; returns the library's path.

    Idempotent. Raises PluginError (missing, damaged or foreign library, TensorRT not installed, refused).
    """
    if flavor not in FLAVORS:
        raise PluginError(f"TensorRT flavour is {flavor!r}, expected one of {', '.join(FLAVORS)}")
    path = find()
    check(path)
    if flavor in _registered:
        registered = _registered[flavor][0]
        if registered == path:
            return path
        raise PluginError(f"{registered} is already registered with {flavor}; unload it before loading {path}")
    try:
        trt = importlib.import_module(FLAVORS[flavor])
    except (ImportError, OSError) as error:
        package = "tensorrt-rtx-cu13" if flavor == "rtx" else "tensorrt>=10.3"
        raise PluginError(f"TensorRT flavour {flavor} is not usable here ({error}); pip install {package}") from None
    if flavor == "rtx":
        _preload_rtx(path)
    _exported_info(path)
    registry = trt.get_plugin_registry()
    handle = registry.load_library(str(path))
    if handle is None or registry.get_creator(OP_TYPE, PLUGIN_VERSION, PLUGIN_NAMESPACE) is None:
        raise PluginError(f"{FLAVORS[flavor]} {trt.__version__} did not accept {path}; {_REBUILD}")
    _registered[flavor] = (path, handle)
    return path


def unload(flavor: str) -> None:
    """Undo :func:`load`: no engine or network that uses the plugin may be alive. Does nothing if not loaded."""
    if flavor in _registered:
        _, handle = _registered.pop(flavor)
        importlib.import_module(FLAVORS[flavor]).get_plugin_registry().deregister_library(handle)


def last_error() -> str:
    """The plugin's last error message in this process, "" if there was none.

    TensorRT's own message only says that a plugin refused; this says why.
    """
    if not _registered:
        return ""
    text = ctypes.create_string_buffer(4096)
    ctypes.CDLL(str(next(iter(_registered.values()))[0])).mutualformer_last_error(text, ctypes.c_size_t(len(text)))
    return text.value.decode(errors="replace")


def info() -> dict[str, Any]:
    """For `mutualformer doctor`: where the library is and what it holds, or the sentence that says why not."""
    try:
        path = find()
        record = check(path)
        return {"path": str(path), "ok": True, **record, "exports": _exported_info(path)}
    except PluginError as error:
        return {"ok": False, "error": str(error)}
