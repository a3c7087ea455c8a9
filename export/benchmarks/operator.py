"""``mutualformer bench cda``: the released formulation, ours, two plain attentions and the machine's peak, in one run.

Count first. Per head and batch, N tokens, head_dim d: released 16 N³ + 12 N² d flops; ours with the affinities kept
16 N² d (2 · QKᵀ, 2 · P[V‖V], 2 · Pᵀg), recomputing them as the GPU kernels do 20 N² d; two attentions 8 N² d. The
machine's limit is its matrix product.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin would be timed against each other

import argparse
import gc
import multiprocessing
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from torch.nn import functional as F

from mutualformer.export.benchmarks.graphs import cda_graph, released_graph, two_attentions_graph
from mutualformer.plugins.attributes import CdaAttributes
from mutualformer.runtime.benchmarks.measure import conditions, interleaved_ms, summary
from mutualformer.runtime.commandline.running import run_verb
from mutualformer.runtime.files import write_csv, write_json
from mutualformer.runtime.reporting import charts
from mutualformer.runtime.session.onnxruntime import session_options
from mutualformer.train.cda import cross_diffusion_attention, cross_diffusion_attention_released, split_heads

HEADS = 8
TOKENS = (100, 196, 400, 484, 1024, 1936, 4096)
HEAD_DIMS = (8, 64)
RELEASED_LIMIT = 1936  # 16 N³: at 4096 tokens one call is 9 Tflop
FLOPS: dict[str, Callable[[int, int], float]] = {
    "released, ONNX Runtime": lambda n, d: HEADS * (16.0 * n**3 + 12.0 * n * n * d),
    "released, PyTorch": lambda n, d: HEADS * (16.0 * n**3 + 12.0 * n * n * d),
    "ours, ONNX Runtime": lambda n, d: HEADS * 16.0 * n * n * d,
    "ours, PyTorch": lambda n, d: HEADS * 16.0 * n * n * d,
    "two attentions, ONNX Runtime": lambda n, d: HEADS * 8.0 * n * n * d,
    "two attentions, PyTorch": lambda n, d: HEADS * 8.0 * n * n * d,
}
Call = Callable[[], object]


def _ort(model: Any, threads: int) -> ort.InferenceSession:
    options = session_options(threads)
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def contenders(tokens: int, head_dim: int, threads: int, names: Sequence[str] | None = None) -> dict[str, Call]:
    """Name → a call on seeded inputs, batch 1; the released forms only up to RELEASED_LIMIT tokens."""
    generator = torch.Generator().manual_seed(tokens)
    qkv_r, qkv_d = torch.randn(2, 1, tokens, 3 * HEADS * head_dim, generator=generator)
    feed = {"qkv_r": qkv_r.numpy(), "qkv_d": qkv_d.numpy()}
    width = HEADS * head_dim
    parts = {
        f"{t}_{m}": np.ascontiguousarray(x[..., i * width : (i + 1) * width].numpy())
        for m, x in (("r", qkv_r), ("d", qkv_d))
        for i, t in enumerate("qkv")
    }
    split = [split_heads(x, HEADS) for x in (qkv_r, qkv_d)]
    variants = [name for name in FLOPS if tokens <= RELEASED_LIMIT or not name.startswith("released")]
    calls: dict[str, Call] = {}
    for name in names or variants:
        if name == "ours, ONNX Runtime":
            calls[name] = partial(_ort(cda_graph(CdaAttributes(HEADS), head_dim), threads).run, None, feed)
        elif name == "released, ONNX Runtime":
            calls[name] = partial(_ort(released_graph(HEADS, head_dim), threads).run, None, feed)
        elif name == "two attentions, ONNX Runtime":
            calls[name] = partial(_ort(two_attentions_graph(HEADS, head_dim), threads).run, None, parts)
        elif name == "ours, PyTorch":
            calls[name] = lambda: cross_diffusion_attention(qkv_r, qkv_d, HEADS)
        elif name == "released, PyTorch":
            calls[name] = lambda: cross_diffusion_attention_released(qkv_r, qkv_d, HEADS)
        elif name == "two attentions, PyTorch":
            calls[name] = lambda: [F.scaled_dot_product_attention(*qkv) for qkv in split]
    return calls


def check_agreement(tokens: int, head_dim: int, threads: int) -> float:
    """Largest difference between the four CDA contenders' outputs: a benchmark of wrong answers is worth nothing."""
    results = [
        np.asarray(call()[0])  # type: ignore[index]
        for name, call in contenders(tokens, head_dim, threads).items()
        if "attentions" not in name
    ]
    return float(max(np.abs(result - results[0]).max() for result in results))


