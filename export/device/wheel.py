"""The wheel of what a device runs: runtime, plugins and the part of export that ``to_trt`` imports, without torch.

Which modules those are is read from the sources' own import statements, so that a new import of PyTorch, Triton or
our training code on the device's path fails here, with the module's name, and not on the device.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import io
import re
import zipfile
from pathlib import Path
from typing import Any

from mutualformer.export.errors import ExportError

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = ("rtx", "tensorrt", "pycuda", "realsense", "oak", "orbbec", "ros", "rerun")
FORBIDDEN = ("torch", "torchvision", "timm", "lightning", "triton", "mutualformer.train", "onnx_graphsurgeon")
ENTRY = "mutualformer/export/to_trt.py"
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest a zip file can say


def _always(nodes: list[ast.stmt]) -> list[ast.stmt]:
    """Statements that run when a module is imported: not the bodies of functions, nor ``if TYPE_CHECKING:``."""
    found: list[ast.stmt] = []
    for node in nodes:
        found.append(node)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            found += _always(node.orelse)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for name in ("body", "orelse", "finalbody"):
                found += _always(getattr(node, name, []))
            for handler in getattr(node, "handlers", []):
                found += _always(handler.body)
    return found


def imports(source: str) -> set[str]:
    """Dotted names that importing a module of this source may import: ``from a import b`` gives a and a.b."""
    names: set[str] = set()
    for node in _always(ast.parse(source).body):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def _is_forbidden(name: str) -> bool:
    return any(f"{name}.".startswith(f"{package}.") for package in FORBIDDEN)


def _file(name: str, root: Path) -> str | None:
    """Path of one of our modules relative to ``root``; None for a foreign name or an attribute."""
    if name.split(".")[0] != "mutualformer":
        return None
    base = name.replace(".", "/")
    return next((path for path in (f"{base}.py", f"{base}/__init__.py") if (root / path).is_file()), None)


def closure(entry: str, root: Path = ROOT) -> list[str]:
    """Our files that importing ``entry`` (a path below ``root``) imports, itself included, sorted.

    Raises ExportError naming the file that imports PyTorch, Triton or our training code.
    """
    todo, found = [entry], set()
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found.add(path)
        package = f"{path.rsplit('/', 1)[0]}/__init__.py"  # importing a module runs its package first
        todo += [package] if (root / package).is_file() else []
        for name in imports((root / path).read_text(encoding="utf-8")):
            if _is_forbidden(name):
                raise ExportError(f"{path} imports {name}, which a device does not have; import it where it is used")
            parts = name.split(".")
            for depth in range(1, len(parts) + 1):
                if file := _file(".".join(parts[:depth]), root):
                    todo.append(file)
    return sorted(found)


def _is_light(path: Path) -> bool:
    return not any(map(_is_forbidden, imports(path.read_text(encoding="utf-8"))))


def device_files(root: Path = ROOT) -> list[str]:
    """Every file of the wheel relative to ``root``, sorted: all of runtime, plugins that import neither PyTorch nor
    Triton, and what ``export/to_trt.py`` needs."""
    kinds = (".py", ".html", ".css", ".js", ".typed")
    package = root / "mutualformer"
    runtime = [p for p in (package / "runtime").rglob("*") if p.suffix in kinds]
    heavy = [str(p.relative_to(root)) for p in runtime if p.suffix == ".py" and not _is_light(p)]
    if heavy:
        raise ExportError(f"{', '.join(sorted(heavy))}: runtime may not import PyTorch, Triton or train")
    plugins = [p for p in (package / "plugins").rglob("*.py") if _is_light(p)]
    paths = (*runtime, *plugins, package / "py.typed")
    return sorted({str(p.relative_to(root)) for p in paths} | set(closure(ENTRY, root)))


def project(root: Path = ROOT) -> dict[str, Any]:
    """Version of the package, base requirements and device extras of pyproject.toml (Python 3.10 reads no TOML)."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    source = (root / "mutualformer" / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    python = re.search(r'^requires-python = "([^"]+)"$', text, re.MULTILINE)
    base = re.search(r"^dependencies = (\[.*?^\])$", text, re.MULTILINE | re.DOTALL)
    if not (version and python and base):
        raise ExportError(f"{root}: __version__, requires-python or dependencies not found")
    extras = {}
    for name in EXTRAS:
        found = re.search(rf"^{name} = (\[.*\])$", text, re.MULTILINE)
        if not found:
            raise ExportError(f"{root / 'pyproject.toml'}: optional dependency {name!r} not found on one line")
        extras[name] = ast.literal_eval(found[1])
    return {"version": version[1], "python": python[1], "base": ast.literal_eval(base[1]), "extras": extras}


def _metadata(facts: dict[str, Any]) -> str:
    rows = ["Metadata-Version: 2.1", "Name: mutualformer", f"Version: {facts['version']}"]
    rows += ["Summary: MutualFormer on the edge, the part that a device runs", "License: Apache-2.0"]
    rows += [f"Requires-Python: {facts['python']}"] + [f"Requires-Dist: {need}" for need in facts["base"]]
    for extra, needs in facts["extras"].items():
        rows += [f"Provides-Extra: {extra}"] + [f"Requires-Dist: {need}; extra == '{extra}'" for need in needs]
    return "\n".join(rows) + "\n"


def build_wheel(root: Path = ROOT) -> tuple[str, bytes]:
    """(file name, bytes) of the wheel; the same sources give the same bytes. Raises ExportError."""
    facts = project(root)
    files = {path: (root / path).read_bytes() for path in device_files(root)}
    info = f"mutualformer-{facts['version']}.dist-info"
    files[f"{info}/METADATA"] = _metadata(facts).encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: mutualformer\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = b"[console_scripts]\nmutualformer = mutualformer.runtime.cli:main\n"
    record = []
    for path, data in sorted(files.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record.append(f"{path},sha256={digest},{len(data)}\n")
    files[f"{info}/RECORD"] = ("".join(record) + f"{info}/RECORD,,\n").encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path in sorted(files, key=lambda p: (".dist-info/" in p, p)):  # wheels keep their metadata at the end
            entry = zipfile.ZipInfo(path, _DATE)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            wheel.writestr(entry, files[path], zipfile.ZIP_DEFLATED)
    return f"mutualformer-{facts['version']}-py3-none-any.whl", buffer.getvalue()
