"""Finding, checking and registering the library: every way it can be wrong is a sentence, never a crash."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mutualformer.plugins import attributes, library, record
from mutualformer.plugins.files import sha256
from mutualformer.plugins.library import PluginError
from tests.plugins import support


@pytest.fixture
def copy(tmp_path: Path, plugin_path: Path) -> Path:
    """A private copy of the built library and its record."""
    for path in (plugin_path, plugin_path.with_name(plugin_path.name + ".json")):
        shutil.copy(path, tmp_path / path.name)
    return tmp_path / plugin_path.name


def _record(path: Path, **changes: object) -> None:
    """Alter the record and seal it again, as its writer would have."""
    sidecar = record.record_path(path)
    data = {**json.loads(sidecar.read_text()), **changes}
    sidecar.write_text(json.dumps({**data, record.SEAL: record.seal(data)}))


def test_load_is_idempotent_and_returns_the_library(plugin_path: Path) -> None:
    assert library.load("rtx") == plugin_path
    assert library.load("rtx") == plugin_path
    said = library.check(plugin_path)
    assert said.sha256 == sha256(plugin_path) == library._registered["rtx"].sha256
    assert said.architectures == (75, 80, 86, 87, 89, 90, 100, 110, 120)
    assert said.ptx > 0
    info = ctypes.CDLL(library._registered["rtx"].mapped).mutualformer_plugin_info
    info.restype = ctypes.c_char_p
    assert info().startswith(b"CrossDiffusionAttention version 1; sm_75, ")


def test_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.ENVIRONMENT, str(tmp_path / "nothing.so"))
    with pytest.raises(PluginError, match=r"names .*nothing\.so, which is not a file"):
        library.load("rtx")
    monkeypatch.delenv(library.ENVIRONMENT)
    monkeypatch.setattr(library, "__file__", str(tmp_path / "plugins" / "library.py"))
    with pytest.raises(PluginError, match=r"was not found .*make plugin"):
        library.load("rtx")


def test_damaged_files_are_refused_before_they_are_mapped(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.ENVIRONMENT, str(copy))
    content = copy.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    for corrupt, message in (
        (b"", "is not a shared library"),
        (content[:1000], "is corrupt or was replaced"),
        (bytes(flipped), "is corrupt or was replaced: its sha256 is .*, expected .* build it again"),
        (b"x" * 5000, "is not a shared library"),
    ):
        copy.write_bytes(corrupt)
        with pytest.raises(PluginError, match=message):
            library.load("rtx")


def test_another_processor_or_version_is_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.ENVIRONMENT, str(copy))
    _record(copy, plugin_version="7")
    with pytest.raises(PluginError, match=r"is plugin version 7, expected 1; build it again"):
        library.load("rtx")
    foreign = bytearray(copy.read_bytes())
    foreign[18:20] = (183 if foreign[18] == 62 else 62).to_bytes(2, "little")
    copy.write_bytes(foreign)
    _record(copy, plugin_version="1", sha256=sha256(copy))
    with pytest.raises(PluginError, match="is built for another processor"):
        library.load("rtx")


def test_a_record_that_lies_about_the_version_is_found_out(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT looks a plugin up by its version, which the record does not decide."""
    monkeypatch.setattr(library, "PLUGIN_VERSION", "2")
    monkeypatch.setenv(library.ENVIRONMENT, str(copy))
    monkeypatch.setattr(library, "_registered", {})
    _record(copy, plugin_version="2")
    with pytest.raises(PluginError, match="did not accept"):
        library.load("rtx")


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"sha256": 1}', "\xff\xfe"])
def test_bad_records(copy: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.ENVIRONMENT, str(copy))
    sidecar = record.record_path(copy)
    sidecar.write_bytes(text.encode("latin-1"))
    with pytest.raises(PluginError, match="cannot be read"):
        library.load("rtx")
    sidecar.unlink()
    with pytest.raises(PluginError, match="has no record"):
        library.load("rtx")


def test_every_flipped_bit_of_the_record_is_noticed(copy: Path) -> None:
    """The record is sealed: no flip may change what it says without being seen (some change its layout only)."""
    sidecar = record.record_path(copy)
    good, said = sidecar.read_bytes(), library.check(copy)
    refused = 0
    for bit in range(8 * len(good)):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        sidecar.write_bytes(flipped)
        try:
            assert record.read(sidecar) == said, f"bit {bit} changed the record unseen"
        except ValueError:
            refused += 1
    assert refused > 7 * len(good)


def _in_another_process(code: str, plugin: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from mutualformer.plugins import library\n" + code],
        capture_output=True,
        text=True,
        cwd=support.ROOT,
        env={**os.environ, library.ENVIRONMENT: str(plugin), **environment},
    )