def peak_gflops(threads: int) -> float:
    """Of a 2048³ float32 matrix product, best of five: the machine's own limit."""
    torch.set_num_threads(threads)
    a = torch.randn(2048, 2048)
    times = interleaved_ms({"product": lambda: a @ a}, 5)["product"]
    return 2 * 2048**3 / min(times) / 1e6


def _status_mib(key: str) -> float:
    """VmRSS or VmHWM of this process, from Linux's own bookkeeping."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def _memory_child(tokens: int, head_dim: int, threads: int, name: str, pipe: Any) -> None:
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak, which the imports have set
    before = _status_mib("VmRSS")
    contenders(tokens, head_dim, threads, [name])[name]()
    pipe.send(_status_mib("VmHWM") - before)


def peak_memory_mib(tokens: int, head_dim: int, threads: int, name: str) -> float:
    """Growth of a fresh process's peak resident memory over one call, session included, in MiB."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_memory_child, args=(tokens, head_dim, threads, name, theirs))
    child.start()
    theirs.close()
    try:
        return float(ours.recv())
    except EOFError:
        return float("nan")
    finally:
        child.join()


def exponent(rows: Sequence[dict[str, Any]], name: str, head_dim: int) -> float:
    """Slope of log time over log N from 400 tokens up, where overheads no longer count."""
    points = [(r["tokens"], r["p50_ms"]) for r in rows if r["name"] == name and r["head_dim"] == head_dim]
    big = np.array([point for point in points if point[0] >= 400])
    return float(np.polyfit(np.log(big[:, 0]), np.log(big[:, 1]), 1)[0]) if len(big) >= 3 else float("nan")


