"""`vit plan`: what a run would take, before it is started."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from datetime import timedelta

from vit.train.largest_batch import BatchLimit
from vit.train.plan import Plan, plan


def run(arguments: list[str]) -> int:
    """Rehearse the run for a few steps and print what it would take; nothing is left behind."""
    parser = argparse.ArgumentParser(
        "vit plan",
        description="Measure a few steps of a run: time to finish, memory, the largest batch, the loader's speed.",
        epilog="All flags of `vit fit` apply: --config FILE, --data.batch_size N, ...",
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument("--format", choices=["text", "json"], default="text", help="of what is printed")
    parser.add_argument(
        "--largest-batch", choices=["true", "false"], default="true", help="look for the largest batch that fits"
    )
    args, for_fit = parser.parse_known_args(arguments)
    found = plan(for_fit, largest_batch=args.largest_batch == "true")
    print(as_json(found) if args.format == "json" else as_text(found))
    return 0


def as_json(found: Plan) -> str:
    """Seconds, bytes and numbers, under the names of `Plan`."""
    values = dataclasses.asdict(found)
    plain = {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in values.items()}
    return json.dumps(plain, indent=1)


def as_text(found: Plan) -> str:
    """The same for people."""
    rows = [
        ["device", f"{found.device}, {found.precision}"],
        ["parameters", f"{found.parameters:,}{_frozen(found)}"],
        ["GFLOPs", f"{found.gflops:.3f} an image, forward" if found.gflops is not None else "not known"],
        ["steps", f"{found.steps:,} of {found.batch_size} images, {found.epochs:.4g} epochs"],
        [
            "step",
            f"{_time(found.step_seconds)} and {_time(found.wait_seconds)} of waiting for data ({_measured(found)})",
        ],
        ["validation", f"{_time(found.validation_seconds)} a pass"],
        ["time to finish", _time(found.total_seconds)],
        ["peak memory", f"{found.peak_memory / 2**20:,.0f} MiB"],
        ["largest batch", _largest(found.largest_batch) or found.no_largest_batch or ""],
        ["loader must give", f"{found.images_needed:,.0f} images/s"],
        ["loader gives", f"{found.images_loaded:,.0f} images/s when nothing else runs"],
    ]
    lines = [f"{name:<18}{text}" for name, text in rows]
    if found.images_loaded < found.images_needed:
        lines.append("\ntraining waits for data: more --data.num_workers, or smaller files, would make it faster")
    return "\n".join(lines)


def _frozen(found: Plan) -> str:
    return "" if found.trainable == found.parameters else f", {found.trainable:,} of them learn"


def _measured(found: Plan) -> str:
    return f"median of {found.measured_batches} batches"


def _largest(limit: BatchLimit | None) -> str | None:
    if limit is None:
        return None
    how = "tried" if limit.tried else "estimated from the growth of memory"
    why = "; there are not more training images" if limit.by_images else ""
    return f"{limit.batch_size:,}, {how}{why}"


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return str(timedelta(seconds=round(seconds)))
