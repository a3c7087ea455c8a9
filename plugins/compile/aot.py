"""Ahead-of-time compilation: Triton kernels → PTX → cubins, no GPU and no nvcc needed.

``python -m mutualformer.plugins.compile.aot --out DIR`` writes what the C++ plugin embeds: ``cubins.bin`` (all cubins,
one after the other), ``cda_generated.h`` (the attribute table and the table of cubins) and ``cubins.json`` (the same
table for tests and inspection). Results are cached by content, so a second run copies files; the bytes are
deterministic.

One PTX text serves a family of architectures whose Triton lowering is the same (PTX is forward compatible; sm_86,
87, 89 and 120 take sm_80's: all use mma.sync); every architecture is assembled by ptxas on its own. sm_90 and older
are assembled with ptxas ≤ 12.6, so that any CUDA 12.6 driver (JetPack 6.2) loads them.
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
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from mutualformer.plugins.compile.ptxas import find_ptxas, ptx_version, target_name
from mutualformer.plugins.kernels.tiles import ARCHITECTURES, VARIANTS, Tile, Variant, tile_for

_PTX_FAMILY = {86: 80, 87: 80, 89: 80, 120: 80}
_REVISION = 4  # raise when this file changes what it produces
_FLOATS = ("scale_log2", "lse_weight", "residual_weight", "weight")


@dataclass(frozen=True)
class Image:
    """One assembled kernel. ``shared``: dynamic shared memory in bytes; ``parameters``: PTX types in order;
    ``tensor_memory``: columns of the 512 that an SM of sm_100 and sm_110 has."""

    name: str
    arch: int
    block_m: int
    block_n: int
    warps: int
    stages: int
    shared: int
    tensor_memory: int
    parameters: list[str]
    sha256: str


def _ptx(variant: Variant, tile: Tile, capability: int, language: int) -> tuple[str, dict[str, int]]:
    """PTX of one variant, its entry renamed to the variant's name, and Triton's metadata."""
    import triton
    from triton._C.libtriton import ir
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, make_backend

    from mutualformer.plugins.kernels import cda

    kernel = getattr(cda, variant.kernel)
    if not isinstance(kernel, triton.JITFunction):
        raise RuntimeError("mutualformer.plugins.kernels.cda was imported with TRITON_INTERPRET=1; unset it to compile")
    constants = {"UNIT": variant.unit, "BLOCK_M": tile.block_m, "BLOCK_N": tile.block_n, "BLOCK_D": variant.block_d}
    signature = {}
    aligned: dict[tuple[int], list[list[object]]] = {}
    for i, name in enumerate(kernel.arg_names):
        if name in constants:
            signature[name] = "constexpr"
        elif name.endswith("_ptr"):
            signature[name] = "*fp32" if name == "lse_ptr" else f"*{variant.dtype}"
            if variant.unit == 8:
                aligned[(i,)] = [["tt.divisibility", 16]]
        else:
            signature[name] = "fp32" if name in _FLOATS else "i32"
    target = GPUTarget("cuda", capability, 32)
    backend = make_backend(target)
    options = backend.parse_options(
        {"num_warps": tile.warps, "num_stages": tile.stages, "ptx_version": language, "sanitize_overflow": False}
    )
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
    return re.sub(rf"\b{variant.kernel}(?=\b|_param_)", variant.name, ptx), metadata


def _parameters(ptx: str) -> list[str]:
    header = ptx[ptx.index(".entry") : ptx.index("{", ptx.index(".entry"))]
    return re.findall(r"\.param \.(\w+)", header)


def _assemble(ptx: str, arch: int) -> bytes:
    ptxas, version = find_ptxas(arch)
    ptx = re.sub(r"^\.version [\d.]+", f".version {'.'.join(str(ptx_version(version)))}", ptx, flags=re.MULTILINE)
    ptx = re.sub(r"^\.target sm_\w+", f".target {target_name(arch)}", ptx, flags=re.MULTILINE)
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        source.write_text(ptx)
        command = [str(ptxas), f"--gpu-name={target_name(arch)}", "kernel.ptx", "-o", "kernel.cubin"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        if done.returncode:
            raise RuntimeError(f"{ptxas} failed for {target_name(arch)}: {done.stderr.strip()}")
        return result.read_bytes()


def _compile(variant: Variant, tile: Tile, todo: list[tuple[int, str]], cache: str) -> None:
    """Compile one variant once and assemble it for every (architecture, cache key) in ``todo``."""
    first = todo[0][0]
    oldest = min(find_ptxas(arch)[1] for arch, _ in todo)
    ptx, metadata = _ptx(variant, tile, _PTX_FAMILY.get(first, first), ptx_version(oldest))
    for arch, key in todo:
        cubin = _assemble(ptx, arch)
        image = Image(
            variant.name, arch, tile.block_m, tile.block_n, tile.warps, tile.stages, metadata["shared"],
            metadata["tmem_size"] or 0, _parameters(ptx), hashlib.sha256(cubin).hexdigest(),
        )  # fmt: skip
        write_file(Path(cache, f"{key}.cubin"), cubin)
        write_file(Path(cache, f"{key}.json"), json.dumps(asdict(image)).encode())  # last: its presence means complete


def write_file(path: Path, data: bytes) -> None:
    """Replace a file in one step, and leave it untouched when it already holds ``data``."""
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def _code(path: Path) -> bytes:
    """A Python file without what does not change its meaning: comments, docstrings, layout."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree).encode()


