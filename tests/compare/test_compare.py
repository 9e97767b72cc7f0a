"""Ours and timm start alike, are trained alike, and are counted alike."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import lightning as L
import pytest
import torch
from torch.testing import assert_close

from vit.compare import compare
from vit.compare.baselines import timm_model
from vit.nn import ViT, ViTConfig
from vit.train.evaluate import evaluate
from vit.train.predictions import read_predictions
from vit.train.run import Run, fit

QUICK = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "5", "--trainer.limit_val_batches", "1"]


class StopAfterOneEpoch(L.Callback):
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = True


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


def test_what_training_leaves_out_at_random_is_left_out_of_both() -> None:
    rates = {"drop_rate": 0.2, "drop_path_rate": 0.3, "patch_drop_rate": 0.5}
    config = ViTConfig(image_size=(8, 12), patch_size=2, embed_dim=12, depth=2, num_heads=3, num_classes=7, **rates)
    theirs, tokens = timm_model(ViT(config), own_weights=True).train(), list[int]()
    theirs.get_submodule("blocks.0").register_forward_pre_hook(lambda block, inputs: tokens.append(inputs[0].shape[1]))
    theirs(torch.randn(3, 3, 8, 12))
    assert tokens == [1 + 24 // 2]
    assert theirs.get_submodule("blocks.1.drop_path1").drop_prob == pytest.approx(0.3)
    assert {each.p for each in theirs.modules() if isinstance(each, torch.nn.Dropout) and each.p} == {0.2}


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
    rows = [(one["name"], one["seed"]) for one in saved["results"]]
    assert rows == [("ours", 0), ("ours", 1), ("timm", 0), ("timm", 1)]
    found = saved["ours_minus"]["timm"]
    right = {name: read_predictions(tmp_path / f"{name}-seed1" / "test.csv").right for name in ("ours", "timm")}
    assert by_name["timm", 1].test_accuracy == right["timm"].mean()
    assert (found["seeds"], found["images"], found["is_clear"]) == (2, 360, False)
    mean = {name: sum(by_name[name, seed].test_accuracy for seed in (0, 1)) / 2 for name in ("ours", "timm")}
    assert found["points"] == pytest.approx(100 * (mean["ours"] - mean["timm"]))
    written = (tmp_path / "table.md").read_text()
    assert "(2 seeds)" in written
    assert "over 2 seeds and 360 images: no more than chance may do." in written


def test_a_comparison_goes_on_where_it_was_stopped_and_takes_more_seeds(tiny_run: list[str], tmp_path: Path) -> None:
    flags = [*tiny_run, *QUICK]
    whole = list(compare(flags, ["timm"], range(1), tmp_path / "whole"))
    stopped, counts = tmp_path / "stopped", list[int]()
    first = next(compare(flags, ["timm"], range(1), stopped))  # closed after its first run
    kept = (stopped / "ours-seed0" / "metrics.csv").stat().st_mtime_ns
    (second,) = compare(flags, ["timm"], range(1), stopped, counts.append)
    assert counts == [1]
    assert (stopped / "ours-seed0" / "metrics.csv").stat().st_mtime_ns == kept
    for one, other in zip((first, second), whole, strict=True):
        assert (one.name, one.seed, one.test_accuracy) == (other.name, other.seed, other.test_accuracy)
        answers = f"{one.name}-seed0/test.csv"
        assert (stopped / answers).read_bytes() == (tmp_path / "whole" / answers).read_bytes()
    third = next(compare(flags, ["timm"], range(2), stopped, counts.append))
    assert (third.name, third.seed) == ("timm", 1)
    assert counts == [1, 2]
    assert list(compare(flags, ["timm"], range(1), stopped, counts.append)) == []
    assert counts == [1, 2]


def test_a_run_that_was_cut_off_is_gone_on_with(tiny_run: list[str], tmp_path: Path) -> None:
    flags = [*tiny_run, "--trainer.max_epochs", "2", "--trainer.limit_train_batches", "5"]
    whole = list(compare(flags, ["timm"], range(1), tmp_path / "whole"))
    folder = tmp_path / "cut"
    for name in ("ours", "timm"):  # as a kill leaves them after the first epoch
        args = [*flags, "--output", str(folder), "--name", f"{name}-seed0", "--seed_everything", "0"]
        run = Run(args, epoch_lines=False)
        if name == "timm":
            run.model.network = timm_model(cast(ViT, run.model.network), own_weights=True)
        run.trainer.callbacks.append(StopAfterOneEpoch())  # pyright: ignore[reportAttributeAccessIssue]
        fit(run)
        shutil.rmtree(run.folder / "model", ignore_errors=True)
        (run.folder / "checkpoints" / "finished").unlink(missing_ok=True)
    rest = list(compare(flags, ["timm"], range(1), folder))
    assert [one.test_accuracy for one in rest] == [one.test_accuracy for one in whole]
    for name in ("ours", "timm"):
        file = Path(f"{name}-seed0/test.csv")
        assert (folder / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_runs_of_another_config_are_not_set_beside_each_other(tiny_run: list[str], tmp_path: Path) -> None:
    next(compare([*tiny_run, *QUICK], ["timm"], range(1), tmp_path))
    with pytest.raises(
        FileExistsError, match=r"ours-seed0 was trained with another config: data\.batch_size 64 there, 16"
    ):
        list(compare([*tiny_run, *QUICK, "--data.batch_size", "16"], ["timm"], range(2), tmp_path))
    assert not (tmp_path / "timm-seed0").exists()


def test_a_run_that_was_stopped_before_its_result_was_kept_is_not_trained_again(
    tiny_run: list[str], tmp_path: Path
) -> None:
    flags = [*tiny_run, *QUICK, "--export", "best"]
    whole = list(compare(flags, ["timm"], range(1), tmp_path))
    answers = [(tmp_path / f"{name}-seed0" / "test.csv").read_bytes() for name in ("ours", "timm")]
    rows = [(tmp_path / f"{name}-seed0" / "metrics.csv").read_text() for name in ("ours", "timm")]
    (tmp_path / "results.json").unlink()
    again = list(compare(flags, ["timm"], range(1), tmp_path))
    assert [(one.name, one.test_accuracy) for one in again] == [(one.name, one.test_accuracy) for one in whole]
    assert [(tmp_path / f"{name}-seed0" / "test.csv").read_bytes() for name in ("ours", "timm")] == answers
    assert [(tmp_path / f"{name}-seed0" / "metrics.csv").read_text() for name in ("ours", "timm")] == rows


def test_a_comparison_from_pretrained_weights_takes_more_seeds(
    finished_run: Any, tiny_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(finished_run.model).parent)  # named by a path that is not whole
    flags = [*tiny_run, *QUICK, "--model.pretrained", "model"]
    next(compare(flags, ["timm"], range(1), tmp_path))
    third = [*compare(flags, ["timm"], range(2), tmp_path)][-1]
    assert (third.name, third.seed) == ("ours", 1)
    with pytest.raises(FileExistsError, match=r"another config: export last there, best here"):
        list(compare([*flags, "--export", "best"], ["timm"], range(3), tmp_path))


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--resume", "RUN"], "--resume is for one run; vit compare goes on with"),
        (["--max-time", "5s"], "a time to stop at gives the faster one more steps"),
        (["--trainer.max_time", "00:00:00:05"], "a time to stop at gives the faster one more steps"),
        (["--early-stopping", "3"], "early_stopping gives each its own number of steps"),
        (["--model.pretrained", "RUN/model"], "--baseline timm starts from the same"),
    ],
)
def test_what_would_give_one_more_than_the_other_is_refused(
    flags: list[str], sentence: str, finished_run: Any, tiny_run: list[str], tmp_path: Path
) -> None:
    run = Path(finished_run.model).parent
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    flags = [flag.replace("RUN", str(run)) for flag in flags]
    with pytest.raises(ValueError, match=sentence):
        list(compare([*tiny_run, *flags], ["timm-default"], range(1), tmp_path))
    assert not list(tmp_path.iterdir())
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_other_test_images_are_not_set_beside_those_that_are_there(
    folder_of_classes: Callable[..., Path], tiny_run: list[str], tmp_path: Path
) -> None:
    root = folder_of_classes({"train": ["cat", "dog"], "val": ["cat", "dog"], "test": ["cat", "dog"]})
    flags = [*tiny_run, *QUICK, "--data.source", "folder", "--data.root", str(root), "--model.vit.in_channels", "3"]
    flags += ["--data.batch_size", "2"]
    next(compare(flags, ["timm"], range(1), tmp_path / "compare"))
    image = next((root / "test" / "cat").iterdir())
    image.rename(image.with_name("another.png"))  # as many as before
    with pytest.raises(ValueError, match=r"test images are others than those of .*ours-seed0; choose another --name"):
        list(compare(flags, ["timm"], range(1), tmp_path / "compare"))
    assert not (tmp_path / "compare" / "timm-seed0").exists()


def test_the_weights_that_are_exported_are_those_that_are_tested(tiny_run: list[str], tmp_path: Path) -> None:
    list(compare([*tiny_run, *QUICK, "--export", "best", "--model.recipe.ema_decay", "0.5"], ["timm"], [0], tmp_path))
    for name in ("ours", "timm"):
        (look,) = json.loads((tmp_path / f"{name}-seed0" / "test.json").read_text())
        assert look["weights"].startswith("moving average (ema_decay 0.5) of the best epoch by val_acc_ema")
    looks = evaluate(tmp_path / "ours-seed0", device="cpu")
    assert len(looks) == 2
    assert looks[0]["sha256"] == looks[1]["sha256"]
    assert looks[0]["measures"] == looks[1]["measures"]


def test_a_dry_run_is_no_comparison(tiny_run: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"trainer\.fast_dev_run keeps none; try it with vit fit"):
        list(compare([*tiny_run, "--trainer.fast_dev_run", "true"], ["timm"], range(1), tmp_path))
    assert not list(tmp_path.iterdir())


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


def test_comparing_a_part_of_the_weights_is_refused(finished_run: Any, tiny_run: list[str], tmp_path: Path) -> None:
    flags = [*tiny_run, "--model.pretrained", finished_run.model, "--model.tune", "head"]
    with pytest.raises(ValueError, match=r"comparing trains all weights of both models; leave model\.tune=head out"):
        list(compare(flags, ["timm"], range(1), tmp_path / "compare"))
    assert not list((tmp_path / "compare").glob("*"))
