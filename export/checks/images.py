"""Check 2: every cubin is the one that was built; those for this GPU load, fit on a multiprocessor and do not spill."""

from __future__ import annotations

import hashlib
from typing import Any

from mutualformer.export.checks.rig.machine import Machine
from mutualformer.export.checks.rig.outcome import CheckFailed
from mutualformer.runtime.session.cuda import CudaError

_ATTRIBUTES = ("NUM_REGS", "LOCAL_SIZE_BYTES", "MAX_THREADS_PER_BLOCK")
_DEFAULT_SHARED = 48 * 1024  # bytes of dynamic shared memory that a kernel may use without asking


def _identity_problem(machine: Machine, image: dict[str, Any], library: bytes) -> str:
    """Why the bytes of an image are not those that were built, "" if they are."""
    cubin = machine.cubin(image)
    digest = hashlib.sha256(cubin).hexdigest()
    if digest != image["sha256"]:
        return f"its sha256 is {digest[:12]}…, cubins.json says {image['sha256'][:12]}…"
    return "" if cubin in library else "the plugin does not embed these bytes"


def _resource_problem(machine: Machine, image: dict[str, Any]) -> tuple[str, int]:
    """What is wrong with a kernel once the driver has loaded it, "" if nothing; its registers per thread."""
    driver, threads = machine.driver, 32 * image["warps"]
    names = driver.cuda.CUfunction_attribute
    try:
        module = driver.call("cuModuleLoadData", machine.cubin(image))
        try:
            function = driver.call("cuModuleGetFunction", module, str(image["name"]).encode())
            if image["shared"] > _DEFAULT_SHARED:
                most_shared = names.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
                driver.call("cuFuncSetAttribute", function, most_shared, image["shared"])
            registers, local, most = (
                int(driver.call("cuFuncGetAttribute", getattr(names, f"CU_FUNC_ATTRIBUTE_{name}"), function))
                for name in _ATTRIBUTES
            )
            blocks = driver.call("cuOccupancyMaxActiveBlocksPerMultiprocessor", function, threads, image["shared"])
        finally:
            driver.call("cuModuleUnload", module)
    except CudaError as error:
        return str(error), 0
    if local:
        return f"{local} bytes of local memory per thread: it spills", registers
    if 0 < most < threads:
        return f"blocks of at most {most} threads, it is launched with {threads}", registers
    return ("" if blocks else "not one block fits on a multiprocessor"), registers


def check(machine: Machine) -> tuple[str, dict[str, object]]:
    """Check 2. Raises CheckFailed naming the first kernel that is not as it was built."""
    library = machine.plugin.read_bytes()
    found = [(image, _identity_problem(machine, image, library)) for image in (*machine.images, *machine.ptx)]
    native, largest = machine.native_images(), 0
    for image in native:
        problem, registers = _resource_problem(machine, image)
        found.append((image, problem))
        largest = max(largest, registers)
    problems = [f"{image['name']} for sm_{image['arch']}: {problem}" for image, problem in found if problem]
    if problems:
        raise CheckFailed(f"{len(problems)} of {len(machine.images)} cubins are not as built: {problems[0]}")
    sentence = f"{len(machine.images)} cubins are those that were built, "
    if not native:
        return f"{sentence}none of them for sm_{machine.capability}", {}
    return f"{sentence}{len(native)} for sm_{machine.architecture} load", {"registers_max": largest}
