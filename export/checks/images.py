"""Check 2: every cubin of this GPU is the one that was built, loads, and needs what the build said it needs."""

from __future__ import annotations

import hashlib
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from lab.kernels.sass import resident_blocks
from mutualformer.export.checks.rig.driver import LOCAL_BYTES, MAX_SHARED_BYTES, REGISTERS, THREADS
from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.outcome import CheckFailed
from mutualformer.plugins.architectures import TABLE
from mutualformer.plugins.compile.ptxas import find_triton_tool
from mutualformer.runtime.session.cuda import CudaError

_DEFAULT_SHARED = 48 * 1024  # bytes a kernel may use without asking


def expected_registers(cubin: bytes) -> int:
    """Registers per thread as cuobjdump reads them. Raises CheckFailed where it cannot."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        try:
            process = subprocess.run(
                [find_triton_tool("cuobjdump"), "-res-usage", path], capture_output=True, text=True
            )
        except (RuntimeError, OSError) as error:
            raise CheckFailed(f"cuobjdump cannot run: {error}") from error
    match = re.search(r"\bREG:(\d+)", process.stdout + process.stderr)
    if match is None:
        raise CheckFailed(f"cuobjdump cannot read a cubin: {(process.stdout + process.stderr).strip()[:200]}")
    return int(match[1])


def _identity_problem(machine: Machine, image: dict[str, Any], library: bytes) -> str:
    """Why the bytes of an image are not those that were built, "" if they are."""
    cubin = machine.cubin(image)
    digest = hashlib.sha256(cubin).hexdigest()
    if digest != image["sha256"]:
        return f"its sha256 is {digest[:12]}…, cubins.json says {image['sha256'][:12]}…"
    if cubin not in library:
        return "the plugin does not embed these bytes"
    return ""


def _measure(machine: Machine, image: dict[str, Any]) -> tuple[int, int, int, int]:
    """Registers, bytes of local memory, block size and resident blocks of a kernel as the driver sees it."""
    driver, threads = machine.driver, 32 * image["warps"]
    module = driver.load_module(machine.cubin(image))
    try:
        function = driver.function(module, image["name"])
        if image["shared"] > _DEFAULT_SHARED:
            driver.set_function_attribute(function, MAX_SHARED_BYTES, image["shared"])
        registers, local, most = (
            driver.function_attribute(function, attribute) for attribute in (REGISTERS, LOCAL_BYTES, THREADS)
        )
        return registers, local, most, driver.resident_blocks(function, threads, image["shared"])
    finally:
        driver.unload_module(module)


def _resource_problem(machine: Machine, image: dict[str, Any]) -> tuple[str, int, int]:
    """What is wrong with a loaded kernel, "" if nothing; its registers and resident blocks."""
    try:
        registers, local, threads, blocks = _measure(machine, image)
    except CudaError as error:
        return str(error), 0, 0
    expected = expected_registers(machine.cubin(image))
    fitting = resident_blocks(image["arch"], expected, image["warps"], image["shared"], image.get("tensor_memory", 0))
    if registers != expected:
        return f"{registers} registers per thread, the cubin has {expected}", registers, blocks
    if local:
        return f"{local} bytes of local memory per thread: it spills", registers, blocks
    if threads and threads < 32 * image["warps"]:
        return f"blocks of at most {threads} threads, it is launched with {32 * image['warps']}", registers, blocks
    if blocks < 1 or (not image.get("tensor_memory") and blocks != fitting):
        return f"{blocks} blocks fit on a multiprocessor, computed were {fitting}", registers, blocks
    return "", registers, blocks


def check(machine: Machine) -> tuple[str, dict[str, object]]:
    """Check 2. Raises CheckFailed naming the first kernel that is not as it was built."""
    native = machine.native_images()
    if not native:
        architectures = ", ".join(f"sm_{arch}" for arch in sorted({image["arch"] for image in machine.images}))
        raise CheckFailed(
            f"no cubins for sm_{machine.architecture}, the plugin has {architectures}; build it for this architecture "
            "(make plugin), or run with its PTX alone"
        )
    if machine.stand_in is not None:
        limit = TABLE[machine.architecture]
        machine.stand_in.library.test_driver_set_limits(
            limit.warps, limit.blocks, limit.shared, limit.shared_reserved, limit.registers
        )
    library = machine.plugin.read_bytes()
    problems: list[str] = []
    for image in machine.images:
        if problem := _identity_problem(machine, image, library):
            problems.append(f"{image['name']} for sm_{image['arch']}: {problem}")
    largest, fewest, table = 0, 99, {}
    for image in native:
        problem, registers, blocks = _resource_problem(machine, image)
        table[image["name"]] = {"registers": registers, "blocks": blocks}
        largest, fewest = max(largest, registers), min(fewest, blocks)
        if problem:
            problems.append(f"{image['name']} for sm_{image['arch']}: {problem}")
    if problems:
        raise CheckFailed(f"{len(problems)} of {len(machine.images)} cubins are not as built: {problems[0]}")
    sentence = (
        f"{len(machine.images)} cubins are those that were built, {len(native)} for sm_{machine.architecture} load"
    )
    numbers: dict[str, object] = {"registers_max": largest, "blocks_min": fewest, "kernels": table}
    return sentence, numbers
