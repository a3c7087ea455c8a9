"""The tasks: inputs, output, metrics, parity budgets and limits of each.

Model cards, evaluation tables, ablation and parity take names and titles of metrics from here.
What training adds to a task (model class, loss, batches, evaluator) is in :mod:`mutualformer.train.tasks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

HEIGHT, WIDTH = -2, -3  # stand for the sides of a model's input in the shapes of a task


@dataclass(frozen=True)
class Metric:
    """``name``: its key in JSON; ``title``: in full; ``short``: for a table's head; ``higher``: is better."""

    name: str
    title: str
    short: str
    higher: bool = True

    @property
    def heading(self) -> str:
        """``S ↑``."""
        return f"{self.short} {'↑' if self.higher else '↓'}"


@dataclass(frozen=True)
class TensorSpec:
    """A graph's input or output: ``dtype`` by NumPy's name; ``shape``, -1 = dynamic. A task has it without the batch
    and with HEIGHT and WIDTH as sides."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    def at(self, size: tuple[int, int]) -> TensorSpec:
        """The same for (height, width), batch first and dynamic."""
        sides = {HEIGHT: size[0], WIDTH: size[1]}
        return replace(self, shape=(-1, *(sides.get(side, side) for side in self.shape)))


@dataclass(frozen=True)
class Budget:
    """How far a candidate may differ from its reference; None = not bounded.

    ``max_abs``: largest absolute difference of any output value; ``mean_abs``: mean absolute difference of all of
    them, which catches two maps that score alike and look different. ``cosine``: lower bound on the cosine between the
    two models' features around their mean; a relative error of ε lowers it by ε²/2. ``mae``, ``s_measure``: absolute
    change of the SOD metrics (0…1). ``map_points``: absolute change of ReID mAP in points (0…100). Frames without
    ground truth take the reference's own map, binarised at 0.5, as ground truth.
    """

    max_abs: float | None = None
    mean_abs: float | None = None
    cosine: float | None = None
    mae: float | None = None
    s_measure: float | None = None
    map_points: float | None = None

    def as_dict(self) -> dict[str, float]:
        """The bounds that are set."""
        return {key: value for key, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Task:
    """``counted``: what scores are averaged over. ``limits``: what a model card must say about any model of it.

    ``budgets``: precision → how far from FP32. ``inputs``: the colour image first, then the other modality.
    """

    name: str
    title: str
    inputs: tuple[TensorSpec, TensorSpec]
    output: TensorSpec
    metrics: tuple[Metric, ...]
    counted: str
    budgets: Mapping[str, Budget]
    limits: str

    @property
    def modalities(self) -> tuple[str, str]:
        """Names of the two inputs, the colour image first."""
        return self.inputs[0].name, self.inputs[1].name

    @property
    def names(self) -> tuple[str, ...]:
        """Metrics by their names."""
        return tuple(metric.name for metric in self.metrics)

    @property
    def headings(self) -> dict[str, str]:
        """Metric → head of its column."""
        return {metric.name: metric.heading for metric in self.metrics}


_COLOUR = TensorSpec("rgb", "uint8", (HEIGHT, WIDTH, 3))

SOD = Task(
    name="sod",
    title="RGB-D salient object detection",
    inputs=(_COLOUR, TensorSpec("depth", "float32", (HEIGHT, WIDTH))),
    output=TensorSpec("saliency", "float32", (HEIGHT, WIDTH)),
    metrics=(
        Metric("s_measure", "S-measure", "S"),
        Metric("max_f", "maximum F", "max F"),
        Metric("max_e", "maximum E", "max E"),
        Metric("mae", "MAE", "MAE", higher=False),
    ),
    counted="images",
    # A saliency map fills [0, 1], so an absolute mean says enough.
    budgets={
        "fp32": Budget(max_abs=1e-4),
        "fp16": Budget(mean_abs=0.002, mae=0.001, s_measure=0.001),
        "int8": Budget(mean_abs=0.02, mae=0.005, s_measure=0.01),
    },
    limits="Trained on the data named here and no other; a saliency map says what stands out, not what it is.",
)
REID = Task(
    name="reid",
    title="RGB-NIR re-identification",
    inputs=(_COLOUR, TensorSpec("nir", "uint8", (HEIGHT, WIDTH, 3))),
    output=TensorSpec("feature", "float32", (-1,)),
    metrics=(
        Metric("map", "mAP", "mAP"),
        Metric("r1", "rank 1", "rank 1"),
        Metric("r5", "rank 5", "rank 5"),
        Metric("r10", "rank 10", "rank 10"),
    ),
    counted="queries",
    # A feature of 3C values and unit length has values near 1/√(3C), and only the angle between two of them counts:
    # mean_abs would pass anything.
    budgets={
        "fp32": Budget(max_abs=1e-4),
        "fp16": Budget(cosine=0.9999, map_points=0.5),
        "int8": Budget(cosine=0.99, map_points=0.5),
    },
    limits="Trained on the data named here and no other; features compare only with features of the same file.",
)
TASKS: dict[str, Task] = {task.name: task for task in (SOD, REID)}
TITLES: dict[str, str] = {metric.name: metric.title for task in TASKS.values() for metric in task.metrics}
