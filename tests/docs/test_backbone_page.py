"""What docs/backbone.md shows works as it is written there."""

import re
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).parents[2] / "docs" / "backbone.md"


@pytest.mark.slow
def test_the_code_of_the_page_runs_from_top_to_bottom() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    assert len(blocks) == 7
    assert [tuple(each.shape) for each in names["maps"]] == [(2, 192, 14, 14)] * 4
    assert names["weights"].shape == (12, 2, 3, 197, 197)
    assert names["tokens"].shape == (2, 197, 192)
    assert torch.isfinite(names["loss"])
