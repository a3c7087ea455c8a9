"""The compiled kernels: what the machine code must and must not contain, and that building it is repeatable."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.kernels.sass import KernelReport, inspect
from lab.kernels.usage import LIMITS, resident_blocks
from mutualformer.plugins.architectures import ARCHITECTURES, PTX_ARCHITECTURE
from mutualformer.plugins.compile import aot, ptxas
from mutualformer.plugins.kernels.tiles import PTX_VARIANTS, VARIANTS, Variant, tiles_for, variant_named
from tests.plugins import support


@pytest.fixture(scope="module")
def manifest() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((support.built() / "generated" / "cubins.json").read_text())
    return entries


INSPECTED: dict[tuple[str, int], KernelReport] = {}  # disassembling takes a second, and several tests ask of one kernel


def _reports(manifest: list[dict[str, Any]], wanted: list[tuple[str, int]]) -> list[KernelReport]:
    blob = (support.BUILD / "generated" / "cubins.bin").read_bytes()
    chosen = {(i["name"], i["arch"]): i for i in manifest if (i["name"], i["arch"]) in wanted}
    assert len(chosen) == len(wanted)
    for key in chosen.keys() - INSPECTED.keys():
        image = chosen[key]
        INSPECTED[key] = inspect(image, blob[image["offset"] : image["offset"] + image["size"]])
    return [INSPECTED[key] for key in chosen]


def test_every_variant_is_there_for_every_architecture(manifest: list[dict[str, Any]]) -> None:
    actual = {(i["name"], i["arch"]) for i in manifest}
    expected = {
        (variant.entry(tactic + 1), arch)
        for arch in ARCHITECTURES
        for variant in (v for v in VARIANTS if v.runs_on(arch))
        for tactic in range(len(tiles_for(variant.kernel, arch, variant.dtype, variant.block_d, variant.unit)))
    }
    assert actual == expected
    assert len(manifest) == len(actual)


def test_ptx_of_the_common_variants_is_text_for_the_oldest_tensor_cores() -> None:
    folder = support.built() / "generated"
    blob, texts = (folder / "cubins.bin").read_bytes(), json.loads((folder / "ptx.json").read_text())
    assert {t["name"] for t in texts} == {variant.name for variant in PTX_VARIANTS}
    for image in texts:
        text = blob[image["offset"] : image["offset"] + image["size"]]
        assert text.endswith(b"\0"), "cuModuleLoadData reads to the zero"
        assert text.count(b"\0") == 1
        assert re.search(rb"^\.version 8\.5$", text, re.MULTILINE), "CUDA 12.5 and newer compile it"
        assert re.search(rb"^\.target sm_80$", text, re.MULTILINE)
        assert f".entry {image['name']}(".encode() in text
        assert image["arch"] == PTX_ARCHITECTURE


@pytest.mark.parametrize(("arch", "name"), [(103, "ptxas"), (121, "ptxas-blackwell")])
def test_newer_gpus_assemble_the_ptx(arch: int, name: str, tmp_path: Path) -> None:
    """What their driver will do: the embedded text becomes machine code for them, without a spill."""
    folder = support.built() / "generated"
    blob, texts = (folder / "cubins.bin").read_bytes(), json.loads((folder / "ptx.json").read_text())
    for image in [t for t in texts if t["name"].endswith("fp16_d64_u8")]:
        source = tmp_path / "kernel.ptx"
        source.write_bytes(blob[image["offset"] : image["offset"] + image["size"] - 1])
        command = [str(ptxas.find_triton_tool(name)), f"--gpu-name=sm_{arch}", "-v", str(source)]
        command += ["-o", str(tmp_path / "kernel.cubin")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "0 bytes spill stores, 0 bytes spill loads" in done.stderr


def test_every_kernel_fits_its_multiprocessor(manifest: list[dict[str, Any]]) -> None:
    for image in manifest:
        limit = LIMITS[image["arch"]]
        assert image["shared"] + limit.shared_reserved <= limit.shared, image
        assert image["tensor_memory"] <= limit.tensor_memory, image
        assert image["warps"] <= 8, image


def test_nothing_spills_and_as_many_blocks_fit_as_nvidia_computes(
    manifest: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Every kernel, by the resource usage recorded in the cubin (a stack is where spills live), and its occupancy by
    NVIDIA's cuda_occupancy.h as g++ compiles it (tests/standins/occupancy.cpp)."""
    nvidia = ctypes.CDLL(str(support.BUILD / "libtest_cuda_driver.so")).test_driver_blocks
    blob = (support.BUILD / "generated" / "cubins.bin").read_bytes()
    cuobjdump = ptxas.find_triton_tool("cuobjdump")
    path = tmp_path / "kernel.cubin"
    spilling, alone, differing = [], [], []
    for image in manifest:
        path.write_bytes(blob[image["offset"] : image["offset"] + image["size"]])
        done = subprocess.run([cuobjdump, "-res-usage", path], capture_output=True, text=True)
        usage = dict(re.findall(r"\b(REG|STACK|LOCAL):(\d+)", done.stdout + done.stderr))
        assert usage.keys() == {"REG", "STACK", "LOCAL"}, done.stdout + done.stderr
        if usage["STACK"] != "0" or usage["LOCAL"] != "0":
            spilling.append((image["name"], image["arch"], usage))
        resources = (image["warps"], image["shared"], image["tensor_memory"])
        registers, sm = int(usage["REG"]), LIMITS[image["arch"]]
        limits = (sm.warps, sm.shared, sm.shared_reserved)
        expected = nvidia(image["arch"], registers, 32 * image["warps"], ctypes.c_size_t(image["shared"]), *limits)
        found = resident_blocks(image["arch"], registers, image["warps"], image["shared"], 0)
        if found != expected:
            differing.append((image["name"], image["arch"], registers, found, expected))
        if image["arch"] == 87 and image["tactic"] == 1 and variant_named(image["name"]).block_d <= 64:
            alone += [image["name"]] * (resident_blocks(87, int(usage["REG"]), *resources) < 2)
    assert not spilling
    assert not alone
    assert not differing, "name, architecture, registers, our blocks, NVIDIA's"


