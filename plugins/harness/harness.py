"""Calls the plugin as TensorRT does, step by step, from Python and without TensorRT (plugin_harness.cpp)."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

INT32, FLOAT32, CHAR, INT64 = 5, 1, 6, 10  # nvinfer1::PluginFieldType
BUILD_PHASE, RUNTIME_PHASE = 0, 1


class Harness:
    """The calls that TensorRT makes to a plugin.

    ``direct``: take the creator from the library itself; otherwise from TensorRT-RTX's registry.
    """

    def __init__(self, folder: Path, plugin: Path, direct: bool = False) -> None:
        self.library = ctypes.CDLL(str(folder / "libplugin_harness.so"))
        self.library.harness_workspace.restype = ctypes.c_size_t
        for name in ("create", "deserialize", "clone", "attach"):
            getattr(self.library, f"harness_{name}").restype = ctypes.c_void_p
        self._shapes: dict[int, tuple[int, tuple[int, int, int]]] = {}
        self.plugin = str(plugin).encode()
        if direct and self.library.harness_open(self.plugin) != 0:
            raise RuntimeError(f"{plugin} cannot be opened as a plugin library: {self.log().strip()}")
        assert self.library.harness_record_log(self.plugin, 1) == 0

    def release_log(self) -> None:
        """Stop recording the library's messages."""
        assert self.library.harness_record_log(self.plugin, 0) == 0

    def log(self) -> str:
        """The library's messages since the last call, at most 64 KiB of them."""
        text = ctypes.create_string_buffer(1 << 16)
        self.library.harness_take_log(text, len(text))
        return text.value.decode()

    def create(self, fields: dict[str, int | float | str | np.ndarray], phase: int = BUILD_PHASE) -> int | None:
        """A plugin made from ``fields``, or None where the creator refuses them.

        int becomes an INT32 field, float FLOAT32, str CHAR, an array the type of its elements (int64, float32,
        int32). ``phase``: BUILD_PHASE or RUNTIME_PHASE.
        """
        names, types, data, lengths = [], [], [], []
        for name, value in fields.items():
            if isinstance(value, str):
                array, kind = np.frombuffer(value.encode(), np.uint8), CHAR
            elif isinstance(value, np.ndarray):
                array, kind = value, {"int64": INT64, "float32": FLOAT32, "int32": INT32}[value.dtype.name]
            else:
                array = np.array([value], np.float32 if isinstance(value, float) else np.int32)
                kind = FLOAT32 if isinstance(value, float) else INT32
            names.append(name.encode())
            types.append(kind)
            data.append(array)
            lengths.append(array.size)
        count = len(names)
        return self.library.harness_create(  # type: ignore[no-any-return]
            count,
            (ctypes.c_char_p * count)(*names),
            (ctypes.c_int * count)(*types),
            (ctypes.c_void_p * count)(*[a.ctypes.data for a in data]),
            (ctypes.c_int * count)(*lengths),
            phase,
        )

    def _shaped(self, name: str, plugin: int, dtype: int, shape: tuple[int, int, int]) -> int:
        function = getattr(self.library, f"harness_{name}")
        return int(function(ctypes.c_void_p(plugin), dtype, *[ctypes.c_int64(s) for s in shape]))

    def configure(self, plugin: int, dtype: int, shape: tuple[int, int, int]) -> int:
        """Make the builder's calls for qkv of ``shape`` (B, N, 3C); 0 if the plugin accepts all."""
        return self._shaped("configure", plugin, dtype, shape)

    def workspace(self, plugin: int, dtype: int, shape: tuple[int, int, int]) -> int:
        """Bytes of workspace that the plugin needs for qkv of ``shape`` (B, N, 3C)."""
        return self._shaped("workspace", plugin, dtype, shape)

    def shape(self, plugin: int, dtype: int, shape: tuple[int, int, int]) -> int:
        """Set the shape of the following calls; 0 is success."""
        self._shapes[plugin] = (dtype, shape)
        return self._shaped("shape", plugin, dtype, shape)

    def deserialize(self, plugin: int) -> int | None:
        """A run-time plugin from the fields that ``plugin`` serialises, or None."""
        return self.library.harness_deserialize(ctypes.c_void_p(plugin))  # type: ignore[no-any-return]

    def clone(self, plugin: int) -> int | None:
        """The plugin's own copy of itself, or None."""
        return self.library.harness_clone(ctypes.c_void_p(plugin))  # type: ignore[no-any-return]

    def attach(self, plugin: int) -> int | None:
        """The plugin of one execution context, with resources of its own, or None."""
        return self.library.harness_attach(ctypes.c_void_p(plugin))  # type: ignore[no-any-return]

    def destroy(self, *plugins: int) -> None:
        """Release plugins; each may be released once."""
        for plugin in plugins:
            self.library.harness_destroy(ctypes.c_void_p(plugin))

    def enqueue(self, plugin: int, *addresses: int, described: tuple[int, tuple[int, int, int]] | None = None) -> int:
        """Launch the kernels; 0 is success. ``addresses``: qkv_r, qkv_d, y_r, y_d, workspace, stream. ``described``:
        type and shape (B, N, 3C) in the tensor descriptions, by default those of the last :meth:`shape`."""
        dtype, shape = described or self._shapes.get(plugin, (0, (0, 0, 0)))
        arguments = [dtype, *(ctypes.c_int64(s) for s in shape), *(ctypes.c_void_p(a) for a in addresses)]
        return int(self.library.harness_enqueue(ctypes.c_void_p(plugin), *arguments))

    def set_tactic(self, plugin: int, tactic: int) -> int:
        """Choose the tactic that runs; 0 is success."""
        return int(self.library.harness_set_tactic(ctypes.c_void_p(plugin), tactic))
