"""`vit test`: the accuracy of a finished run on the test images."""

from __future__ import annotations

from vit.parsing import command_parser
from vit.train.evaluate import evaluate


def run(arguments: list[str]) -> int:
    """Test once and say how often the test images have been looked at."""
    parser = command_parser("test", "Measure a finished run on the test images, and record that they were looked at.")
    parser.add_argument("run", type=str, help="run folder, such as runs/NAME")
    looks = evaluate(parser.parse_args(arguments).run)
    last = looks[-1]
    print(f"test accuracy {100 * last['test_acc']:.2f} % of {last['images']:,} images (top-1)")
    if len(looks) > 1:
        print(f"this was look number {len(looks)} at the test images: choose nothing by them")
    return 0