@pytest.mark.parametrize("arch", [a for a in ARCHITECTURES if a >= 80])
def test_tensor_cores_and_no_local_memory(arch: int, manifest: list[dict[str, Any]]) -> None:
    """Disassembled: FP16 kernels use tensor cores and never touch local memory."""
    names = ["cda_rows_fp16_d64_u8", "cda_columns_fp16_d64_u8", "cda_rows_fp16_d16_u8", "cda_columns_fp16_d16_u8"]
    for report in _reports(manifest, [(name, arch) for name in names]):
        assert report.tensor_core >= 4, report
        assert report.local_instructions == 0, report
        assert report.stack == 0, report
        if arch == 87:
            assert report.blocks >= 2, report


def test_tensor_core_instructions_are_those_the_tiles_need(manifest: list[dict[str, Any]]) -> None:
    """mma.m16n8k16 is 4096 flops: the count in the loop is the tile's flops, per warp, no more and no less."""
    for name, products in (("cda_rows_fp16_d64_u8", 3), ("cda_columns_fp16_d64_u8", 2)):
        report = _reports(manifest, [(name, 87)])[0]
        per_tile = 2 * products * report.block_m * report.block_n * report.block_d / 4096 / report.warps
        assert report.loop_tensor_core == per_tile


# Instructions that one warp issues for a 64 × 64 tile of P with 4 warps, before the split form (commit a75248e), read
# from its cubins with the same tool; two modalities' loops, the slower of the two.
_BEFORE = {
    ("cda_rows_fp16_d16_u8", 87): 361,
    ("cda_rows_fp16_d64_u8", 87): 2 * 343,
    ("cda_rows_fp16_d64_u8", 90): 2 * 311,
    ("cda_columns_fp16_d16_u8", 87): 221,
    ("cda_columns_fp16_d64_u8", 87): 318,
    ("cda_columns_fp16_d64_u8", 90): 275,
}


@pytest.mark.parametrize(
    ("kernel", "arch", "fewer"),
    [
        ("cda_rows_fp16_d16_u8", 87, 0.25),
        ("cda_rows_fp16_d64_u8", 87, 0.25),
        ("cda_rows_fp16_d64_u8", 90, 0.40),
        ("cda_columns_fp16_d16_u8", 87, 0.20),
        ("cda_columns_fp16_d64_u8", 87, 0.20),
        ("cda_columns_fp16_d64_u8", 90, 0.20),
    ],
)
def test_the_split_form_needs_fewer_instructions(
    kernel: str, arch: int, fewer: float, manifest: list[dict[str, Any]]
) -> None:
    report = _reports(manifest, [(kernel, arch)])[0]
    now = report.instructions_per_1024  # 4 warps on 64 x 64: one warp's 1024 elements
    assert now <= (1 - fewer) * _BEFORE[kernel, arch], report


