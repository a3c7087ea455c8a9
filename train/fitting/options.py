"""The options that ``fit`` and ``ablation`` share, and the run that they describe."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mutualformer.runtime.untrusted.typed_json import parse_json
from mutualformer.train import registry
from mutualformer.train.fitting.recipes import limited, names, recipe
from mutualformer.train.fitting.recipes.reading import changed

if TYPE_CHECKING:
    from mutualformer.train.fitting.config import FitConfig


def add_run(parser: argparse.ArgumentParser) -> None:
    """Everything that decides the weights of a run but its seed."""
    parser.add_argument("model", metavar="MODEL", help=f"one of {', '.join(registry.list_models())}")
    parser.add_argument(
        "--data", required=True, help="synthetic:N[?seed=S], a folder, rgbd:ROOT/NAME+NAME, or a sum A+B"
    )
    parser.add_argument(
        "--recipe",
        default="default",
        metavar="NAME|FILE.toml",
        help=f"one of {', '.join(names())}, or a file (see `mutualformer recipes`; default: default)",
    )
    parser.add_argument("--steps", type=int, help="optimiser steps instead of the recipe's")
    parser.add_argument("--minutes", type=float, help="time budget instead of the recipe's, 0 = none")
    parser.add_argument("--batch", type=int, help="global batch size instead of the recipe's")
    parser.add_argument(
        "--side",
        type=int,
        metavar="PIXELS",
        help="largest side of the training pictures, and of the model's input: stages above it are trained at it",
    )
    parser.add_argument(
        "--validate",
        metavar="DATA",
        help="what the card's metrics are measured on; when missing: 60 held-out scenes for synthetic data, the test "
        "split of a set that has one, else a tenth of the frames kept out of training; 'none' = no metrics",
    )
    parser.add_argument(
        "--init",
        metavar="FILE|NAME",
        help="start from the weights of a .safetensors checkpoint or of a shipped model (fine-tuning)",
    )
    parser.add_argument(
        "--pretrained",
        action=argparse.BooleanOptionalAction,
        help="start the backbones from ImageNet weights: those of an installed package, else timm's hub; it is said "
        "which (default: from scratch, except with --recipe photo)",
    )
    parser.add_argument("--precision", default="32-true", help="Lightning's: 32-true, bf16-mixed, 16-mixed")
    parser.add_argument(
        "--accumulate", type=int, default=1, help="parts in which a batch is worked through (batch norm sees the parts)"
    )
    parser.add_argument(
        "--local-norms",
        action="store_true",
        help="with several processes (torchrun): batch norms see their own process's frames and need not wait for the "
        "others'; two processes on two cores of a CPU then take less time than one",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare batches")
    parser.add_argument("--save-every", type=int, default=200, help="steps between checkpoints for --resume")
    parser.add_argument(
        "--validate-every",
        type=int,
        default=400,
        help="steps between validations while training (photo:), of which the best weights are kept; 0 = none, those "
        "of the last step",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        dest="options",
        help="an option of the model, such as fusion=concat or input_size=[256,256], or a key of the recipe, such as "
        "recipe.learning_rate=3e-4 or recipe.augmentation.crop=0.2",
    )


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
    return FitConfig(
        model=args.model,
        data=args.data,
        out=out,
        recipe=chosen,
        seed=seed,
        overrides=overrides,
        validate=None if validate == "none" else validate,
        hold_out=hold_out,
        init=args.init,
        resume=resume,
        precision=args.precision,
        accumulate=args.accumulate,
        local_norms=args.local_norms,
        workers=args.workers,
        save_every=args.save_every,
        validate_every=args.validate_every,
    )
