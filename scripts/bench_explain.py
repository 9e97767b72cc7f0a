"""Attention rollout against the forward pass alone, and against the usual ways to get it, side by side in one process.

    python scripts/bench_explain.py                            # all cells, into docs/results/bench-explain.md
    python scripts/bench_explain.py --only 224 --rounds 9      # a few of them, printed alone

Every round runs each contestant for at least 0.3 s, in a new order; what counts is the median over the rounds of the
ratio to the fused forward in the same round, with the quartiles beside it. Memory is the peak of a process of its own
for each contestant, above what it holds before, against that of the fused forward.
"""

from __future__ import annotations

import argparse
import ctypes
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vit import ViT, create_model
from vit.explain import explain, rollout

SAMPLE = 0.3
"""Seconds that one measurement lasts at least."""

SIZES = {"224": 224, "384": 384, "512": 512}
"""Pixels a side: 197, 577 and 1025 tokens."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def fused(model: ViT, images: Tensor) -> Tensor:
    """The forward pass with torch's fused attention in every layer: what all are measured by."""
    return model.classify(model.encode(images, F.scaled_dot_product_attention))


def forward(model: ViT, images: Tensor) -> Tensor:
    """The forward pass of this package as it is, which takes plain products where they are faster."""
    return model(images)


def ours(model: ViT, images: Tensor) -> Tensor:
    """vit.explain: rollout by mean fusion."""
    return explain(model, images, "rollout").maps


def all_weights(model: ViT, images: Tensor) -> Tensor:
    """Weights of all heads and layers kept, then the pure function: `rollout(model.attention(images))`."""
    return rollout(model.attention(images))[:, 0, 1:]


def hooks(model: nn.Module, images: Tensor) -> Tensor:
    """What scripts do with timm's model: fused attention off, hooks on `attn_drop`, products of whole matrices."""
    captured: list[Tensor] = []
    handles = [
        block.attn.attn_drop.register_forward_hook(lambda module, inputs, output: captured.append(output.float()))
        for block in model.blocks
    ]
    model(images)
    for handle in handles:
        handle.remove()
    result = torch.eye(captured[0].shape[-1]).expand(len(images), -1, -1)
    for weights in captured:
        step = weights.mean(dim=1) + torch.eye(weights.shape[-1])
        result = step / step.sum(dim=-1, keepdim=True) @ result
    return result[:, 0, 1:]


def chefer(model: ViT, images: Tensor) -> Tensor:
    """vit.explain: Chefer's rule, which has a backward pass."""
    return explain(model, images, "chefer").maps


CONTESTANTS: tuple[Callable[..., Tensor], ...] = (fused, forward, ours, all_weights, hooks, chefer)


def main() -> None:
    """Run the cells and print, or write, the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vit_small_patch16_224")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--only", nargs="+", choices=[*SIZES], help="these sizes alone")
    parser.add_argument("--dtypes", nargs="+", choices=[*DTYPES], default=[*DTYPES])
    parser.add_argument("--contestants", nargs="+", choices=[each.__name__ for each in CONTESTANTS])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--cpu-time", action="store_true", help="count the time of this process alone: for a machine that others use"
    )
    parser.add_argument("--output", type=Path, help="Markdown file; default: only where all cells are run")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)  # this process is one measurement of memory
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.memory_of:
        print(peak_bytes(args))
        return
    whole = args.only is None and args.contestants is None
    output = args.output or (Path("docs/results/bench-explain.md") if whole else None)
    lines = [*header(args), ""]
    print("\n".join(lines), flush=True)
    for size in args.only or SIZES:
        for dtype in args.dtypes:
            lines += cell(args, size, dtype)
            if output is not None:
                output.parent.mkdir(parents=True, exist_ok=True)
                output.write_text("\n".join(lines).rstrip() + "\n")


def header(args: argparse.Namespace) -> list[str]:
    """What was measured, on what."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "timm"))
    return [
        "# Rollout against the forward pass",
        "",
        f"`python {' '.join(['scripts/bench_explain.py', *sys.argv[1:]])}` on {platform.machine()}, {args.threads} "
        f"threads; {libraries}; {args.model}, batch {args.batch}.",
        "",
        "Time as a ratio to the fused forward in the same round: median (quartiles); below 1 is faster. Memory is the",
        "peak of a process of its own, above what it held before, less that of the fused forward.",
    ]


