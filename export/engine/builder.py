"""ONNX → serialised TensorRT engine: every call into the builder of TensorRT (classic 10.3 … 11, and RTX)."""

from __future__ import annotations

import copy
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import onnx

from mutualformer.export.engine.layer_list import Layer, inspected_layers, parse_layers
from mutualformer.export.errors import ExportError
from mutualformer.export.graph.cda_function import is_cda, strip_function
from mutualformer.plugins import library
from mutualformer.runtime.session.engine_card import MAX_BATCH
from mutualformer.runtime.session.gpu import compute_capabilities
from mutualformer.runtime.tasks import TensorSpec

log = logging.getLogger("mutualformer")

# Errors that TensorRT logs where there is no GPU, although it can build without one.
_NO_GPU = ("cudaError 35", "CUDA initialization failure", "Unable to determine GPU memory usage")


@dataclass(frozen=True)
class BuildOptions:
    """``profile``: (min, opt, max) batch. ``workspace_mib``: 0 = TensorRT's default. ``capabilities``: RTX targets.

    ``tf32``: TensorRT may compute FP32 products in TF32, which is its default. ``folded``: build from the graph as
    ``export/graph/folds`` rewrites it; False: as exported.
    """

    flavor: str
    profile: tuple[int, int, int] = (1, 1, 1)
    tf32: bool = False
    folded: bool = True
    workspace_mib: int = 0
    capabilities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        low, best, high = self.profile
        if not 1 <= low <= best <= high <= MAX_BATCH:
            raise ExportError(f"--batch is {low} {best} {high}, expected 1 ≤ MIN ≤ OPT ≤ MAX ≤ {MAX_BATCH}")


@dataclass(frozen=True)
class BuildResult:
    """The engine's bytes and its layers.

    ``layers_from``: "inspector" where a GPU could load the engine, else "builder log".
    """

    engine: bytes
    layers: list[Layer]
    layers_from: str


def make_logger(trt: ModuleType) -> Any:
    """An ILogger that keeps the last layer list and all errors but those about a missing GPU.

    It drops the rest unread, because a build logs tens of thousands of lines while it holds the GIL.
    """

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.layers = ""
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                if not any(text in message for text in _NO_GPU):
                    self.errors.append(message)
            elif severity == trt.ILogger.WARNING:
                log.debug("TensorRT: %s", message)
            elif message.startswith("Layers:"):
                self.layers = message

    return Logger()


def build(trt: ModuleType, model: onnx.ModelProto, inputs: Sequence[TensorSpec], options: BuildOptions) -> BuildResult:
    """Parse with our plugin, build, serialise. Call ``plugins.library.load`` before.

    ``inputs``: the contract's inputs, whose batch is dynamic.
    Raises ExportError with TensorRT's own message when it refuses.
    """
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    proto = copy.deepcopy(model)
    if hasattr(trt.OnnxParserFlag, "ENABLE_PLUGIN_OVERRIDE"):
        parser.set_flag(trt.OnnxParserFlag.ENABLE_PLUGIN_OVERRIDE)
    else:
        strip_function(proto)
    if not parser.parse(proto.SerializeToString()):
        problems = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        raise ExportError(f"TensorRT cannot parse the graph: {'; '.join(problems) or 'no reason given'}")
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    plugins = [layer.name for layer in layers if layer.type == trt.LayerType.PLUGIN_V3]
    expected = sum(is_cda(node) for node in model.graph.node)
    if len(plugins) != expected:
        raise ExportError(
            f"the graph has {expected} CDA nodes but TensorRT's network has {len(plugins)} plugin layers; "
            "the model-local function was expanded instead of our plugin"
        )
    config = _config(trt, builder, inputs, options)
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        messages = [message for message in (library.last_error(), *logger.errors) if message]
        raise ExportError(f"TensorRT could not build the engine: {'; '.join(messages) or 'no reason given'}")
    engine = bytes(serialized)
    inspected = inspect(trt, logger, engine, plugins) if compute_capabilities() else []
    return BuildResult(
        engine=engine,
        layers=inspected or parse_layers([logger.layers], plugins),
        layers_from="inspector" if inspected else "builder log",
    )


def inspect(trt: ModuleType, logger: Any, engine: bytes, plugins: Collection[str]) -> list[Layer]:
    """Layers from the engine's inspector, which needs a GPU; empty where the engine cannot be loaded or names none."""
    runtime = trt.Runtime(logger)
    loaded = runtime.deserialize_cuda_engine(engine)
    if loaded is None:
        return []
    text = loaded.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        return inspected_layers(text, plugins)
    except ValueError as error:
        log.info("%s; using the builder's own layer list", error)
        return []


def _network_flags(trt: ModuleType) -> int:
    """Strongly typed: the graph decides the precision. TensorRT 11 always does so and may drop the flag."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _config(trt: ModuleType, builder: Any, inputs: Sequence[TensorSpec], options: BuildOptions) -> Any:
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if hasattr(trt.BuilderFlag, "TF32") and not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)  # TensorRT sets it by default; TF32 has only 10 bits of mantissa
    if options.workspace_mib:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    if options.flavor == "rtx" and options.capabilities:
        config.num_compute_capabilities = len(options.capabilities)
        for index, capability in enumerate(options.capabilities):
            name = "SM" + capability.replace(".", "")
            config.set_compute_capability(getattr(trt.ComputeCapability, name), index)
    if inputs:
        profile = builder.create_optimization_profile()
        for spec in inputs:
            profile.set_shape(spec.name, *[(batch, *spec.shape[1:]) for batch in options.profile])
        config.add_optimization_profile(profile)
    return config
