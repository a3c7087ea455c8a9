"""Weights on disk: ``X.safetensors`` and, beside it, ``X.json``, the model card. Nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from safetensors.torch import save_file
from torch import nn

from mutualformer.errors import ModelError
from mutualformer.plugins.files import plain
from mutualformer.runtime.card import SCHEMA_VERSION, markdown, parents
from mutualformer.runtime.files import read_regular, replacing, sha256, write_bytes
from mutualformer.runtime.session.base import LARGEST_MODEL
from mutualformer.runtime.tasks import TASKS
from mutualformer.runtime.untrusted.seal import SEAL, seal_of, sealed
from mutualformer.runtime.untrusted.typed_json import read_json
from mutualformer.train import registry


class CheckpointError(ModelError, ValueError):
    """A checkpoint is missing, corrupt or of another model: names the file, what was found and what was expected."""


def card_path(path: Path) -> Path:
    """The card beside ``path``."""
    return path.with_suffix(".json")


def git_revision() -> str:
    """Revision of the source tree this runs from, ``-dirty`` when changed, "unknown" outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    # `git describe --dirty` gives the same but writes to the repository's index.
    command = ["git", "--no-optional-locks", "-C", str(root), "status", "--porcelain=v2", "--branch", "-uno"]
    try:
        status = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    lines = status.stdout.splitlines()
    revision = next((line.split()[2][:12] for line in lines if line.startswith("# branch.oid ")), "unknown")
    return revision + ("-dirty" if any(not line.startswith("#") for line in lines) else "")


def save(path: str | Path, model: nn.Module, card: Mapping[str, Any]) -> Path:
    """Write ``model`` (built by ``registry``) and its card; ``card`` adds data, recipe, metrics, limits."""
    path = Path(path)
    spec = registry.spec_of(model)
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with replacing(path) as beside:
        save_file(tensors, beside, metadata={"model": spec.name})
    full = {
        "schema_version": SCHEMA_VERSION,
        "model": spec.name,
        "overrides": model.overrides,
        "architecture": dict(spec.architecture),
        "task": spec.task,
        "input_size": list(spec.input_size),
        "depth_range_m": list(spec.depth_range_m),
        "labels": list(spec.labels),
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "weights_sha256": sha256(path),
        "git_revision": git_revision(),
        "data": {},
        "recipe": {},
        "metrics": {},
        "limits": "",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **card,
    }
    write_card(path, full)
    return path


def write_card(path: Path, card: Mapping[str, Any]) -> None:
    """Write the card of checkpoint ``path`` with a seal, which shows a change of one bit."""
    text = json.dumps(sealed({**card, "schema_version": SCHEMA_VERSION}), indent=2, ensure_ascii=False) + "\n"
    write_bytes(card_path(path), text.encode(errors="backslashreplace"))


def write_markdown(path: Path) -> Path:
    """Write the card of checkpoint ``path`` for readers, ``X.md`` beside it; returns that file's path."""
    page = path.with_suffix(".md")
    write_bytes(page, markdown(read_card(path), path.name).encode(errors="backslashreplace"))
    return page


