"""Ours and timm start alike, are trained alike, and are counted alike."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from vit.compare import Result, compare, table, timm_model
from vit.nn import ViT, ViTConfig

QUICK = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "5", "--trainer.limit_val_batches", "1"]


def result(name: str = "ours", seed: int = 0, accuracy: float = 0.9, speed: float = 1234.5) -> Result:
    return Result(
        name=name,
        seed=seed,
        test_accuracy=accuracy,
        test_images=360,
        parameters=1234567,
        seconds=12.4,
        images_per_second=speed,
    )


def test_the_baseline_with_our_weights_gives_our_logits() -> None:
    config = ViTConfig(
        image_size=(6, 10), patch_size=2, embed_dim=12, depth=2, num_heads=3, num_classes=7, init="xavier"
    )
    ours, images = ViT(config).eval(), torch.randn(3, 3, 6, 10)
    theirs = timm_model(ours, own_weights=True).eval()
    assert_close(theirs(images), ours(images), atol=1e-5, rtol=0)  # other kernels, the same sums
    other = timm_model(ours, own_weights=False).eval()
    assert (other(images) - ours(images)).abs().max() > 1e-3
    assert sum(p.numel() for p in other.parameters()) == sum(p.numel() for p in ours.parameters())


def test_the_contestants_take_the_same_steps_to_the_same_end(tiny_run: list[str], tmp_path: Path) -> None:
    # from the same weights, on the same batches, by the same recipe, ours and timm's must stay together
    results = list(compare([*tiny_run, *QUICK], ["timm"], range(2), tmp_path))
    assert [(one.name, one.seed) for one in results] == [("ours", 0), ("timm", 0), ("timm", 1), ("ours", 1)]
    by_name = {(one.name, one.seed): one for one in results}
    for seed in range(2):
        ours, theirs = by_name["ours", seed], by_name["timm", seed]
        assert ours.parameters == theirs.parameters
        assert ours.test_images == theirs.test_images == 360
        assert ours.test_accuracy == pytest.approx(theirs.test_accuracy, abs=2 / 360)  # a tie decided by the last bit
    losses = [(tmp_path / f"{name}-seed0" / "metrics.csv").read_text().splitlines() for name in ("ours", "timm")]
    assert losses[0][0] == losses[1][0]
    for ours_value, their_value in zip(losses[0][-1].split(","), losses[1][-1].split(","), strict=True):
        assert (ours_value and float(ours_value)) == pytest.approx(their_value and float(their_value), abs=1e-3)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("ours-seed0", "ours-seed1", "timm-seed0", "timm-seed1", "results.json", "table.md")
    }
    saved = json.loads((tmp_path / "results.json").read_text())
    assert [(one["name"], one["seed"]) for one in saved] == [("ours", 0), ("ours", 1), ("timm", 0), ("timm", 1)]
    assert "(2 seeds)" in (tmp_path / "table.md").read_text()


def test_comparing_without_test_images_is_refused(folder_of_classes: Callable[..., Path], tmp_path: Path) -> None:
    root = folder_of_classes({"train": ["cat", "dog"]})
    flags = [
        "--data.source",
        "folder",
        "--data.root",
        str(root),
        "--data.batch_size",
        "2",
        "--data.val_fraction",
        "0.5",
    ]
    shape = ["--model.vit.image_size", "8", "--model.vit.patch_size", "4", "--trainer.accelerator", "cpu"]
    small = ["--model.vit.embed_dim", "8", "--model.vit.num_heads", "2", "--model.vit.depth", "1"]
    with pytest.raises(ValueError, match=r"comparing needs test images, and this data has none; put test/CLASS"):
        list(compare([*flags, *shape, *small], ["timm"], range(1), tmp_path / "compare"))


def test_a_table_of_several_seeds_has_mean_and_standard_deviation() -> None:
    results = [
        result(accuracy=0.98, speed=100.0),
        result(seed=1, accuracy=0.96, speed=300.0),
        result("timm", accuracy=0.5),
    ]
    lines = table(results).splitlines()
    assert lines[0].split("|")[1].strip() == "model"
    # standard deviation of 98 and 96 with one degree of freedom: sqrt(2)
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        *("ours", "97.00 ± 1.41 % (2 seeds)", "1,234,567", "12 s", "200 images/s")
    ]
    assert lines[3].startswith("| timm")
    assert len({len(line) for line in lines}) == 1


def test_a_single_run_has_the_interval_of_its_test_images() -> None:
    assert "90.00 % (86.5 to 92.7)" in table([result()])


def test_comparing_a_part_of_the_weights_is_refused(finished_run: Any, tiny_run: list[str], tmp_path: Path) -> None:
    flags = [*tiny_run, "--model.pretrained", finished_run.model, "--model.tune", "head"]
    with pytest.raises(ValueError, match=r"comparing trains all weights of both models; leave model\.tune=head out"):
        list(compare(flags, ["timm"], range(1), tmp_path / "compare"))
    assert not list((tmp_path / "compare").glob("*"))