def default_cache() -> Path:
    """$XDG_CACHE_HOME/mutualformer/cubins."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mutualformer" / "cubins"


def compile_all(
    architectures: tuple[int, ...], cache: Path, jobs: int, variants: tuple[Variant, ...] = VARIANTS
) -> list[tuple[Image, bytes]]:
    """Every variant for every architecture, from the cache where its inputs have not changed."""
    import triton

    kernels = _code(Path(__file__).parents[1] / "kernels" / "cda.py")
    versions = {arch: find_ptxas(arch)[1] for arch in architectures}
    keys: dict[tuple[int, Variant], str] = {}
    groups: dict[tuple[Variant, Tile, int], list[tuple[int, str]]] = {}
    for arch in architectures:
        for variant in variants:
            tile = tile_for(variant.kernel, arch, variant.dtype, variant.block_d, variant.unit)
            inputs = repr((_REVISION, triton.__version__, versions[arch], arch, variant, tile)).encode()
            key = hashlib.sha256(kernels + inputs).hexdigest()
            keys[arch, variant] = key
            if not (cache / f"{key}.json").is_file():
                family = (variant, tile, _PTX_FAMILY.get(arch, arch))
                groups.setdefault(family, []).append((arch, key))
    if groups:
        os.environ.pop("TRITON_INTERPRET", None)
        os.environ["TRITON_DISABLE_LINE_INFO"] = "1"  # paths of this machine do not belong into the cubins
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            tasks = [pool.submit(_compile, v, t, todo, str(cache)) for (v, t, _), todo in groups.items()]
            for done, task in enumerate(tasks, 1):
                task.result()
                if done % 16 == 0 or done == len(tasks):
                    print(f"aot: {done} of {len(tasks)} kernels compiled", file=sys.stderr, flush=True)
    found = []
    for arch, variant in keys:
        stem = cache / keys[arch, variant]
        image = Image(**json.loads(stem.with_suffix(".json").read_text()))
        cubin = stem.with_suffix(".cubin").read_bytes()
        if hashlib.sha256(cubin).hexdigest() != image.sha256:
            stem.with_suffix(".json").unlink()
            raise RuntimeError(f"{stem}.cubin is damaged; it has been marked stale, run the build again")
        found.append((image, cubin))
    return found


def main(argv: list[str] | None = None) -> int:
    """Compile and write the files the C++ build embeds."""
    parser = argparse.ArgumentParser(
        prog="python -m mutualformer.plugins.compile.aot", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for cubins.bin, cubins.json, cda_generated.h")
    parser.add_argument("--architectures", default=",".join(map(str, ARCHITECTURES)), help="e.g. 87 or 80,86,89")
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args(argv)
    architectures = tuple(int(a) for a in re.split(r"[,; ]+", args.architectures.strip()))
    unknown = [a for a in architectures if a not in ARCHITECTURES]
    if unknown:
        parser.error(f"architectures {unknown} are not among {list(ARCHITECTURES)}")
    from mutualformer.plugins.compile.embed import write_generated

    try:
        images = compile_all(architectures, args.cache, args.jobs)
    except RuntimeError as error:
        print(f"aot: {error}", file=sys.stderr)
        return 1
    write_generated(images, args.out)
    print(f"aot: {len(images)} cubins for sm_{', sm_'.join(map(str, architectures))} in {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