@pytest.mark.parametrize("head_dim", [*(pytest.param(d, marks=pytest.mark.full) for d in (16, 32)), 64])
def test_two_blocks_share_a_multiprocessor(head_dim: int, manifest: list[dict[str, Any]]) -> None:
    """Where two blocks are wanted: heads up to 64 wide, the first tactic, every architecture with tensor cores."""
    names = [f"{kernel}_fp16_d{head_dim}_u8" for kernel in ("cda_rows", "cda_columns")]
    for report in _reports(manifest, [(name, arch) for name in names for arch in ARCHITECTURES if arch >= 80]):
        assert report.blocks >= 2, report


def test_orin_is_assembled_by_ptxas_12_6(manifest: list[dict[str, Any]]) -> None:
    for arch in (75, 80, 86, 87, 89, 90):
        assert ptxas.find_ptxas(arch)[1] <= (12, 6)
    blob = (support.BUILD / "generated" / "cubins.bin").read_bytes()
    versions = {
        int.from_bytes(blob[i["offset"] + 20 : i["offset"] + 24], "little") for i in manifest if i["arch"] == 87
    }
    assert versions == {126}, "a cubin's ELF version is the CUDA version it was assembled with"


@pytest.mark.slow
def test_building_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    """Two cold builds of one kernel in different folders, byte for byte."""
    code = (
        "import sys, pathlib\n"
        "from mutualformer.plugins.compile import aot, embed\n"
        "from mutualformer.plugins.kernels.tiles import Variant\n"
        "if __name__ == '__main__':\n"
        "    out = pathlib.Path(sys.argv[1])\n"
        "    variants = (Variant('cda_columns', 'fp16', 16, 8),)\n"
        "    embed.write_generated(aot.compile_all((87,), out / 'cache', 1, variants), out)\n"
    )
    script = tmp_path / "build_one.py"
    script.write_text(code)
    for name in ("first", "second"):
        done = subprocess.run(
            [sys.executable, str(script), str(tmp_path / name)],
            cwd=support.ROOT,
            env={**os.environ, "PYTHONPATH": str(support.ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    for file in ("cubins.bin", "cubins.json", "cda_generated.h"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
    # A corrupt cache entry is noticed, not embedded.
    cubin = next((tmp_path / "first" / "cache").glob("*.image"))
    cubin.write_bytes(b"\0" + cubin.read_bytes()[1:])
    shutil.rmtree(tmp_path / "second")
    with pytest.raises(RuntimeError, match="corrupt"):
        aot.compile_all((87,), tmp_path / "first" / "cache", 1, (Variant("cda_columns", "fp16", 16, 8),))


def test_only_code_decides_whether_kernels_are_compiled_again(tmp_path: Path) -> None:
    file = tmp_path / "kernels.py"
    seen = []
    for text in ('"""A."""\nx = 1  # why\n', '"""B."""\n\nx = 1\n', "x = 2\n"):
        file.write_text(text)
        seen.append(aot._code(file))
    assert seen[0] == seen[1] != seen[2]


def test_occupancy_arithmetic() -> None:
    """Worked by hand: 255 registers → 256 · 32 · 4 = 32768 per block of 4 warps → 2 blocks of 65536. 104 registers →
    3328 a warp, 4 warps in a partition's 16384 registers, 16 in all: 8 blocks of 2 warps, not 65536 / 6656 = 9."""
    assert resident_blocks(90, 104, 2, 1024, 0) == 8
    assert resident_blocks(87, 255, 4, 20480, 0) == 2
    assert resident_blocks(80, 32, 4, 50 * 1024, 0) == 3  # 164 KiB / (50 + 1) KiB
    assert resident_blocks(86, 32, 4, 0, 0) == 12  # 48 warps
    assert resident_blocks(100, 64, 4, 1024, 256) == 2  # 512 columns of tensor memory