def read_card(path: str | Path) -> dict[str, Any]:
    """The card of checkpoint ``path``, checked for schema, model and hash of the weights beside it."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file, expected a .safetensors checkpoint written by `fit`")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path}: the file is empty, expected safetensors weights")
    beside = card_path(path)
    if not beside.is_file():
        raise CheckpointError(f"{path}: its card {beside.name} is missing, expected beside it; copy both files")
    fields = read_json(beside, CheckpointError, "model card")
    version = fields.get("schema_version")
    if version not in (1, SCHEMA_VERSION):
        raise CheckpointError(f"{beside}: card schema is {version!r}, expected version {SCHEMA_VERSION}")
    if (version == SCHEMA_VERSION or SEAL in fields) and fields.get(SEAL) != seal_of(fields):
        raise CheckpointError(f"{beside}: {SEAL} does not fit its content: the card was altered or is corrupt")
    fields.text("model", longest=64)
    fields.text("task", one_of=tuple(TASKS))
    fields.text("weights_sha256", longest=64)
    fields.fields("overrides")
    for key in ("architecture", "data", "recipe", "metrics"):
        fields.fields(key, default={})
    return dict(fields)


def parent(path: Path, given: str, role: str) -> list[dict[str, Any]]:
    """Entries of a card for the parent model at ``path`` and for that model's own parents.

    ``given``: the name or path that the user gave; ``role``: "fine-tuned from" or "taught by".
    """
    card = read_card(path)
    ours = {key: card[key] for key in ("model", "weights_sha256", "data", "prints") if card.get(key)}
    return [{"role": role, "given": given, **ours}, *map(dict, parents(card))]


def has_steps(path: Path, steps: int) -> bool:
    """Whether ``path`` is a whole checkpoint of a run that made all of its ``steps``."""
    try:
        card = read_card(path)
    except CheckpointError:
        return False
    return bool(card["recipe"].get("steps_done") == steps and card["weights_sha256"] == sha256(path))


def _check_architecture(path: Path, card: Mapping[str, Any], spec: registry.ModelSpec) -> None:
    """Refuse weights whose model has changed since: four heads read what eight heads learnt without any error."""
    now = plain(dict(spec.architecture))
    for key, value in card.get("architecture", now).items():
        if now.get(key) != value:
            raise CheckpointError(
                f"{card_path(path)}: trained with {key} = {value!r}, this version's {card['model']} has "
                f"{now.get(key)!r}; use the version that trained it, or train again"
            )


def read_tensors(path: Path, card: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The tensors of checkpoint ``path`` with ``card``, on the CPU. Raises CheckpointError.

    The file is read once, so that the bytes that are hashed are the bytes that are used.
    """
    data = read_regular(path, LARGEST_MODEL)
    digest = hashlib.sha256(data).hexdigest()
    try:
        tensors = safetensors.torch.load(data)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as safetensors ({error}), expected a whole file; was the copy cut short?"
        ) from error
    if digest != card["weights_sha256"]:
        raise CheckpointError(
            f"{path}: sha256 is {digest[:12]}…, its card expects {card['weights_sha256'][:12]}…; "
            "the two files are not of one training run"
        )
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{path}: tensor {name} holds NaN or infinity, expected finite weights")
    return tensors


def _check_shapes(path: Path, card: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Compare with the model that the card describes, built without memory: its dimensions are untrusted."""
    try:
        with torch.device("meta"):
            model = registry.build(card["model"], **_overrides(card))
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        raise CheckpointError(f"{card_path(path)}: the card describes no model of this version: {error}") from error
    expected, found = (
        {name: tuple(value.shape) for name, value in one.items()} for one in (model.state_dict(), tensors)
    )
    if wrong := sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)):
        first = wrong[0]
        raise CheckpointError(
            f"{path}: {len(wrong)} tensors are not of {card['model']} with overrides {card['overrides']}: {first} is "
            f"{found.get(first, 'missing')}, expected {expected.get(first, 'no such tensor')}; is the card another "
            "model's?"
        )
    _check_architecture(path, card, registry.spec_of(model))


def _overrides(card: Mapping[str, Any]) -> dict[str, Any]:
    """A card's overrides without ``pretrained``: how weights began no longer matters, and could mean a download."""
    return {key: value for key, value in card["overrides"].items() if key != "pretrained"}


def load(path: str | Path) -> nn.Module:
    """Rebuild the model of checkpoint ``path`` in eval mode, on the CPU.

    Adds ``.card`` (dict) and ``.weights_sha256``. Raises CheckpointError. The bytes are hashed before anything is
    built, and the card's dimensions are compared with the tensors before memory is taken for them.
    """
    path = Path(path)
    card = read_card(path)
    tensors = read_tensors(path, card)
    _check_shapes(path, card, tensors)
    model = registry.build(card["model"], **_overrides(card))
    model.load_state_dict(tensors)
    model.eval()
    model.card = card  # type: ignore[assignment]
    model.weights_sha256 = card["weights_sha256"]
    return model
