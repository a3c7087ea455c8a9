"""The options that ``fit`` and ``ablation`` share, and the run that they describe."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mutualformer.runtime.commandline.arguments import rarely_needed
from mutualformer.runtime.untrusted.typed_json import parse_json
from mutualformer.train import registry
from mutualformer.train.fitting.recipes import limited, names, recipe
from mutualformer.train.fitting.recipes.reading import changed

if TYPE_CHECKING:
    from mutualformer.train.fitting.config import FitConfig


def add_run(parser: argparse.ArgumentParser) -> None:
    """Everything that decides the weights of a run except its seed."""
    add = parser.add_argument
    add("model", metavar="MODEL", help=f"one of {', '.join(registry.list_models())}")
    add("--data", required=True, help="synthetic:N[?seed=S], a folder, rgbd:ROOT/NAME+NAME, or a sum A+B")
    add("--recipe", default="default", metavar="NAME|FILE.toml", help=f"one of {', '.join(names())}, or a file")
    add("--steps", type=int, help="optimiser steps instead of the recipe's")
    add("--minutes", type=float, help="time budget instead of the recipe's, 0 = none")
    add("--batch", type=int, help="global batch size instead of the recipe's")
    add("--side", type=int, metavar="PIXELS", help="side of the model's input, and largest side of training pictures")
    add(
        "--validate",
        metavar="DATA",
        help="frames for the card's metrics (default: the test split, else a held-out tenth); 'none' = no metrics",
    )
    add("--init", metavar="FILE|NAME", help="start from a .safetensors checkpoint or a shipped model (fine-tuning)")
    add(
        "--pretrained",
        action=argparse.BooleanOptionalAction,
        help="start the backbones from ImageNet weights of an installed package or timm's hub (printed)",
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        dest="options",
        help="an option of the model (fusion=concat) or of the recipe (recipe.learning_rate=3e-4)",
    )
    add = rarely_needed(parser).add_argument
    add("--precision", default="32-true", help="Lightning's: 32-true, bf16-mixed, 16-mixed")
    add("--local-norms", action="store_true", help="under torchrun: batch norms see only their own process's frames")
    add("--workers", type=int, default=1, help="processes that prepare batches")
    add("--save-every", type=int, default=200, help="steps between checkpoints for --resume")
    add("--validate-every", type=int, default=400, help="steps between validations while training, 0 = none")


def _overrides(pairs: Sequence[str]) -> dict[str, Any]:
    from mutualformer.train.fitting.config import FitError

    overrides: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise FitError(f"--set {pair!r}: expected option=value")
        try:
            overrides[key] = parse_json(value)
        except ValueError:
            overrides[key] = value
    return overrides


def configured(args: argparse.Namespace, out: Path, seed: int = 0, resume: bool = False) -> FitConfig:
    """The run that a command line describes. Raises ValueError."""
    from mutualformer.train.fitting.config import FitConfig
    from mutualformer.train.fitting.preparation.ready import validation_of

    chosen = recipe(args.recipe)
    changes = {"steps": args.steps, "minutes": args.minutes, "batch": args.batch}
    chosen = dataclasses.replace(chosen, **{key: value for key, value in changes.items() if value is not None})
    overrides = _overrides(args.options)
    ours = [key for key in overrides if key.startswith("recipe.")]
    chosen = changed(chosen, [(key.partition(".")[2], overrides.pop(key)) for key in ours])
    if args.side is not None:
        chosen = limited(chosen, args.side)
        overrides.setdefault("input_size", [args.side, args.side])
    if args.pretrained is not None:
        overrides["pretrained"] = args.pretrained
    elif chosen.name == "photo" and not args.init:
        overrides.setdefault("pretrained", True)
    validate, hold_out = args.validate, False
    if validate is None:
        validate, hold_out = validation_of(args.data, registry.spec(args.model).task)
    same = "model data init precision local_norms workers save_every validate_every"
    return FitConfig(
        out=out,
        recipe=chosen,
        seed=seed,
        overrides=overrides,
        validate=None if validate == "none" else validate,
        hold_out=hold_out,
        **{name: getattr(args, name) for name in same.split()},
        resume=resume,
    )
