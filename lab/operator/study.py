"""What CDA costs on a CPU: the released form, ours and two attentions in both runtimes, memory, growth, a chart.

python -m lab.operator --out DIR
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lab.operator import forms
from lab.operator.forms import HEAD_DIMS, HEADS, RELEASED_LIMIT, TOKENS, Call
from lab.operator.graphs import released_graph, two_attentions_graph
from lab.results import write_csv
from mutualformer.runtime.benchmarks.measure import conditions, interleaved_ms, summary
from mutualformer.runtime.files import write_json
from mutualformer.runtime.reporting import charts

FLOPS: dict[str, Callable[[int, int], float]] = {
    **forms.FLOPS,
    "released, ONNX Runtime": forms.FLOPS["released, PyTorch"],
    "two attentions, ONNX Runtime": forms.FLOPS["two attentions, PyTorch"],
}


def contenders(tokens: int, head_dim: int, threads: int) -> dict[str, Call]:
    """Those of ``forms``, and both other forms in ONNX Runtime."""
    calls = forms.contenders(tokens, head_dim, threads)
    qkv_r, qkv_d = (x.numpy() for x in forms.example(tokens, head_dim))
    width = HEADS * head_dim
    parts = {
        f"{t}_{m}": np.ascontiguousarray(x[..., i * width : (i + 1) * width])
        for m, x in (("r", qkv_r), ("d", qkv_d))
        for i, t in enumerate("qkv")
    }
    calls["two attentions, ONNX Runtime"] = forms.run_of(two_attentions_graph(HEADS, head_dim), parts, threads)
    if tokens <= RELEASED_LIMIT:
        feed = {"qkv_r": qkv_r, "qkv_d": qkv_d}
        calls["released, ONNX Runtime"] = forms.run_of(released_graph(HEADS, head_dim), feed, threads)
    return calls


def _status_mib(key: str) -> float:
    """VmRSS or VmHWM of this process, from Linux's own bookkeeping."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def _memory_child(tokens: int, head_dim: int, threads: int, name: str, pipe: Any) -> None:
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak, which the imports have set
    before = _status_mib("VmRSS")
    contenders(tokens, head_dim, threads)[name]()
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


@torch.no_grad()
def measure(
    tokens: Sequence[int], head_dims: Sequence[int], threads: int, seconds: float, memory: bool
) -> dict[str, Any]:
    """Rows of time, ratio to ours, share of peak and peak memory; ``seconds``: budget of one (N, head_dim)."""
    torch.set_num_threads(threads)
    peak = forms.peak_gflops(threads)
    rows: list[dict[str, Any]] = []
    for head_dim in head_dims:
        difference = forms.check_agreement(contenders(100, head_dim, threads))
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
    about = conditions(torch=torch.__version__)
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


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lab.operator")
    parser.add_argument("--out", type=Path, default=Path("out/operator"))
    parser.add_argument("--tokens", type=int, nargs="+", default=list(TOKENS))
    parser.add_argument("--head-dims", type=int, nargs="+", default=list(HEAD_DIMS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="time for one pair of N and head_dim")
    parser.add_argument("--no-memory", action="store_true", help="skip the peak memory runs, one process each")
    args = parser.parse_args(argv)
    result = measure(args.tokens, args.head_dims, args.threads, args.seconds, not args.no_memory)
    for row in result["rows"]:
        if row["peak_memory_mib"] is not None and not np.isfinite(row["peak_memory_mib"]):
            row["peak_memory_mib"] = None  # the child was killed: out of memory
    write_json(args.out / "operator.json", result)
    write_csv(args.out / "operator.csv", result["rows"])
    chart(args.out / "operator.png", result)
    for name, value in result["growth_exponent"].items():
        print(f"  {name:<44} grows with N to the power {value:.2f}")
    print("ONNX Runtime:  released / ours (flops alone)   ours / two attentions")
    for row in result["ratios"]:
        gain = f"{row['released_to_ours']:5.1f} ({row['flop_ratio']:5.1f})" if "flop_ratio" in row else ""
        about = f"N={row['tokens']:<5} head_dim {row['head_dim']:<3}"
        print(f"  {about} {gain:<24} {row['ours_to_two_attentions']:5.1f}")
    print(args.out / "operator.json")
    return 0
