"""The page holds the numbers that it shows, needs nothing from outside, and its script does what it says."""

import base64
import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from vit.explain import rollout
from vit.explain.draw.page import MOST_BYTES, Tokens, draw_page, taken_together

GRID = (3, 4)


def attention(layers: int = 2, heads: int = 3, tokens: int = 14) -> torch.Tensor:
    return torch.randn(layers, heads, tokens, tokens).mul(3).softmax(dim=-1)


def page(weights: torch.Tensor, title: str = "cat", most_bytes: int = MOST_BYTES) -> str:
    picture = Image.effect_noise((16, 12), 50).convert("RGB")
    return draw_page(picture, weights, ("class token", "register 1"), GRID, title, "cat.png", most_bytes)


class Reader(HTMLParser):
    """Text and attributes of a page, and what stands between script tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.in_script = False
        self.links: list[str] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.in_script = tag == "script"
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        (self.scripts if self.in_script else self.words).append(data.strip())

    def handle_endtag(self, tag: str) -> None:
        self.in_script = False

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.scripts[0])


def unpacked(data: dict[str, Any], source: int) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the patches and of the prefix tokens, (layers, tokens, ...) each."""
    held = data["sources"][source]
    levels = np.frombuffer(base64.b64decode(held["levels"]), np.uint8).astype(np.float32)
    greatest = np.frombuffer(base64.b64decode(held["greatest"]), "<f4")
    prefix = np.frombuffer(base64.b64decode(held["prefix"]), "<f4")
    shape = (data["layers"], data["tokens"])
    shares = levels.reshape(*shape, -1) / 255 * greatest.reshape(*shape, 1)
    return shares, prefix.reshape(*shape, -1)


def test_shares_are_those_of_the_model_to_8_bits_and_prefix_tokens_exactly() -> None:
    weights = attention()
    data = Reader(page(weights)).data
    assert [source["name"] for source in data["sources"]] == [
        "attention, heads averaged",
        "rollout, from layer 0 up to the chosen one",
        *(f"attention, head {head}" for head in range(3)),
    ]
    grown = [rollout(weights[: layer + 1, None])[0] for layer in range(2)]
    for number, expected in enumerate([weights.mean(dim=1), torch.stack(grown), *weights.unbind(dim=1)]):
        shares, prefix = unpacked(data, number)
        greatest = expected[..., 2:].amax(dim=-1, keepdim=True).numpy()
        assert (np.abs(shares - expected[..., 2:].numpy()) <= greatest / 509).all()
        np.testing.assert_allclose(prefix, expected[..., :2].numpy(), rtol=1e-6)


def test_the_page_needs_nothing_from_outside() -> None:
    text = page(attention())
    reader = Reader(text)
    assert not reader.links
    assert "http" not in text.replace("http-equiv", "")
    assert "import " not in reader.scripts[1]
    assert reader.data["picture"].startswith("data:image/png;base64,")


@pytest.mark.parametrize("title", ["</script><script>alert(1)</script>", "<b>&\"'", "{{data}} {{title}} {{footer}}"])
def test_names_are_text_whatever_is_in_them(title: str) -> None:
    plain, reader = Reader(page(attention())), Reader(page(attention(), title))
    assert reader.tags == plain.tags
    assert reader.words.count(title) == 2  # on the tab and above


def test_heads_are_left_out_and_then_patches_taken_together_where_room_is_short() -> None:
    weights = attention()
    whole = 2 * 14**2
    means = Reader(page(weights, most_bytes=2 * whole))
    assert len(means.data["sources"]) == 2
    assert means.data["block"] == 1
    assert any("the 3 heads are not shown" in words for words in means.words)
    short = Reader(page(weights, most_bytes=2 * whole - 1))
    assert (short.data["block"], short.data["rows"], short.data["columns"]) == (2, 2, 2)
    assert any("each block of 2 x 2 patches is shown as one" in words for words in short.words)
    held = sum(len(base64.b64decode(source["levels"])) for source in short.data["sources"])
    assert held <= 2 * whole - 1


def test_a_usual_model_fits_into_a_few_megabytes() -> None:
    weights = torch.full((12, 12, 197, 197), 1 / 197)
    text = draw_page(Image.new("RGB", (224, 224)), weights, ("class token",), (14, 14), "", "")
    assert len(text) < 1.5e6
    assert f"This file has {len(text) / 1e6:.1f} MB" in text


def test_blocks_add_up_what_goes_to_them_and_average_who_asks() -> None:
    tokens = Tokens(prefix=("class token", "register 1"), grid=GRID, block=2)
    rows = attention()[:, 0]
    together = taken_together(rows, tokens)
    assert together.shape == (2, 6, 6)
    assert_close(together.sum(dim=-1), torch.ones(2, 6))
    assert_close(together[:, 0, 0], rows[:, 0, 0])
    upper_left, lower_right = [2, 3, 6, 7], [12, 13]  # the last row of patches is alone
    assert_close(together[1, 0, 2], rows[1, 0, upper_left].sum())
    assert_close(together[1, 5, 2], rows[1][lower_right][:, upper_left].sum(dim=-1).mean())


@pytest.fixture(scope="module")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("no node to run the page's script")
    return found


def test_the_script_reads_the_rows_that_were_written(node: str, tmp_path: Path) -> None:
    weights = attention()
    reader = Reader(page(weights))
    (tmp_path / "data.json").write_text(reader.scripts[0])
    asked = """
const data = decode(require("fs").readFileSync(process.argv[2], "utf8"));
const { shares, prefix } = row(data, data.sources[0], 1, 5);
console.log(JSON.stringify([[...shares], [...prefix], data.colours.length]));
"""
    (tmp_path / "ask.js").write_text(reader.scripts[1] + asked)
    done = subprocess.run([node, str(tmp_path / "ask.js"), str(tmp_path / "data.json")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shares, prefix, colours = json.loads(done.stdout)
    expected = weights[1].mean(dim=0)[5]
    assert_close(torch.tensor(shares), expected[2:], atol=float(expected.max()) / 509, rtol=0)
    assert_close(torch.tensor(prefix), expected[:2])
    assert colours == 3 * 256
