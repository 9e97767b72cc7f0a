"""`vit parity`: another library's model and ours with the same weights, and how far their logits are apart."""

from __future__ import annotations

from vit.parsing import command_parser
from vit.weights.peers import PEERS
from vit.weights.proof import parity


def run(arguments: list[str]) -> int:
    """Print a line for every model and direction; 1 if any of them is another function than ours."""
    parser = command_parser(
        "parity", "Build a model of another library, load its weights into ours and back, and compare their logits."
    )
    parser.add_argument(
        "models",
        nargs="+",
        type=str,
        metavar="LIBRARY/ARCHITECTURE",
        help=f"libraries: {', '.join(PEERS)}; architectures: the library's names (timm, torchvision: vit_b_16), or "
        "ours, which alone are timm's",
    )
    parser.add_argument("--pretrained", action="store_true", help="the library's own weights instead of random ones")
    parser.add_argument("--seed", type=int, default=0, help="of random weights and images")
    args = parser.parse_args(arguments)
    holds = True
    for model in args.models:
        for result in parity(model, pretrained=args.pretrained, seed=args.seed):
            print(result, flush=True)
            holds = holds and result.holds
    return 0 if holds else 1
