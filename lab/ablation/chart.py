"""The runs of a comparison as a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mutualformer.runtime.reporting import charts


def spread_chart(
    groups: Mapping[str, Mapping[str, Sequence[float]]], titles: Mapping[str, str], path: Path, heading: str
) -> None:
    """One panel a metric: every run a dot, mean and standard deviation beside; ``groups``: arm → metric → values."""
    figure, panels = charts.panels(len(titles), 2.9 * len(titles), 3.6)
    figure.suptitle(heading, fontsize=10)
    for axes, (metric, title) in zip(panels, titles.items(), strict=True):
        for place, values in enumerate(group[metric] for group in groups.values()):
            axes.plot([place - 0.12] * len(values), values, "o", ms=4, alpha=0.55)
            spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            axes.errorbar(place + 0.12, float(np.mean(values)), yerr=spread, fmt="_", ms=14, capsize=4, color="black")
        axes.set_title(title, fontsize=10)
        axes.set_xticks(range(len(groups)), [name.replace("+", "\n+ ") for name in groups], fontsize=7, rotation=20)
        axes.grid(axis="y", alpha=0.3)
        axes.margins(x=0.2)
    charts.save(figure, path)
