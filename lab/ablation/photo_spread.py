"""The outcome of a comparison on photographs as text: the section of a document, a file for spreadsheets, a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lab.ablation.paired import LEAST, LEVEL, Paired
from lab.ablation.spread import both
from mutualformer.runtime.reporting import tables
from mutualformer.runtime.tasks import SOD

SHOWN = ("s_measure", "max_f", "mae")
BARE, DRAWN = "photographs", "with_depth"  # the same photographs: without depth, with a drawn one
TITLES = {
    BARE: "photographs, no depth",
    DRAWN: "photographs, drawn depth",
    "composites": "composites in sensor frames",
}


def title(name: str) -> str:
    """The name of a set, for readers."""
    return TITLES.get(name, name)


def interval(difference: Paired) -> str:
    """``+0.0123 (+0.0101 … +0.0145; seeds +0.0120, +0.0126)``."""
    seeds = ", ".join(f"{value:+.4f}" for value in difference.by_seed)
    return f"{difference.mean:+.4f} ({difference.low:+.4f} … {difference.high:+.4f}; seeds {seeds})"


def _sets(arm: Mapping[str, Any]) -> list[str]:
    return [key for key in arm["conditions"] if " depth=" not in key]


def _scores(result: Mapping[str, Any]) -> str:
    reference, arms = result["reference"], result["arms"]
    headings = [SOD.headings[name] for name in SHOWN]
    rows = []
    for key in _sets(next(iter(arms.values()))):
        for fusion, arm in arms.items():
            metrics = arm["conditions"][key]["metrics"]
            against = arm.get(f"minus_{reference}")
            cell = interval(Paired.of(against[key]["s_measure"])) if against else "–"
            rows.append([title(key), fusion, *(both(metrics[name]) for name in SHOWN), cell])
    return tables.markdown(["set", "fusion", *headings, f"S less that of {reference}"], rows)


def _depth(result: Mapping[str, Any]) -> str:
    arms, rows = result["arms"], []
    for key in next(iter(arms.values()))["depth"]:
        without, wrong = (f"{key} depth=zero", f"{key} depth=shuffle") if key != DRAWN else (BARE, "")
        for fusion, arm in arms.items():
            conditions, gain = arm["conditions"], arm["depth"][key]["gain"]
            scores = [
                both(conditions[one]["metrics"]["s_measure"]) if one in conditions else "–"
                for one in (key, without, wrong)
            ]
            gains = (interval(Paired.of(gain[name])) for name in ("s_measure", "mae"))
            rows.append([title(key), fusion, *scores, *gains])
    header = ["set", "fusion", "S with depth", "depth zeroed", "of another frame", "gain of depth in S", "in MAE"]
    return tables.markdown(header, rows)


def verdicts(result: Mapping[str, Any]) -> list[str]:
    """One sentence for each set: which arms differ from the reference, whichever arm wins."""
    reference, arms = result["reference"], result["arms"]
    lines = []
    for key in _sets(next(iter(arms.values()))) if len(arms) > 1 else ():
        sides: dict[int, list[str]] = {1: [], -1: [], 0: []}
        for fusion, arm in arms.items():
            if fusion != reference:
                sides[Paired.of(arm[f"minus_{reference}"][key]["s_measure"]).sign()].append(fusion)
        words = {1: "better", -1: "worse", 0: "not to be told apart"}
        sentence = "; ".join(f"{words[side]}: {', '.join(names)}" for side, names in sides.items() if names)
        lines.append(f"- {title(key)}, S against {reference}: {sentence}.")
    for key in next(iter(arms.values()))["depth"]:
        signs = {fusion: Paired.of(arm["depth"][key]["gain"]["s_measure"]).sign() for fusion, arm in arms.items()}
        words = {1: "helps", -1: "harms", 0: "makes no measurable difference"}
        sentence = "; ".join(
            f"{words[sign]} in {', '.join(names)}"
            for sign in (1, -1, 0)
            if (names := [fusion for fusion, own in signs.items() if own == sign])
        )
        lines.append(f"- {title(key)}: depth {sentence}.")
    return lines


def markdown(result: Mapping[str, Any], picture: str) -> str:
    """A section to be pasted into a document; ``picture``: name of the chart beside it."""
    plan, held_out = result["plan"], result["held_out"]
    recipe, conditions = plan["recipe"], result["conditions"]
    sides = ", then ".join(f"{side} px" for _, side in recipe["stages"])
    arms, seeds = result["arms"], ", ".join(map(str, result["seeds"]))
    seconds = [one for arm in arms.values() for one in arm["training_seconds"]]
    took = (
        f"Training took {min(seconds) / 60:.1f} to {max(seconds) / 60:.1f} minutes a run, " if seconds else "Trained "
    )
    counts = {key: value[SOD.counted] for key, value in next(iter(arms.values()))["conditions"].items()}
    equal = (
        "All arms of a seed began with the same weights and were given the same batch at every step (checked)."
        if result["same_begin_and_batches"]
        else "Whether the arms began alike is not on record for every run."
    )
    started = "ImageNet weights in the colour stream" if result["overrides"].get("pretrained") else "no pretraining"
    lines = [
        f"## {plan['model']} on photographs: {len(arms)} fusion{'s' if len(arms) > 1 else ''}",
        "",
        f"{recipe['steps']} steps of {recipe['batch']} a run ({sides}), recipe {recipe['name']}, {started}; seeds "
        f"{seeds}; the weights of the last step, nothing chosen. {equal} {took}"
        f"{result['jobs']} at a time ({conditions['processor']}, {conditions['cores']} cores).",
        "",
        f"Scored at {' × '.join(map(str, result['input_size']))} on "
        + ", ".join(f"{title(key)} ({counts[key]})" for key in _sets(next(iter(arms.values()))))
        + ". The photographs are none that `fit` trains or validates on; the composites are objects of them in real "
        "sensor frames (the frames, not the objects, are in the training set). Mean ± standard deviation over seeds; "
        f"differences are paired, with their {LEVEL:.0%} bootstrap interval over frames and the mean of every seed.",
        "",
        _scores(result),
        "",
        "What depth contributes in each arm: the score with depth less the score with depth zeroed.",
        "",
        _depth(result),
        "",
        f"Told apart: a difference of {LEAST} at least, whose interval leaves 0 out and on which all seeds agree.",
        "",
        *verdicts(result),
        "",
        f"![S of every run, and what depth adds]({picture})",
    ]
    if "latency" in result:
        times = ", ".join(f"{fusion} {one['p50_ms']:.0f} ms" for fusion, one in result["latency"]["arms"].items())
        lines[-2:-2] = ["", f"One frame ({result['latency']['what']}): {times}."]
    if held_out.get("extra"):
        lines.insert(4, f"Also scored: `{held_out['extra']}`.\n")
    return "\n".join(lines) + "\n"


def rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a run and condition, for CSV."""
    return [
        {"fusion": fusion, "seed": seed, "condition": key, **{name: f"{value:.6f}" for name, value in metrics.items()}}
        for fusion, arm in result["arms"].items()
        for key, condition in arm["conditions"].items()
        for seed, metrics in condition["runs"].items()
    ]


def panels(result: Mapping[str, Any]) -> tuple[dict[str, dict[str, Sequence[float]]], dict[str, str]]:
    """(arm → panel → a value a run, panel → its title) for :func:`pictures.spread_chart`."""
    first = next(iter(result["arms"].values()))
    titles = {key: f"S: {title(key)}" for key in _sets(first)}
    titles |= {f"gain {key}": f"S gained by depth:\n{title(key)}" for key in first["depth"]}
    groups: dict[str, dict[str, Sequence[float]]] = {}
    for fusion, arm in result["arms"].items():
        values: dict[str, Sequence[float]] = {
            key: [run["s_measure"] for run in arm["conditions"][key]["runs"].values()] for key in _sets(first)
        }
        values |= {f"gain {key}": arm["depth"][key]["gain"]["s_measure"]["by_seed"] for key in arm["depth"]}
        groups[fusion] = values
    return groups, titles
