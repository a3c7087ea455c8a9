"""ONNX file → engine file and its card. Proves plugin use and precision, and writes both files or neither."""

from __future__ import annotations

import hashlib
import logging
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import onnx

from mutualformer.export.engine.builder import BuildOptions, BuildResult, build
from mutualformer.export.engine.layer_list import kernel_count, precision_counts
from mutualformer.export.engine.proof import node_counts, precision_problems
from mutualformer.export.engine.targets import RTX_DEFAULT
from mutualformer.export.engine.work import layer_work
from mutualformer.export.errors import ExportError
from mutualformer.export.graph.cda_function import is_cda
from mutualformer.export.graph.folds.folding import fold
from mutualformer.export.graph.node_types import heavy_node_types
from mutualformer.export.graph.onnx_file import open_onnx, read_onnx, refuse_corrupt_weights
from mutualformer.plugins import library
from mutualformer.plugins.files import scratch
from mutualformer.runtime import flavor as flavors
from mutualformer.runtime.benchmarks.frame_cost import device_of
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.files import replacing, sha256
from mutualformer.runtime.reporting.progress import working
from mutualformer.runtime.session import existing_file
from mutualformer.runtime.session.engine_card import EngineCard, card_path
from mutualformer.runtime.session.gpu import compute_capabilities

log = logging.getLogger("mutualformer")


def host_capability(flavor: str) -> str:
    """Compute capability of the building GPU, "" where there is none. Raises ExportError for classic TensorRT there."""
    gpus = compute_capabilities()
    if flavor == "tensorrt" and not gpus:
        raise ExportError(
            "flavor tensorrt builds on the device it is for, and there is no NVIDIA GPU or driver here; "
            "use --flavor rtx on this machine, or run this command on the device"
        )
    return gpus[0] if gpus else ""


def prove(model: onnx.ModelProto, contract: Contract, result: BuildResult, tf32: bool = False) -> int:
    """Number of plugin layers in the engine. Raises ExportError unless plugin use and precision are as requested."""
    expected = sum(is_cda(node) for node in model.graph.node)
    if not result.layers:
        raise ExportError("the builder printed no final layer list, so plugin use and precision cannot be proven")
    plugins = sum(layer.is_plugin for layer in result.layers)
    if plugins != expected:
        raise ExportError(f"the engine has {plugins} plugin layers, expected one for each of the {expected} CDA nodes")
    problems = precision_problems(contract.precision, heavy_node_types(model), result.layers, tf32)
    if problems:
        raise ExportError(f"the engine is not {contract.precision} as asked: {'; '.join(problems[:3])}")
    return plugins


def to_engine(onnx_file: Path, out: Path, options: BuildOptions, rebuild: str) -> EngineCard:
    """Build ``out`` and ``out.json`` from ``onnx_file``. ``rebuild``: the command that repeats the build, for the card.

    Raises ExportError, PluginError, FlavorError, and writes nothing then.
    """
    file, contract = open_onnx(onnx_file)
    model = file.model
    refuse_corrupt_weights(onnx_file, model)
    capability = host_capability(options.flavor)
    nodes = sum(is_cda(node) for node in model.graph.node)
    folds: dict[str, int] = {}
    if options.folded:
        model, folds = fold(model, device_of(capability))
    trt = flavors.import_flavor(options.flavor)
    plugin = library.load(options.flavor) if nodes else None
    with working(f"building the engine with {library.FLAVORS[options.flavor]}"):
        result = build(trt, model, contract.inputs, options)
    plugin_layers = prove(model, contract, result, options.tf32)
    card = EngineCard(
        contract=contract,
        flavor=options.flavor,
        builder_version=str(trt.__version__),
        onnx_sha256=file.sha256,
        plugin_sha256=sha256(plugin) if plugin else "",
        engine_sha256=hashlib.sha256(result.engine).hexdigest(),
        requested_precision=contract.precision,
        actual_precision=precision_counts(result.layers),
        heavy_nodes=node_counts(heavy_node_types(model), result.layers),
        profile=options.profile,
        cda_nodes=nodes,
        plugin_layers=plugin_layers,
        targets=options.capabilities or (RTX_DEFAULT if options.flavor == "rtx" else (capability,)),
        built_on=capability,
        rebuild=rebuild,
        layers=tuple(
            {**layer.as_dict(), **({"work": asdict(work)} if work else {})}
            for layer, work in zip(result.layers, layer_work(model, result.layers), strict=True)
        ),
        layers_from=result.layers_from,
        kernels=kernel_count(result.layers),
        tf32=options.tf32,
        folds=folds,
    )
    with replacing(out) as engine, replacing(card_path(out)) as card_file:
        engine.write_bytes(result.engine)
        card.write_to(card_file)
    return card


