"""Ahead-of-time compilation: Triton kernels → PTX → cubins, no GPU and no nvcc needed.

``python -m mutualformer.plugins.compile.aot --out DIR`` writes what the C++ plugin embeds: ``cubins.bin`` (all
kernels, one after the other), ``cda_generated.h`` (the attribute table and the table of kernels), ``cubins.json`` and
``ptx.json`` (the same table for tests and inspection). It caches results by the content of their inputs, so a second
run copies files; the bytes are deterministic.

One PTX text serves a family of architectures (plugins/architectures.py); every architecture is assembled by ptxas on
its own. The PTX of sm_80 itself is kept for GPUs that no cubin is made for: their driver compiles it.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from mutualformer.plugins.architectures import ARCHITECTURES, PTX_ARCHITECTURE, TABLE
from mutualformer.plugins.compile.embed import write_generated
from mutualformer.plugins.compile.images import Compiled, Image
from mutualformer.plugins.compile.ptxas import find_ptxas, ptx_version
from mutualformer.plugins.files import cache_root, parse_json, write_bytes
from mutualformer.plugins.kernels.schedule import WRITE_LSE, WRITE_NEXT
from mutualformer.plugins.kernels.tiles import PTX_VARIANTS, VARIANTS, VECTOR_UNIT, Tile, Variant, tiles_for

_REVISION = 5  # raise it when this file produces something else from the same inputs
_FLOATS = ("scale_log2", "lse_weight", "residual_weight", "weight")


def _ptx(variant: Variant, entry: str, tile: Tile, capability: int, language: int) -> tuple[str, dict[str, int]]:
    """PTX of one variant in one tile, its kernel renamed to ``entry``, and Triton's metadata."""
    import triton
    from triton._C.libtriton import ir
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, make_backend

    from mutualformer.plugins.kernels import cda

    kernel = getattr(cda, variant.kernel)
    if not isinstance(kernel, triton.JITFunction):
        raise RuntimeError("mutualformer.plugins.kernels.cda was imported with TRITON_INTERPRET=1; unset it to compile")
    constants = {
        "UNIT": variant.unit,
        "BLOCK_M": tile.block_m,
        "BLOCK_N": tile.block_n,
        "BLOCK_D": variant.block_d,
        "PEELED": tile.peeled,
    }
    signature = {}
    aligned: dict[tuple[int], list[list[object]]] = {}
    for i, name in enumerate(kernel.arg_names):
        if name in constants:
            signature[name] = "constexpr"
        elif name.endswith("_ptr"):
            signature[name] = "*fp32" if name == "lse_ptr" else f"*{variant.dtype}"
            if variant.unit == VECTOR_UNIT:
                # The promise that lets Triton load vectors of 16 bytes. It holds for this variant because its head_dim
                # is a multiple of VECTOR_UNIT elements; the plugin checks the pointers.
                aligned[(i,)] = [["tt.divisibility", 16]]
        else:
            # Sizes are int32 arguments, not constants: one cubin serves every batch, number of tokens and number of
            # heads.
            signature[name] = "fp32" if name in _FLOATS else "i32"
    target = GPUTarget("cuda", capability, 32)
    backend = make_backend(target)
    options = backend.parse_options(
        {
            "num_warps": tile.warps,
            "num_stages": tile.stages,
            "maxnreg": tile.registers,
            "ptx_version": language,
            "sanitize_overflow": False,
        }
    )
    # These are the steps of triton.compile without its last one, which would call ptxas for the one architecture of the
    # target.
    context = ir.context()
    ir.load_dialects(context)
    backend.load_dialects(context)
    source = ASTSource(kernel, signature, constants, aligned)
    module = source.make_ir(
        target, options, backend.get_codegen_implementation(options), backend.get_module_map(), context
    )
    metadata: dict[str, int] = {}
    module = backend.make_ttir(module, metadata, options, capability)
    module = backend.make_ttgir(module, metadata, options, capability)
    llvm_ir = backend.make_llir(module, metadata, options, capability)
    ptx = backend.make_ptx(llvm_ir, metadata, options, capability)
    if metadata["global_scratch_size"] or metadata["profile_scratch_size"]:
        raise RuntimeError(f"{variant.name}: Triton asks for scratch memory, which the plugin does not provide")
    # All kernels end up in one file, so every variant needs a name of its own; PTX repeats the name in the names of the
    # parameters.
    return re.sub(rf"\b{variant.kernel}(?=\b|_param_)", entry, ptx), metadata


