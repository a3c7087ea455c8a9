"""Makes an ONNX file, an engine, a bundle for a device or a repository for a server of any model."""

from __future__ import annotations

import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mutualformer.export.engine.targets import TARGETS, capabilities
from mutualformer.export.errors import ExportError
from mutualformer.runtime import zoo
from mutualformer.runtime.contract import PRECISIONS
from mutualformer.runtime.files import check_writable, sha256

FORMATS = {"onnx": ".onnx", "engine": ".engine", "bundle": ".tar.gz", "triton": ".tar.gz"}


@dataclass(frozen=True)
class Order:
    """What to make. ``model``: MODEL as every verb takes it. ``out`` None: beside the model, see :func:`_beside`.

    ``precisions``: empty = the format's default; a bundle may hold several. ``data``: FRAMES for INT8 scales.
    ``device``: of export/engine/targets.py. ``engine``: with "triton", one built for the server's GPU.
    Raises ExportError for options that exclude each other.
    """

    model: str
    format: str
    out: Path | None = None
    precisions: tuple[str, ...] = ()
    data: str | None = None
    device: str | None = None
    engine: Path | None = None

    def __post_init__(self) -> None:
        if self.out is not None and not self.out.name.endswith(FORMATS[self.format]):
            raise ExportError(f"{self.out}: the output's name must end in {FORMATS[self.format]}")
        if self.format == "bundle" and self.device is None:
            raise ExportError(f"a bundle is for one kind of device: --device {'|'.join(TARGETS)}")
        if self.format in ("onnx", "triton") and self.device is not None:
            raise ExportError(f"--device {self.device} has no use: the same file of format {self.format} runs anywhere")
        if self.engine is not None and self.format != "triton":
            raise ExportError("--engine is for --triton; a device builds its own engine")

    @property
    def precision(self) -> str | None:
        """The first requested precision, if any."""
        return self.precisions[0] if self.precisions else None


def deliver(order: Order) -> str:
    """Make the file; returns one line about it. Raises ExportError, ModelNameError, DataError and their like.

    It raises for wrong options, missing frames and missing packages before the work begins.
    """
    source = zoo.resolve(order.model)
    out = order.out or _beside(order, source)
    check_writable(out)
    if order.format == "bundle":
        return _bundle(order, source, out)
    if order.format == "engine":
        return _engine(order, source, out)
    from mutualformer.export.precision.convert import write_onnx

    if order.format == "onnx":
        made = write_onnx(source, out, order.precision or "fp32", order.data)
        next_step = f"mutualformer predict photo.jpg --model {shlex.quote(str(out))} --out out"
        return _line(out, f"{made.contract.model} {made.contract.precision}", made.distance, next_step)
    from mutualformer.export.device.repository import write_repository

    with tempfile.TemporaryDirectory(prefix="mutualformer-") as folder:
        if source.suffix != ".onnx" or order.precision is not None or order.data is not None:
            source = write_onnx(source, Path(folder) / "model.onnx", order.precision or "fp32", order.data).path
        members = write_repository(source, out, order.engine)
    about = f"Triton model repository, {len(members)} files, sha256 {sha256(out)[:16]}…"
    return _line(out, about, "", f"tar xf {out.name} on the server, ./start.sh")


def _bundle(order: Order, source: Path, out: Path) -> str:
    from mutualformer.export.device.contents import write_bundle

    target = TARGETS[order.device or ""]
    precisions, count = write_bundle(source, target, out, order.precisions, order.data)
    about = (
        f"{', '.join(precisions)} for {target.device}, sm_{target.capability.replace('.', '')} kernels, {count} files, "
        f"sha256 {sha256(out)[:16]}…"
    )
    return _line(out, about, "", f"tar xf {out.name} on the device, ./build.sh, ./run.sh")


def _engine(order: Order, source: Path, out: Path) -> str:
    from mutualformer.export.engine.builder import BuildOptions
    from mutualformer.export.engine.compile import compile_model
    from mutualformer.runtime import flavor as flavors

    flavor = flavors.resolve("auto")
    names = [order.device] if order.device else []
    options = BuildOptions(flavor, capabilities=capabilities(names, flavor))
    card = compile_model(source, out, options, order.precision, order.data, names)
    about = f"{card.contract.model} {card.requested_precision} engine of {card.flavor} {card.builder_version}"
    proof = f"all {card.cda_nodes} CDA nodes are the plugin" if card.cda_nodes else "a model without CDA"
    return _line(out, about, proof, f"mutualformer parity {order.model} {shlex.quote(str(out))} --out out/parity")


def _line(out: Path, about: str, distance: str, next_step: str) -> str:
    parts = [f"{out}: {about}, {out.stat().st_size / 1e6:.1f} MB", distance, f"next: {next_step}"]
    return "; ".join(part for part in parts if part)


def _beside(order: Order, source: Path) -> Path:
    """The default output: beside the model, but in the current folder for a shipped model and one of the hub."""
    shipped = zoo.shipped(order.model)
    elsewhere = order.model.startswith("hf://") or (shipped is not None and shipped.path == source)
    folder, stem = Path() if elsewhere else source.parent, source.stem
    for precision in PRECISIONS:
        stem = stem.removesuffix(f".{precision}")
    if order.format in ("bundle", "triton"):
        return folder / f"{stem}-{order.device or 'triton'}{FORMATS[order.format]}"
    middle = f".{order.precision}" if order.precision else ""
    out = folder / f"{stem}{middle}{FORMATS[order.format]}"
    return folder / f"{stem}.fp32{FORMATS[order.format]}" if out.resolve() == source.resolve() else out
