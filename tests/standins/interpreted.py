"""The CDA kernels in Triton's interpreter: the same source on CPU memory, without setting TRITON_INTERPRET.

Triton decides between compiling and interpreting when a function is decorated, its own library included. So this
loads a second copy of plugins/kernels/cda.py as interpreted functions, and while one of them runs lends Triton's
library interpreted functions too. Order of imports does not matter, and compiling in the same process still works.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from mutualformer.plugins.harness.numbers import from_bfloat16, to_bfloat16
from mutualformer.plugins.kernels import dispatch, pytorch

_compiled = pytorch.kernels
_lock = threading.RLock()  # the interpreter patches Triton's modules while it runs: one launch at a time


@functools.lru_cache(maxsize=1)
def kernels() -> ModuleType:
    """A copy of mutualformer.plugins.kernels.cda whose kernels run in the interpreter (inside :func:`interpreting`)."""
    import triton.experimental.gluon  # noqa: F401  (must see the compiled library once, at its first import)

    spec = importlib.util.find_spec("mutualformer.plugins.kernels.cda")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = os.environ.get("TRITON_INTERPRET")
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        spec.loader.exec_module(module)
    finally:
        if before is None:
            del os.environ["TRITON_INTERPRET"]
        else:
            os.environ["TRITON_INTERPRET"] = before
    return module


@contextlib.contextmanager
def _bfloat16() -> Iterator[None]:
    """BF16 as it should be: Triton's interpreter multiplies its bits as integers, and cuts where it should round."""
    import triton.language as tl
    from triton.runtime import interpreter

    builder, handle = interpreter.InterpreterBuilder, interpreter.TensorHandle
    cast, dot = builder.cast_impl, builder.create_dot

    def cast_impl(self: Any, src: Any, dst_type: Any) -> Any:
        types = (src.dtype.scalar, dst_type.scalar)
        if types == (tl.float32, tl.bfloat16):
            return handle(to_bfloat16(src.data), tl.bfloat16)
        if types == (tl.bfloat16, tl.float32):
            return handle(from_bfloat16(src.data), tl.float32)
        return cast(self, src, dst_type)

    def create_dot(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        if a.dtype.scalar == tl.bfloat16:
            a, b = (handle(from_bfloat16(x.data), tl.float32) for x in (a, b))
        return dot(self, a, b, *rest)

    builder.cast_impl, builder.create_dot = cast_impl, create_dot
    try:
        yield
    finally:
        builder.cast_impl, builder.create_dot = cast, dot


@contextlib.contextmanager
def interpreting() -> Iterator[ModuleType]:
    """Context in which the kernels of the yielded module may be launched on CPU tensors."""
    import triton.language as tl
    from triton.runtime import interpreter
    from triton.runtime.jit import JITFunction

    def call(self: interpreter.InterpretedFunction, *args: object, **kwargs: object) -> object:
        return self.rewrite()(*args, **kwargs)

    with _lock, _bfloat16():
        module = kernels()
        modules = (tl, tl.standard)
        saved = [(m, name, f) for m in modules for name, f in list(vars(m).items()) if isinstance(f, JITFunction)]
        interpreted = {id(f): interpreter.InterpretedFunction(f.fn) for _, _, f in saved}
        # Triton patches its language again for every call of a helper, which takes half of the time, and never
        # takes that back. Patch the helpers' modules once here, and restore them.
        slow_call = interpreter.InterpretedFunction.__call__
        scope = interpreter._patch_lang(tl.standard.zeros.fn)
        interpreter.InterpretedFunction.__call__ = call
        for m, name, f in saved:
            setattr(m, name, interpreted[id(f)])
        try:
            yield module
        finally:
            for m, name, f in saved:
                setattr(m, name, f)
            interpreter.InterpretedFunction.__call__ = slow_call
            scope.restore()


def interpret_on_cpu() -> None:
    """From now on ``cross_diffusion_attention`` runs in the interpreter for CPU tensors of this process."""
    pytorch.kernels = lambda on_gpu: _compiled(True) if on_gpu else interpreting()


@contextlib.contextmanager
def dispatched() -> Iterator[None]:
    """Inside, a model's CPU tensors take the path of a GPU's."""
    interpret_on_cpu()
    dispatch.devices.add("cpu")
    try:
        yield
    finally:
        dispatch.devices.discard("cpu")