def _parameters(ptx: str) -> list[str]:
    header = ptx[ptx.index(".entry") : ptx.index("{", ptx.index(".entry"))]
    return re.findall(r"\.param \.(\w+)", header)


def _retarget(ptx: str, target: str, language: int) -> str:
    """The PTX for another architecture of the family and another version of the language."""
    ptx = re.sub(r"^\.version [\d.]+", f".version {'.'.join(str(language))}", ptx, flags=re.MULTILINE)
    return re.sub(r"^\.target sm_\w+", f".target {target}", ptx, flags=re.MULTILINE)


def _assemble(ptx: str, arch: int) -> bytes:
    ptxas, version = find_ptxas(arch)
    target = TABLE[arch].target
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        source.write_text(_retarget(ptx, target, ptx_version(version)))
        command = [str(ptxas), f"--gpu-name={target}", "kernel.ptx", "-o", "kernel.cubin"]
        process = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        if process.returncode:
            raise RuntimeError(f"{ptxas} failed for {target}: {process.stderr.strip()}")
        return result.read_bytes()


@dataclass(frozen=True)
class _Task:
    """One kernel in one tile for one family of architectures: compiled to PTX once, assembled for each of them."""

    variant: Variant
    tactic: int
    tile: Tile
    family: int


@dataclass(frozen=True)
class _Product:
    """One file made from a task: a cubin for ``arch`` or, with ``ptx``, the PTX text that the GPU's driver compiles."""

    arch: int
    ptx: bool


def _compile(task: _Task, todo: list[tuple[_Product, str]], cache: str) -> None:
    """Compile ``task`` once and write every (product, cache key) in ``todo``."""
    variant, tile = task.variant, task.tile
    # The PTX is written in the oldest language that any of the assemblers reads; newer ones read it too.
    oldest = min(find_ptxas(product.arch)[1] for product, _ in todo)
    ptx, metadata = _ptx(variant, variant.entry(task.tactic), tile, task.family, ptx_version(oldest))
    for product, key in todo:
        if product.ptx:
            language = ptx_version(find_ptxas(product.arch)[1])
            content = _retarget(ptx, TABLE[product.arch].target, language).encode() + b"\0"
        else:
            content = _assemble(ptx, product.arch)
        image = Image(
            # The row of the table that the plugin embeds: what the host must know to launch this image.
            variant.entry(task.tactic), product.arch, tile.block_m, tile.block_n, tile.warps, tile.stages,
            metadata["shared"], metadata["tmem_size"] or 0, _parameters(ptx), hashlib.sha256(content).hexdigest(),
            task.tactic,
        )  # fmt: skip
        write_bytes(Path(cache, f"{key}.image"), content)
        write_bytes(Path(cache, f"{key}.json"), json.dumps(asdict(image)).encode())  # last: its presence means complete