def cell(args: argparse.Namespace, size: str, dtype: str) -> list[str]:
    """One table: all contestants at one size and precision."""
    chosen = [each for each in CONTESTANTS if not args.contestants or each.__name__ in {"fused", *args.contestants}]
    steps = {each.__name__: step_of(each, args, SIZES[size], DTYPES[dtype]) for each in chosen}
    for step in steps.values():
        step()
    clock = time.process_time if args.cpu_time else time.perf_counter
    repeats = max(1, round(SAMPLE / _seconds(steps["fused"], clock)))
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    order = list(steps)
    for _ in range(args.rounds):
        random.shuffle(order)
        for name in order:
            seconds[name].append(_seconds(steps[name], clock, repeats))
    peaks = {name: _peak_in_own_process(args, name, size, dtype) for name in steps}
    tokens = (SIZES[size] // 16) ** 2 + 1
    lines = [
        f"## {size} pixels, {tokens} tokens, {dtype}",
        "",
        "| | time / fused forward | memory more, MiB | |",
        "|---|---|---|---|",
    ]
    for each in chosen:
        name = each.__name__
        more = (peaks[name] - peaks["fused"]) / 2**20
        what = (each.__doc__ or "").rstrip(".")
        absolute = f" ({1000 * statistics.median(seconds[name]):.0f} ms)" if name == "fused" else ""
        lines.append(f"| {name} | {_ratio(seconds[name], seconds['fused'])}{absolute} | {more:+.0f} | {what} |")
    print("\n".join([*lines, ""]), flush=True)
    return [*lines, ""]


def step_of(run: Callable[..., Tensor], args: argparse.Namespace, size: int, dtype: torch.dtype) -> Callable[[], Any]:
    """One contestant on one batch, without gradients unless it makes its own, in bf16 by autocast."""
    torch.manual_seed(0)
    images = torch.randn(args.batch, 3, size, size)
    model = _timm(args.model, size) if run is hooks else create_model(args.model, image_size=size).eval()

    def step() -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            return run(model, images)

    return step


def peak_bytes(args: argparse.Namespace) -> int:
    """Of this process, above what it holds with the model loaded and warm on a small image."""
    run = next(each for each in CONTESTANTS if each.__name__ == args.memory_of)
    (size,), (dtype,) = args.only, args.dtypes
    step = step_of(run, args, SIZES[size], DTYPES[dtype])
    small = argparse.Namespace(**{**vars(args), "batch": 1})
    step_of(run, small, 32, DTYPES[dtype])()
    ctypes.CDLL(None).malloc_trim(0)  # what lies free already is to count anew
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before = _status("VmRSS")
    step()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    """Bytes, as Linux says them of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _peak_in_own_process(args: argparse.Namespace, name: str, size: str, dtype: str) -> int:
    options = ["--memory-of", name, "--only", size, "--dtypes", dtype, "--batch", str(args.batch)]
    options += ["--model", args.model, "--threads", str(args.threads)]
    done = subprocess.run([sys.executable, __file__, *options], capture_output=True, text=True, check=True)
    return int(done.stdout)


def _timm(name: str, size: int) -> nn.Module:
    import timm

    model = timm.create_model(name, img_size=size).eval()
    for block in model.blocks:
        block.attn.fused_attn = False
    return model


def _seconds(step: Callable[[], Any], clock: Callable[[], float], repeats: int = 1) -> float:
    """Of one step, the mean of `repeats`."""
    start = clock()
    for _ in range(repeats):
        step()
    return (clock() - start) / repeats


def _ratio(own: list[float], reference: list[float]) -> str:
    ratios = [mine / theirs for mine, theirs in zip(own, reference, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()
