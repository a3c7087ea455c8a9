"""Check 2: every cubin of this GPU is the one that was built, loads, and needs what the build said it needs."""

from __future__ import annotations

import hashlib
from typing import Any

from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.outcome import CheckFailed
from mutualformer.plugins.inspection.usage import read_usage, resident_blocks
from mutualformer.runtime.session.cuda import CudaError

_ATTRIBUTES = ("NUM_REGS", "LOCAL_SIZE_BYTES", "MAX_THREADS_PER_BLOCK")
_DEFAULT_SHARED = 48 * 1024  # bytes a kernel may use without asking


def recorded_registers(image: dict[str, Any], cubin: bytes) -> int | None:
    """Registers per thread as cuobjdump reads them; None where it is not installed or does not know the cubin."""
    try:
        return read_usage(image, cubin).registers
    except (RuntimeError, OSError):
        return None


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
        function = driver.call("cuModuleGetFunction", module, str(image["name"]).encode())
        if image["shared"] > _DEFAULT_SHARED:
            driver.allow_shared(function, image["shared"])
        registers, local, most = (driver.function_attribute(function, name) for name in _ATTRIBUTES)
        blocks = driver.call("cuOccupancyMaxActiveBlocksPerMultiprocessor", function, threads, image["shared"])
        return registers, local, most, int(blocks)
    finally:
        driver.call("cuModuleUnload", module)


def _resource_problem(machine: Machine, image: dict[str, Any]) -> tuple[str, int, int]:
    """What is wrong with a loaded kernel, "" if nothing; its registers and resident blocks."""
    try:
        registers, local, threads, blocks = _measure(machine, image)
    except CudaError as error:
        return str(error), 0, 0
    recorded = recorded_registers(image, machine.cubin(image))
    fitting = resident_blocks(image["arch"], registers, image["warps"], image["shared"], image.get("tensor_memory", 0))
    if recorded is not None and registers != recorded:
        return f"{registers} registers per thread, the cubin has {recorded}", registers, blocks
    if local:
        return f"{local} bytes of local memory per thread: it spills", registers, blocks
    if threads and threads < 32 * image["warps"]:
        return f"blocks of at most {threads} threads, it is launched with {32 * image['warps']}", registers, blocks
    if blocks < 1 or (not image.get("tensor_memory") and blocks != fitting):
        return f"{blocks} blocks fit on a multiprocessor, computed were {fitting}", registers, blocks
    return "", registers, blocks


def check(machine: Machine) -> tuple[str, dict[str, object]]:
    """Check 2. Raises CheckFailed naming the first kernel that is not as it was built."""
    library = machine.plugin.read_bytes()
    problems: list[str] = []
    for image in (*machine.images, *machine.ptx):
        if problem := _identity_problem(machine, image, library):
            problems.append(f"{image['name']} for sm_{image['arch']}: {problem}")
    native = machine.native_images()
    largest, fewest, table = 0, 99, {}
    for image in native:
        problem, registers, blocks = _resource_problem(machine, image)
        table[image["name"]] = {"registers": registers, "blocks": blocks}
        largest, fewest = max(largest, registers), min(fewest, blocks)
        if problem:
            problems.append(f"{image['name']} for sm_{image['arch']}: {problem}")
    if problems:
        raise CheckFailed(f"{len(problems)} of {len(machine.images)} cubins are not as built: {problems[0]}")
    sentence = f"{len(machine.images)} cubins are those that were built, "
    if not native:
        return f"{sentence}none of them for sm_{machine.capability}", {}
    numbers: dict[str, object] = {"registers_max": largest, "blocks_min": fewest, "kernels": table}
    return f"{sentence}{len(native)} for sm_{machine.architecture} load", numbers
