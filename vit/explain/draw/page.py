"""picture + attention -> one HTML file to explore: point at a patch, and see what it attends to in every layer.

The file needs nothing else: no network, no server. Shares are kept in 8 bits, each row by its own greatest, which is
kept exactly: what is shown is within 1/510 of the greatest share of its row.
"""

from __future__ import annotations

import html
import io
import json
import re
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange, reduce
from jaxtyping import Float, Shaped
from PIL import Image
from torch import Tensor

from vit.explain.draw.files import MARK, write_whole
from vit.explain.draw.scale import Scale
from vit.explain.rollout import rollout

MOST_BYTES = 3_000_000
"""Of maps in one page. Heads are left out if they do not fit, and if the means do not, patches are taken together."""

TEMPLATE = Path(__file__).with_name("page.html")


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Which tokens there are: names of those before the patches, the grid, and how many patches a block's side has."""

    prefix: tuple[str, ...]
    grid: tuple[int, int]
    block: int = 1

    @property
    def blocks(self) -> tuple[int, int]:
        """Rows and columns of blocks; those at the lower and the right border may be smaller."""
        return -(-self.grid[0] // self.block), -(-self.grid[1] // self.block)

    @property
    def count(self) -> int:
        """Tokens, a block of patches being one."""
        return len(self.prefix) + self.blocks[0] * self.blocks[1]


def draw_page(
    picture: Image.Image,
    attention: Float[Tensor, "layers heads n n"],
    prefix: tuple[str, ...],
    grid: tuple[int, int],
    title: str,
    caption: str,
    most_bytes: int = MOST_BYTES,
) -> str:
    """The HTML of the page. Heads averaged, rollout after each layer, and each head by itself if there is room.

    Args:
        picture: As the model saw it.
        attention: Of one image, softmax weights, rows the queries.
        prefix: Names of the tokens before the patches.
        grid: Rows and columns of patches.
        title: Above, and on the browser's tab.
        caption: Below the title.
        most_bytes: Of all maps together.
    """
    layers, heads = attention.shape[:2]
    tokens = Tokens(prefix=prefix, grid=grid, block=_block(layers, len(prefix), grid, most_bytes // 2))
    mean = reduce(attention, "layers heads i j -> layers i j", "mean")
    sources = {"attention, heads averaged": mean, "rollout, from layer 0 up to the chosen one": _rollouts(mean)}
    if heads > 1 and (2 + heads) * layers * tokens.count**2 <= most_bytes:
        sources |= {f"attention, head {head}": attention[:, head] for head in range(heads)}
    unit = "patch" if tokens.block == 1 else f"block of {tokens.block} x {tokens.block} patches"
    packed = [{"name": name, **_pack(taken_together(rows, tokens), len(prefix))} for name, rows in sources.items()]
    data = {
        "layers": layers,
        "tokens": tokens.count,
        "prefix": list(prefix),
        "grid": list(grid),
        "block": tokens.block,
        "rows": tokens.blocks[0],
        "columns": tokens.blocks[1],
        "unit": unit,
        "picture": _data_url(picture),
        "colours": _text(Scale(greatest=255.0).colours(np.arange(256.0))),
        "sources": packed,
    }
    content = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")  # no tag can end the script
    filled = {
        "mark": MARK,
        "title": title,
        "caption": caption,
        "unit": unit,
        "footer": _notes(len(content), unit, tokens.block, heads if len(sources) == 2 else 1),
    }
    filled = {name: html.escape(text) for name, text in filled.items()}
    filled["data"] = content
    template = TEMPLATE.read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: filled[found[1]], template)  # in one pass: a title may hold {{data}}


def save_page(page: str, path: Path) -> None:
    """Write it; an unfinished file never bears the name."""
    write_whole(path, lambda unfinished: unfinished.write_text(page, encoding="utf-8"))


def _notes(size: int, unit: str, block: int, heads_left_out: int) -> str:
    """What the page says about itself."""
    notes = [f"This file has {size / 1e6:.1f} MB and needs no other."]
    notes.append(f"Shares are stored in 8 bits: they are within {100 / 510:.1f} % of the greatest one of their map.")
    if block > 1:
        notes.append(f"To keep it small, each {unit} is shown as one: its queries are averaged, its shares added up.")
    if heads_left_out > 1:
        notes.append(f"To keep it small, the {heads_left_out} heads are not shown by themselves.")
    return " ".join(notes)


def taken_together(rows: Float[Tensor, "layers n n"], tokens: Tokens) -> Float[Tensor, "layers m m"]:
    """Attention between blocks: what goes to a block is added up, and a block asks as its patches do on average."""
    if tokens.block == 1:
        return rows
    (gh, gw), num_prefix = tokens.grid, len(tokens.prefix)
    lines, columns = torch.arange(gh) // tokens.block, torch.arange(gw) // tokens.block
    places = num_prefix + rearrange(lines, "gh -> gh 1") * tokens.blocks[1] + columns
    belongs = torch.cat([torch.arange(num_prefix), places.flatten()]).to(rows.device)
    member = torch.nn.functional.one_hot(belongs, tokens.count).to(rows)
    return (member / member.sum(dim=0)).mT @ rows @ member


def _block(layers: int, num_prefix: int, grid: tuple[int, int], most_bytes: int) -> int:
    """Side of the smallest block that lets one set of maps fit."""
    block = 1
    while layers * (num_prefix + -(-grid[0] // block) * -(-grid[1] // block)) ** 2 > most_bytes and block < max(grid):
        block += 1
    return block


def _rollouts(mean: Float[Tensor, "layers n n"]) -> Float[Tensor, "layers n n"]:
    """Rollout up to every layer."""
    result = []
    state = torch.eye(mean.shape[-1], device=mean.device)
    for weights in mean:
        state = rollout(rearrange(weights, "i j -> 1 1 1 i j"))[0] @ state
        result.append(state)
    return torch.stack(result)


def _pack(rows: Float[Tensor, "layers m m"], num_prefix: int) -> dict[str, str]:
    """Shares of the patches in 8 bits, the greatest of each row and the shares of the prefix tokens exactly."""
    numbers = rows.float().cpu().numpy()
    patches, prefix = numbers[..., num_prefix:], numbers[..., :num_prefix]
    greatest = patches.max(axis=-1)
    levels = np.rint(255 * patches / np.maximum(greatest, np.finfo(np.float32).tiny)[..., None]).astype(np.uint8)
    return {"levels": _text(levels), "greatest": _text(greatest.astype("<f4")), "prefix": _text(prefix.astype("<f4"))}


def _text(array: Shaped[np.ndarray, ...]) -> str:
    return b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _data_url(picture: Image.Image) -> str:
    """The picture inside the page: exact if small, else as JPEG."""
    kind = "png" if max(picture.size) < 128 else "jpeg"
    content = io.BytesIO()
    picture.save(content, format=kind, **({"quality": 92} if kind == "jpeg" else {}))
    return f"data:image/{kind};base64,{b64encode(content.getvalue()).decode()}"
