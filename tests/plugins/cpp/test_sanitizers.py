"""The C++ parts under AddressSanitizer and UBSan: the contract tests once more, in a process of their own."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugins import support


def _runtime(name: str) -> str | None:
    """Path of the compiler's sanitizer runtime, None where it has none."""
    compiler = os.environ.get("CXX", "c++")
    try:
        actual = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    path = Path(actual.stdout.strip())
    return str(path) if path.is_absolute() and path.exists() else None


def _unlimited() -> None:
    """The sanitizer maps terabytes of shadow; a session that an earlier test opened may have limited this process."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


@pytest.mark.full
@pytest.mark.skipif(bool(support.SANITIZE), reason="already inside")
def test_contract_under_address_and_undefined_behaviour_sanitizers(plugin_path: Path) -> None:
    runtimes = [_runtime("libasan.so"), _runtime("libubsan.so")]
    if None in runtimes:
        pytest.skip("this compiler has no libasan and libubsan")
    environment = {
        **os.environ,
        "MUTUALFORMER_TEST_SANITIZE": "address,undefined",
        "MUTUALFORMER_PLUGIN": str(support.ROOT / "build" / "plugins-sanitized" / plugin_path.name),
        # No leak check: Python and the libraries around it do not free everything at exit.
        "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1:exitcode=99",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1:exitcode=98",
    }
    # Built without the preloaded runtime, so that compilers and Triton run as usual.
    code = "from tests.plugins import support; support.built()"
    built = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=support.ROOT, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    needed = subprocess.run(
        ["readelf", "-d", environment["MUTUALFORMER_PLUGIN"]], capture_output=True, text=True
    ).stdout
    assert "libasan" in needed, "the library under test is not instrumented"
    chosen = "not serves_every_batch and not capture and not workspace"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "tests/plugins/cpp/test_contract.py",
    ]
    done = subprocess.run(
        [*command, "-k", chosen],
        preexec_fn=_unlimited,
        env={**environment, "LD_PRELOAD": " ".join(r for r in runtimes if r)},
        cwd=support.ROOT,
        capture_output=True,
        text=True,
        timeout=500,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-6000:]
    assert "runtime error" not in output, output[-6000:]
    assert "passed" in done.stdout