def _code(path: Path) -> bytes:
    """A Python file's syntax tree without comments, docstrings and layout, which do not change the kernels."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree).encode()


def default_cache() -> Path:
    """The folder of compiled kernels in the cache."""
    return cache_root() / "cubins"


def _products(
    architectures: tuple[int, ...], variants: tuple[Variant, ...], ptx: bool
) -> Iterator[tuple[_Task, _Product]]:
    """Everything to build: cubins for ``architectures``, or the PTX of tactic 1 for PTX_ARCHITECTURE."""
    for arch in (PTX_ARCHITECTURE,) if ptx else architectures:
        for variant in variants:
            # For example bf16 on sm_75, which has no such instructions.
            if not variant.runs_on(arch):
                continue
            tiles = tiles_for(variant.kernel, arch, variant.dtype, variant.block_d, variant.unit)
            for tactic, tile in enumerate(tiles[:1] if ptx else tiles, 1):
                yield _Task(variant, tactic, tile, TABLE[arch].family), _Product(arch, ptx)


def compile_all(
    architectures: tuple[int, ...],
    cache: Path,
    jobs: int,
    variants: tuple[Variant, ...] = VARIANTS,
    ptx_variants: tuple[Variant, ...] | None = None,
) -> Compiled:
    """Every variant for every architecture, from the cache where its inputs have not changed.

    ``ptx_variants``: those whose PTX is wanted too; None: PTX_VARIANTS where sm_80 is among the architectures.
    Raises RuntimeError when a compiler is missing or fails.
    """
    import triton

    if ptx_variants is None:
        ptx_variants = PTX_VARIANTS if PTX_ARCHITECTURE in architectures else ()
    kernels = _code(Path(__file__).parents[1] / "kernels" / "cda.py")
    flags = (WRITE_NEXT, WRITE_LSE)
    keys: list[tuple[_Product, str]] = []
    groups: dict[_Task, list[tuple[_Product, str]]] = {}
    products = (*_products(architectures, variants, False), *_products(architectures, ptx_variants, True))
    for task, product in products:
        inputs = repr((_REVISION, triton.__version__, find_ptxas(product.arch)[1], flags, task, product)).encode()
        key = hashlib.sha256(kernels + inputs).hexdigest()
        keys.append((product, key))
        if not (cache / f"{key}.json").is_file():
            groups.setdefault(task, []).append((product, key))
    if groups:
        # Child processes inherit it, and with it the kernels would be interpreted Python functions.
        os.environ.pop("TRITON_INTERPRET", None)
        os.environ["TRITON_DISABLE_LINE_INFO"] = "1"  # line info would put this machine's paths into the cubins
        # Triton holds the GIL while it compiles, so threads would not help. Processes are spawned, not forked: a
        # fork copies locks in the state in which other threads hold them, and could wait for one for ever.
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            tasks = [pool.submit(_compile, task, todo, str(cache)) for task, todo in groups.items()]
            for count, future in enumerate(tasks, 1):
                future.result()
                if count % 16 == 0 or count == len(tasks):
                    print(f"aot: {count} of {len(tasks)} kernels compiled", file=sys.stderr, flush=True)
    compiled = Compiled([], [])
    for product, key in keys:
        stem = cache / key
        image = Image(**parse_json(stem.with_suffix(".json").read_text()))
        content = stem.with_suffix(".image").read_bytes()
        if hashlib.sha256(content).hexdigest() != image.sha256:
            # Without its .json the entry is incomplete, so the next build makes it again.
            stem.with_suffix(".json").unlink()
            raise RuntimeError(f"{stem}.image is corrupt and was dropped from the cache; run the build again")
        (compiled.ptx if product.ptx else compiled.cubins).append((image, content))
    return compiled


def main(argv: list[str] | None = None) -> int:
    """Compile and write the files the C++ build embeds."""
    parser = argparse.ArgumentParser(
        prog="python -m mutualformer.plugins.compile.aot", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for cubins.bin, cubins.json, cda_generated.h")
    parser.add_argument("--architectures", default=",".join(map(str, ARCHITECTURES)), help="e.g. 87 or 80,86,89")
    args = parser.parse_args(argv)
    architectures = tuple(int(a) for a in re.split(r"[,; ]+", args.architectures.strip()))
    unknown = [a for a in architectures if a not in ARCHITECTURES]
    if unknown:
        parser.error(f"architectures {unknown} are not among {list(ARCHITECTURES)}")
    try:
        compiled = compile_all(architectures, default_cache(), len(os.sched_getaffinity(0)))
    except RuntimeError as error:
        print(f"aot: {error}", file=sys.stderr)
        return 1
    write_generated(compiled, args.out)
    names = f"sm_{', sm_'.join(map(str, architectures))}"
    print(f"aot: {len(compiled.cubins)} cubins for {names} and {len(compiled.ptx)} PTX texts in {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