def test_the_bytes_that_were_checked_are_the_bytes_that_run(copy: Path) -> None:
    """The file is replaced between the check and the mapping: what was checked is mapped all the same."""
    shutil.copy(support.built() / library.SHIM, copy.with_name(library.SHIM))
    code = (
        "import os\n"
        "path = library.find()\n"
        "from mutualformer.plugins.files import sha256\n"
        "expected = sha256(path)\n"
        "honest = library._map\n"
        "def replaced(target, content, *mode):\n"
        "    target.unlink(); target.write_bytes(b'not a library')\n"
        "    return honest(target, content, *mode)\n"
        "library._map = replaced\n"
        "library.load('rtx')\n"
        "registered = library._registered['rtx']\n"
        "assert registered.sha256 == expected\n"
        "assert sha256(registered.mapped) == expected\n"
        "assert path.read_bytes() == b'not a library'\n"
        "try:\n"
        "    os.pwrite(os.open(registered.mapped, os.O_RDWR), b'x', 0)\n"
        "except OSError as error:\n"
        "    print('sealed', error.errno)\n"
    )
    done = _in_another_process(code, copy)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sealed")


@pytest.mark.parametrize(
    ("fault", "message"),
    [("missing", "is missing"), ("replaced", "is corrupt or was replaced"), ("unknown", "was built without")],
)
def test_the_rtx_shim_is_checked_before_it_is_mapped(fault: str, message: str, copy: Path, tmp_path: Path) -> None:
    """A library of that name found by the loader's own search is never taken, nor one that the record does not know."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(support.built() / library.SHIM, elsewhere / library.SHIM)
    if fault == "replaced":  # sound, but another: the harness
        shutil.copy(support.built() / "libplugin_harness.so", copy.with_name(library.SHIM))
    elif fault == "unknown":
        shutil.copy(support.built() / library.SHIM, copy.with_name(library.SHIM))
        _record(copy, shim_sha256="")
    code = (
        "try:\n"
        "    library.load('rtx')\n"
        "except library.PluginError as error:\n"
        "    print(error)\n"
        "import re\n"
        "maps = set(re.findall(r'[/:]([^/:\\s]+\\.so[^/\\s]*)', open('/proc/self/maps').read()))\n"
        "assert 'libtensorrt_rtx.so.1' in maps, maps\n"
        "assert not maps & {library.SHIM, library.LIBRARY, 'libplugin_harness.so'}, maps\n"
    )
    done = _in_another_process(code, copy, LD_LIBRARY_PATH=str(elsewhere))
    assert done.returncode == 0, done.stderr
    assert message in done.stdout
    assert library.SHIM in done.stdout


def test_unknown_flavour_and_missing_tensorrt(plugin_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PluginError, match="flavour is 'onnx', expected one of tensorrt, rtx"):
        library.load("onnx")
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # as if it were not installed
    with pytest.raises(PluginError, match=r"flavour tensorrt is not usable here .*\[tensorrt\]"):
        library.load("tensorrt")


def test_two_libraries_at_once_are_refused(copy: Path, plugin_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.ENVIRONMENT, str(copy))
    with pytest.raises(PluginError, match="is already registered with rtx"):
        library.load("rtx")


def test_the_library_depends_on_no_tensorrt_and_no_driver(plugin_path: Path) -> None:
    needed = subprocess.run(["readelf", "-d", str(plugin_path)], capture_output=True, text=True).stdout
    libraries = [line.split("[")[1].rstrip("]") for line in needed.splitlines() if "(NEEDED)" in line]
    assert libraries
    assert not [name for name in libraries if "cuda" in name or "nvinfer" in name or "tensorrt" in name]


def test_loading_uses_the_standard_library_only(plugin_path: Path) -> None:
    """The loader and its checks must work where neither torch nor triton is installed."""
    code = (
        "import sys\n"
        "foreign = ['torch', 'triton', 'numpy', 'mutualformer.train', 'mutualformer.export', 'onnx']\n"
        "sys.modules.update(dict.fromkeys(foreign))\n"
        "from mutualformer.plugins import library\n"
        "assert library.check(library.find()).kernels > 0\n"
        "assert 'tensorrt_rtx' not in sys.modules\n"
        "sys.modules.pop('numpy')\n"
        "print(library.load('rtx'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=support.ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(plugin_path)


def test_the_header_and_the_table_of_attributes_agree(plugin_path: Path) -> None:
    header = (support.BUILD / "generated" / "cda_generated.h").read_text()
    assert f'kPluginVersion[] = "{attributes.PLUGIN_VERSION}"' in header
    assert f"kMaxIterations = {attributes.MAX_ITERATIONS};" in header
    assert "kDefaultAlpha = 0.6F" in header
    assert os.path.getsize(support.BUILD / "generated" / "cubins.bin") < 32 << 20