def _has_plugin(contract: Contract) -> None:
    """Raise PluginError where a model of ``contract`` needs the plugin and there is none."""
    if contract.cda_nodes != 0:
        library.check(library.find())


def compile_model(
    source: Path,
    out: Path,
    options: BuildOptions,
    precision: str | None = None,
    calibration: str | None = None,
    targets: Sequence[str] = (),
) -> EngineCard:
    """Checkpoint or ONNX file → engine and card, and beside them the ONNX file that was made for it, if any.

    ``precision`` None: that of the file; on TensorRT-RTX FP16 for an FP32 file or a checkpoint, because its GPUs
    compute nothing faster and the loss is negligible (docs/quantization.md). ``targets``: the names behind
    ``options.capabilities``.
    Raises as :func:`to_engine`, and DataError; it writes nothing then.
    """
    from mutualformer.export.precision.convert import write_onnx

    host_capability(options.flavor)  # fail before minutes of tracing and calibration
    flavors.import_flavor(options.flavor)
    existing_file(source, "ONNX file" if source.suffix == ".onnx" else "checkpoint or ONNX file")
    held = read_onnx(source)[1].precision if source.suffix == ".onnx" else "fp32"
    target = precision or ("fp16" if options.flavor == "rtx" and held == "fp32" else held)
    if source.suffix == ".onnx" and target == held and calibration:
        raise ExportError(f"--calibration {calibration} has no use: {source} is {held} already")
    with scratch() as folder:
        file = source
        if source.suffix != ".onnx" or target != held:
            name = f"{out.stem}.{target}.onnx" if source.suffix == ".onnx" else f"{out.stem}.onnx"
            file = write_onnx(source, folder / name, target, calibration, check=_has_plugin).path
        card = to_engine(file, out, options, rebuild_command(file, out, options, targets))
        if file != source:
            with replacing(out.with_name(file.name)) as beside:
                shutil.copyfile(file, beside)
            log.info("%s: %s, made of %s", out.with_name(file.name), card.contract.precision, source)
    warn_of_slow_int8(card)
    return card


def warn_of_slow_int8(card: EngineCard) -> None:
    """Warn where INT8 is slower than FP16: on TensorRT-RTX, wherever the Q/DQ pairs stand."""
    if card.flavor == "rtx" and card.requested_precision == "int8":
        log.warning(
            "int8 on TensorRT-RTX: %d kernels a frame. It computes every INT8 convolution into FP32 and requantises in "
            "a kernel of its own (sod-nano: 317 kernels in int8, 149 in fp16); use fp16 here, int8 with --flavor "
            "tensorrt",
            card.kernels,
        )


def rebuild_command(onnx_file: Path, out: Path, options: BuildOptions, targets: Sequence[str] = ()) -> str:
    """The command that builds this engine again wherever the wheel is installed."""
    words = ["mutualformer", "to_trt", onnx_file.name, "-o", out.name, "--flavor", options.flavor]
    words += ["--batch", *(str(n) for n in options.profile)]
    if options.tf32:
        words += ["--tf32"]
    if not options.folded:
        words += ["--unfolded"]
    if options.workspace_mib:
        words += ["--workspace", str(options.workspace_mib)]
    for target in targets:
        words += ["--target", target]
    return shlex.join(words)
