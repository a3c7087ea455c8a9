"""Verb ``to_trt``: checkpoint or ONNX → serialised TensorRT engine in which every CDA is our plugin, proven.

    python export/to_trt.py model.onnx -o model.engine [--flavor auto|tensorrt|rtx] [--batch MIN OPT MAX]

Runs where only the runtime's dependencies are installed. Flavour ``rtx`` builds on a machine without a GPU.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import shlex
from collections.abc import Sequence

import onnx
from google.protobuf.message import DecodeError

from mutualformer.export.engine.builder import BuildOptions, BuildResult, build
from mutualformer.export.engine.layer_list import kernel_count, precision_counts
from mutualformer.export.engine.proof import heavy_node_types, node_counts, precision_problems
from mutualformer.export.engine.targets import RTX_DEFAULT, TARGETS, capabilities
from mutualformer.export.errors import ExportError
from mutualformer.export.graph.cda_function import is_cda
from mutualformer.plugins import library
from mutualformer.runtime import flavor as flavors
from mutualformer.runtime.cli import run_verb
from mutualformer.runtime.contract import PRECISIONS, Contract, ContractError
from mutualformer.runtime.files import replacing, sha256
from mutualformer.runtime.gpu import compute_capabilities
from mutualformer.runtime.session import existing_file
from mutualformer.runtime.session.engine_card import EngineCard, card_path


def read_onnx(path: Path) -> tuple[onnx.ModelProto, Contract]:
    """The file and its contract. Raises ExportError when it is not an ONNX file of ours."""
    try:
        model = onnx.load(existing_file(path, "ONNX file"))
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as error:
        reason = (str(error).strip() or "not ONNX").splitlines()[0]
        raise ExportError(f"{path}: not a readable ONNX file, truncated perhaps ({reason}); export it again") from error
    try:
        return model, Contract.from_props({prop.key: prop.value for prop in model.metadata_props})
    except ContractError as error:
        raise ExportError(f"{path}: {error}") from error


def host_capability(flavor: str) -> str:
    """Compute capability of the building GPU, empty when there is none. Classic TensorRT refuses without one."""
    found = compute_capabilities()
    if flavor == "tensorrt" and not found:
        raise ExportError(
            "flavor tensorrt builds on the device it is for, and there is no NVIDIA GPU or driver here; "
            "use --flavor rtx on this machine, or run this command on the device"
        )
    return found[0] if found else ""


def prove(model: onnx.ModelProto, contract: Contract, result: BuildResult) -> int:
    """Number of plugin layers in the built engine. Raises ExportError unless plugin use and precision are as asked."""
    expected = sum(is_cda(node) for node in model.graph.node)
    if not result.layers:
        raise ExportError("the builder printed no final layer list, so plugin use and precision cannot be proven")
    found = sum(layer.is_plugin for layer in result.layers)
    if found != expected:
        raise ExportError(f"the engine has {found} plugin layers, expected one for each of the {expected} CDA nodes")
    problems = precision_problems(contract.precision, heavy_node_types(model), result.layers)
    if problems:
        raise ExportError(f"the engine is not {contract.precision} as asked: {'; '.join(problems[:3])}")
    return found


def to_engine(onnx_file: Path, out: Path, options: BuildOptions, rebuild: str, cache: Path | None = None) -> EngineCard:
    """Build ``out`` and ``out.json`` from ``onnx_file``; both appear or neither does. Raises ExportError."""
    model, contract = read_onnx(onnx_file)
    low, best, high = options.profile
    if not 1 <= low <= best <= high:
        raise ExportError(f"--batch is {low} {best} {high}, expected 1 ≤ MIN ≤ OPT ≤ MAX")
    capability = host_capability(options.flavor)
    nodes = sum(is_cda(node) for node in model.graph.node)
    trt = flavors.import_flavor(options.flavor)
    plugin = library.load(options.flavor) if nodes else None
    result = build(trt, model, contract, options)
    plugin_layers = prove(model, contract, result)
    targets = options.capabilities or (RTX_DEFAULT if options.flavor == "rtx" else (capability,))
    with replacing(out) as engine, replacing(card_path(out)) as card_file:
        engine.write_bytes(result.engine)
        card = EngineCard(
            contract=contract,
            flavor=options.flavor,
            builder_version=result.version,
            onnx_sha256=sha256(onnx_file),
            plugin_sha256=sha256(plugin) if plugin else "",
            engine_sha256=sha256(engine),
            requested_precision=contract.precision,
            actual_precision=precision_counts(result.layers),
            heavy_nodes=node_counts(heavy_node_types(model), result.layers),
            profile=options.profile,
            cda_nodes=nodes,
            plugin_layers=plugin_layers,
            targets=targets,
            built_on=capability,
            rebuild=rebuild,
            layers=tuple(layer.as_dict() for layer in result.layers),
            layers_from=result.layers_from,
            kernels=kernel_count(result.layers),
            tf32=options.tf32,
        )
        card.write_to(card_file)
    if cache is not None and result.timing_cache is not None:
        with replacing(cache) as beside:
            beside.write_bytes(result.timing_cache)
    return card


def rebuild_command(onnx_file: Path, out: Path, options: BuildOptions, targets: Sequence[str] = ()) -> str:
    """What to type to get this engine again, wherever the wheel is installed: a device has no ``export/to_trt.py``."""
    words = ["mutualformer", "to_trt", onnx_file.name, "-o", out.name, "--flavor", options.flavor]
    words += ["--batch", *(str(n) for n in options.profile)]
    if options.workspace_mib:
        words += ["--workspace", str(options.workspace_mib)]
    for target in targets:
        words += ["--target", target]
    return shlex.join(words)


def onnx_of(source: Path, out: Path, precision: str | None, calibration: str | None) -> Path:
    """The ONNX file to build: ``source`` itself, or what ``to_onnx`` makes of a checkpoint or of another precision."""
    if source.suffix == ".onnx":
        _, contract = read_onnx(source)
        if precision in (None, contract.precision):
            return source
        assert precision is not None
        try:
            from mutualformer.export.precision.convert import (  # not on a device: it needs onnx-graphsurgeon
                convert,
                save_checked,
            )
        except ModuleNotFoundError as error:
            raise ExportError(
                f"{source}: {precision} cannot be made of an {contract.precision} file here (no Python package "
                f"{error.name!r}); do it where the model was exported, or pip install 'mutualformer[train,export]'"
            ) from error
        model, contract = read_onnx(source)
        converted, _ = convert(model, contract, precision, calibration)
        beside = out.with_suffix(f".{precision}.onnx")
        save_checked(converted, beside)
        print(f"{beside}: {precision} graph made from {source}")
        return beside
    existing_file(source, "checkpoint or ONNX file")
    try:
        from mutualformer.export import to_onnx
    except ModuleNotFoundError as error:
        raise ExportError(
            f"{source}: turning a checkpoint into ONNX needs Python package {error.name!r}; "
            "pip install 'mutualformer[train,export]', or export on the training machine and bring the .onnx file"
        ) from error
    beside = out.with_suffix(".onnx")
    arguments = [str(source), "-o", str(beside), "--precision", precision or "fp32"]
    to_onnx.command(to_onnx.parser().parse_args(arguments + (["--calibration", calibration] if calibration else [])))
    return beside


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(prog="mutualformer to_trt", description=__doc__.splitlines()[0])
    arguments.add_argument("source", type=Path, help="model.onnx, or model.safetensors with its card")
    arguments.add_argument("-o", "--output", type=Path, required=True, help="the .engine file to write")
    arguments.add_argument("--precision", choices=PRECISIONS, help="default: what the ONNX file is")
    arguments.add_argument("--calibration", metavar="DATA", help="with --precision int8 and a checkpoint")
    arguments.add_argument("--flavor", choices=("auto", *flavors.MODULES), default="auto")
    arguments.add_argument("--batch", type=int, nargs=3, metavar=("MIN", "OPT", "MAX"), default=(1, 1, 8))
    arguments.add_argument(
        "--workspace", type=int, default=0, metavar="MIB", help="memory limit of one layer's scratch"
    )
    arguments.add_argument("--target", action="append", default=[], choices=tuple(TARGETS), help="may be repeated")
    arguments.add_argument("--timing-cache", type=Path, metavar="FILE", help="classic flavour: read and updated")
    return arguments


def command(args: argparse.Namespace) -> int:
    if args.output.suffix != ".engine":
        raise ExportError(f"{args.output}: the output ends in {args.output.suffix!r}, expected .engine")
    flavor = flavors.resolve(args.flavor)
    cache = args.timing_cache if flavor == "tensorrt" else None
    if args.timing_cache and cache is None:
        print("--timing-cache is ignored: TensorRT-RTX tunes on the user's machine and has no timing cache")
    onnx_file = onnx_of(args.source, args.output, args.precision, args.calibration)
    options = BuildOptions(
        flavor=flavor,
        profile=tuple(args.batch),
        workspace_mib=args.workspace,
        capabilities=capabilities(args.target, flavor),
        timing_cache=(cache.read_bytes() if cache.exists() else b"") if cache else None,
    )
    card = to_engine(
        onnx_file, args.output, options, rebuild_command(onnx_file, args.output, options, args.target), cache
    )
    print(
        f"{args.output}: {card.contract.model}, {card.requested_precision}, {card.flavor} {card.builder_version}, "
        f"{args.output.stat().st_size / 1e6:.1f} MB, {card.plugin_layers} of {card.cda_nodes} CDA as plugin, "
        f"heavy nodes {', '.join(f'{count} {kind}' for kind, count in card.heavy_nodes.items())}, "
        f"targets {', '.join(card.targets)}"
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_verb(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