def ratios(rows: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """Per (head_dim, N) in ONNX Runtime: released / ours, what the flops alone would give, ours / two attentions.

    The second is the most that the first can be where the released products run at the machine's peak: at
    head_dim 64 3.8 for N = 196, 8.3 for 484, 16.8 for 1024.
    """
    ours, released, floor = (f"{name}, ONNX Runtime" for name in ("ours", "released", "two attentions"))
    times = {(row["head_dim"], row["tokens"], row["name"]): row["p50_ms"] for row in rows}
    faster = []
    for head_dim, n in sorted({key[:2] for key in times}):
        time = times[head_dim, n, ours]
        row = {"head_dim": head_dim, "tokens": n, "ours_to_two_attentions": time / times[head_dim, n, floor]}
        if (head_dim, n, released) in times:
            row["released_to_ours"] = times[head_dim, n, released] / time
            row["flop_ratio"] = FLOPS[released](n, head_dim) / FLOPS[ours](n, head_dim)
        faster.append(row)
    return faster


def measure(
    tokens: Sequence[int], head_dims: Sequence[int], threads: int, seconds: float, memory: bool
) -> dict[str, Any]:
    """Rows of time, ratio to ours, share of peak and peak memory; ``seconds``: budget of one (N, head_dim)."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    peak = peak_gflops(threads)
    rows: list[dict[str, Any]] = []
    for head_dim in head_dims:
        difference = check_agreement(100, head_dim, threads)
        if difference > 1e-4:
            raise RuntimeError(f"contenders differ by {difference:.1e} at head_dim {head_dim}; nothing was timed")
        for n in tokens:
            calls = contenders(n, head_dim, threads)
            once = sum(t[0] for t in interleaved_ms(calls, 1, warmup=1).values()) / 1e3
            rounds = int(min(50, max(3, seconds / max(once, 1e-3))))
            times = interleaved_ms(calls, rounds, warmup=0)
            ours = summary(times["ours, ONNX Runtime"])["p50_ms"]
            floor = summary(times["two attentions, ONNX Runtime"])["p50_ms"]
            for name, values in times.items():
                row: dict[str, Any] = {"name": name, "tokens": n, "head_dim": head_dim, **summary(values)}
                row["ratio_to_ours"] = row["p50_ms"] / ours
                row["ratio_to_two_attentions"] = row["p50_ms"] / floor
                row["share_of_peak"] = FLOPS[name](n, head_dim) / row["p50_ms"] / 1e6 / peak
                row["peak_memory_mib"] = peak_memory_mib(n, head_dim, threads, name) if memory else None
                rows.append(row)
            print(
                f"N={n:<5} d={head_dim:<3} "
                + "  ".join(f"{r['name']} {r['p50_ms']:.2f} ms" for r in rows[-len(times) :]),
                flush=True,
            )
            del calls
            gc.collect()
    names = {row["name"] for row in rows}
    growth = {f"{name}, head_dim {d}": exponent(rows, name, d) for name in sorted(names) for d in head_dims}
    about = conditions(torch=torch.__version__, onnxruntime=ort.__version__)
    return {
        "conditions": {
            **about,
            "threads": threads,
            "heads": HEADS,
            "batch": 1,
            "precision": "fp32",
            "peak_gflops": peak,
        },
        "growth_exponent": {key: value for key, value in growth.items() if np.isfinite(value)},
        "ratios": ratios(rows),
        "rows": rows,
    }


def chart(path: Path, result: dict[str, Any]) -> None:
    """Time over N, one panel per head_dim, log-log."""
    rows = result["rows"]
    head_dims = sorted({row["head_dim"] for row in rows})
    figure, panels = charts.panels(len(head_dims), 6 * len(head_dims), 4.5)
    for panel, head_dim in zip(panels, head_dims, strict=True):
        for name in FLOPS:
            points = [(r["tokens"], r["p50_ms"]) for r in rows if r["name"] == name and r["head_dim"] == head_dim]
            style = {"ours": "-o", "released": "--s"}.get(name.split(",")[0], ":^")
            panel.loglog(*zip(*points, strict=True), style, label=name, markersize=4)
        panel.set(title=f"head_dim {head_dim}, {HEADS} heads", xlabel="tokens N", ylabel="milliseconds (median)")
        panel.grid(True, which="both", alpha=0.2)
    panels[0].legend(fontsize=8)
    about = result["conditions"]
    figure.suptitle(f"CDA on {about['processor']}, {about['threads']} threads, fp32", fontsize=10)
    charts.save(figure, path, dpi=130)


def command(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    result = measure(args.tokens, args.head_dims, args.threads, args.seconds, not args.no_memory)
    for row in result["rows"]:
        if row["peak_memory_mib"] is not None and not np.isfinite(row["peak_memory_mib"]):
            row["peak_memory_mib"] = None  # the child was killed: out of memory
    write_json(args.out / "cda.json", result)
    write_csv(args.out / "cda.csv", result["rows"])
    chart(args.out / "cda.png", result)
    print(f"peak {result['conditions']['peak_gflops']:.0f} Gflop/s; growth exponents from N = 400:")
    for name, value in result["growth_exponent"].items():
        print(f"  {name:<44} {value:.2f}")
    print("ONNX Runtime:  released / ours (flops alone)   ours / two attentions")
    for row in result["ratios"]:
        gain = f"{row['released_to_ours']:5.1f} ({row['flop_ratio']:5.1f})" if "flop_ratio" in row else ""
        about = f"N={row['tokens']:<5} head_dim {row['head_dim']:<3}"
        print(f"  {about} {gain:<24} {row['ours_to_two_attentions']:5.1f}")
    print(f"{args.out / 'cda.json'}, cda.csv, cda.png")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line of this benchmark."""
    parser = argparse.ArgumentParser(prog="mutualformer bench cda", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    parser.add_argument("--tokens", type=int, nargs="+", default=list(TOKENS))
    parser.add_argument("--head-dims", type=int, nargs="+", default=list(HEAD_DIMS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="time for one pair of N and head_dim")
    parser.add_argument("--no-memory", action="store_true", help="skip the peak memory runs, one process each")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit code."""
    return run_verb(parser(), command, argv)
