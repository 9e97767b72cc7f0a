"""`vit report`: draw the report of a run again."""

from __future__ import annotations

from vit.parsing import command_parser
from vit.train.evaluate import default_device, examine, is_measured, open_subject, run_folder
from vit.train.report import draw_report


def run(arguments: list[str]) -> int:
    """Draw it, after measuring on the validation images if that was not done with this model, and say where it is."""
    parser = command_parser("report", "Draw learning curves, confusions, calibration and the worst mistakes of a run.")
    parser.add_argument("run", type=str, help="run folder, such as runs/NAME; nothing in it is trained or tested anew")
    args = parser.parse_args(arguments)
    folder = run_folder(args.run)
    if folder is None:
        raise FileNotFoundError(f"{args.run} is not a run folder: it has no config.yaml; `vit fit` makes runs/NAME.")
    subject = open_subject(folder)
    if not is_measured(folder):
        examine(subject, "val", default_device())
    print(draw_report(folder, subject.data))
    return 0
