"""The card of an engine, ``X.engine.json``: what it is, where it runs, and the hashes to check before loading it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mutualformer.runtime.contract import PRECISIONS, Contract
from mutualformer.runtime.files import sha256, write_json
from mutualformer.runtime.session.base import ModelFileError, existing_file
from mutualformer.runtime.untrusted.seal import SEAL, seal_of, sealed
from mutualformer.runtime.untrusted.typed_json import Fields, read_json

SCHEMA_VERSION = 2
MAX_BATCH = 1024
_MOST = 1_000_000  # layers, nodes, kernels
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_REBUILD = re.compile(
    rf"mutualformer to_trt {_NAME}\.onnx -o {_NAME}\.engine"
    r"( --(flavor|target) [a-z0-9-]+| --batch( [0-9]+){3}| --workspace [0-9]+| --tf32| --unfolded)*"
)
_VERSION = re.compile(r"[A-Za-z0-9_.+-]{1,40}")
_TARGET = re.compile(r"[0-9]{1,2}\.[0-9]{1,2}\+?")


@dataclass(frozen=True)
class EngineCard:
    """Everything that the builder recorded.

    ``profile``: (min, opt, max) batch. ``targets``: compute capabilities the engine was built for, e.g. "8.6+";
    ``built_on``: compute capability of the GPU that built it, empty when built on a CPU. ``requested_precision`` is
    what the user asked for; ``actual_precision`` counts layer outputs by data type in the builder's final layer list.
    ``heavy_nodes`` counts the graph's convolutions, products and CDA nodes by the type that the engine computes them
    in; "unnamed" counts nodes that no layer names. ``layers``: that list; ``layers_from``: its source, the builder's
    log or the engine inspector; ``kernels``: how many they launch, 0 in cards of older versions. ``tf32``: whether
    FP32 products may be computed in TF32, as in engines of older versions. ``rebuild``: the command that makes this
    engine again. ``folds``: what was folded in the graph before the build, and how often. A layer's "work" is what
    it computes and moves for one frame, as ``export/engine/work.py`` counts it.
    """

    contract: Contract
    flavor: str
    builder_version: str
    onnx_sha256: str
    plugin_sha256: str
    engine_sha256: str
    requested_precision: str
    actual_precision: dict[str, int]
    profile: tuple[int, int, int]
    cda_nodes: int
    plugin_layers: int
    targets: tuple[str, ...]
    built_on: str
    rebuild: str
    layers: tuple[dict[str, Any], ...] = ()
    layers_from: str = "builder log"
    kernels: int = 0
    tf32: bool = True
    heavy_nodes: dict[str, int] = field(default_factory=dict)
    folds: dict[str, int] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def write_to(self, path: Path) -> None:
        """Write the card as JSON to ``path`` (see :func:`card_path`), sealed with a hash of what it says."""
        write_json(path, sealed({**asdict(self), "contract": self.contract.to_json()}))


def card_path(engine: Path) -> Path:
    """X.engine → X.engine.json."""
    return engine.with_name(engine.name + ".json")


def read(engine: Path) -> EngineCard:
    """Read the card beside ``engine``. Raises ModelFileError naming what is wrong with it."""
    path = existing_file(card_path(engine), "engine card")
    try:
        card = read_json(path, ValueError, "engine card")
        if card.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"schema_version is {card.get('schema_version')!r}, expected {SCHEMA_VERSION}")
        if card.get(SEAL) != seal_of(card.data):
            raise ValueError(f"{SEAL} does not match its content: the card was altered or is corrupt")
        return _typed(card)
    except ValueError as error:  # ContractError among them
        raise ModelFileError(f"{path}: not a readable engine card ({error}); build the engine again") from error


def _typed(card: Fields) -> EngineCard:
    """Check the type and range of every value: anybody can write a card with a valid seal."""
    low, best, high = card.wholes("profile", 3, 1, MAX_BATCH)
    if not low <= best <= high:
        raise card.refuse("profile", "MIN ≤ OPT ≤ MAX")
    texts = ("onnx_sha256", "plugin_sha256", "engine_sha256", "built_on")
    values: dict[str, Any] = {key: card.text(key) for key in texts}
    values |= {key: card.whole(key, 0, _MOST) for key in ("cda_nodes", "plugin_layers")}
    values |= {key: _counts(card, key) for key in ("actual_precision", "heavy_nodes", "folds")}
    return EngineCard(
        contract=Contract.from_json(card.fields("contract")),
        builder_version=card.text("builder_version", form=_VERSION),
        flavor=card.text("flavor", one_of=("tensorrt", "rtx")),
        requested_precision=card.text("requested_precision", one_of=PRECISIONS),
        profile=(low, best, high),
        targets=_targets(card),
        rebuild=_rebuild(card),
        layers=tuple(dict(layer) for layer in card.objects("layers", ())),
        layers_from=card.text("layers_from", "builder log"),
        kernels=card.whole("kernels", 0, _MOST, 0),
        tf32=card.flag("tf32", True),
        **values,
    )


def _rebuild(card: Fields) -> str:
    """Its command where this project wrote it, else one built from typed values: people paste it into a shell."""
    told = card.text("rebuild")
    if _REBUILD.fullmatch(told):
        return told
    batch = " ".join(map(str, card.wholes("profile", 3, 1, MAX_BATCH)))
    tf32 = " --tf32" if card.flag("tf32", True) else ""
    return f"mutualformer to_trt MODEL.onnx -o MODEL.engine --flavor {card['flavor']} --batch {batch}{tf32}"


def _targets(card: Fields) -> tuple[str, ...]:
    """Compute capabilities such as "8.6" and "8.6+"."""
    targets = card.texts("targets")
    if not all(_TARGET.fullmatch(target) for target in targets):
        raise card.refuse("targets", 'compute capabilities such as "8.6" or "8.6+"')
    return targets


def _counts(card: Fields, key: str) -> dict[str, int]:
    counts = card.fields(key, {})
    return {name: counts.whole(name, 0, _MOST) for name in counts}


def verify_bytes(engine: Path, card: EngineCard, data: bytes) -> None:
    """Engines are code: refuse bytes that are not those that were built. They must be the bytes that are then run."""
    digest = hashlib.sha256(data).hexdigest()
    if digest != card.engine_sha256:
        what = f"sha256 is {digest[:12]}…, its card says {card.engine_sha256[:12]}…: the file was altered or is corrupt"
        raise _rebuild_it(engine, card, what)


def verify_plugin(engine: Path, card: EngineCard, plugin: Path, digest: str = "") -> None:
    """The plugin that runs must be the plugin it was built with. ``digest``: of its bytes where they were read."""
    digest = digest or sha256(plugin)
    if card.cda_nodes and digest != card.plugin_sha256:
        what = f"built with plugin {card.plugin_sha256[:12]}…, but {plugin} is {digest[:12]}…"
        raise _rebuild_it(engine, card, what)


def verify_host(engine: Path, card: EngineCard, version: str, compute_capability: str) -> None:
    """TensorRT version and GPU must be ones this engine runs on.

    Classic engines run on the compute capability they were built on and with the version that built them;
    TensorRT-RTX engines on the targets they name, "8.6+" meaning 8.6 and newer.
    """
    if version != card.builder_version:
        what = f"built by {card.flavor} {card.builder_version}, this machine has {version}"
        raise _rebuild_it(engine, card, what)
    if not serves(card, compute_capability):
        what = f"runs on compute capability {', '.join(card.targets)}, this GPU is {compute_capability}"
        raise _rebuild_it(engine, card, what)


def _rebuild_it(engine: Path, card: EngineCard, what: str) -> ModelFileError:
    return ModelFileError(f"{engine}: {what}; rebuild it with: {card.rebuild}")


def serves(card: EngineCard, compute_capability: str) -> bool:
    """Whether the engine was built for such a GPU, e.g. "8.7"."""

    def number(text: str) -> list[int]:
        return [int(part) for part in text.rstrip("+").split(".")]

    here = number(compute_capability)
    return any(here >= number(one) if one.endswith("+") else here == number(one) for one in card.targets)
