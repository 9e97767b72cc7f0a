"""A run: its folder, its config, its weights, and what is refused before anything is written."""

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from jsonargparse import ArgumentError
from torch import Tensor

from vit.train.classifier import Classifier
from vit.train.folder import new_folder, remove_if_empty
from vit.train.recipe import Recipe
from vit.train.run import Run, fit
from vit.weights import load_model, read_card


@pytest.fixture
def train(tiny_run: list[str], tmp_path: Path) -> Any:
    """Train a run that differs from the tiny one in some flags."""

    def train(*flags: str, base: Sequence[str] | None = None) -> Run:
        run = Run(
            [*(tiny_run if base is None else base), "--output", str(tmp_path / "runs"), *flags], epoch_lines=False
        )
        fit(run)
        return run

    return train


QUICK = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "3", "--trainer.limit_val_batches", "1")


def weights(run: Run) -> dict[str, Tensor]:
    return load_model(run.folder / "model").state_dict()


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_leaves_its_config_metrics_checkpoints_and_model(finished_run: Any) -> None:
    found = {
        path.relative_to(finished_run.folder).as_posix() for path in finished_run.folder.rglob("*") if path.is_file()
    }
    assert {name for name in found if not name.startswith("tensorboard/")} == {
        "config.yaml",
        "run.json",
        "metrics.csv",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "checkpoints/previous.ckpt",
        "checkpoints/finished",
        "model/config.json",
        "model/model.safetensors",
    }
    assert finished_run.folder.name == "digits"  # the config's name
    assert set(finished_run.metrics) == {"train_loss", "train_acc", "val_loss", "val_acc"}


def test_the_model_folder_says_where_it_comes_from(finished_run: Any) -> None:
    card = read_card(finished_run.model)
    assert card.classes == tuple("0123456789")
    assert card.preprocessing.image_size == (8, 8)
    assert card.preprocessing.mean == (0.305,)
    assert card.provenance["command"].startswith("vit fit --config")
    assert (card.provenance["epochs"], card.provenance["steps"]) == (2, 40)  # 1,293 images make 20 batches of 64
    assert card.provenance["last_epoch"]["val_acc"] == pytest.approx(finished_run.metrics["val_acc"], abs=1e-6)


@pytest.mark.parametrize("name", ["best", "last"])
def test_checkpoints_load_without_running_code(name: str, finished_run: Any) -> None:
    checkpoint = torch.load(finished_run.folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
    assert checkpoint["hyper_parameters"]["vit"]["embed_dim"] == 16
    json.dumps(checkpoint["hyper_parameters"])


def test_lightning_loads_the_classifier_from_a_checkpoint(finished_run: Any) -> None:
    classifier = Classifier.load_from_checkpoint(finished_run.folder / "checkpoints" / "last.ckpt")
    assert classifier.recipe == Recipe(learning_rate=3e-3)
    assert not classifier.training
    assert same(classifier.network.state_dict(), load_model(finished_run.model).state_dict())


def test_the_exported_weights_are_those_of_the_last_checkpoint(finished_run: Any) -> None:
    from vit.train.export import network_state

    assert same(
        load_model(finished_run.model).state_dict(),
        network_state(str(finished_run.folder / "checkpoints" / "last.ckpt")),
    )


def test_the_same_seed_gives_the_same_weights_to_the_bit(train: Any) -> None:
    first, second, other = train(*QUICK), train(*QUICK), train(*QUICK, "--seed_everything", "1")
    assert same(weights(first), weights(second))
    assert not same(weights(first), weights(other))


def test_the_resolved_config_reproduces_the_run(train: Any) -> None:
    first = train(*QUICK, "--model.recipe.learning_rate", "0.002", "--data.augmentation.flip", "0.5")
    again = train(base=["--config", str(first.folder / "config.yaml")])
    assert same(weights(first), weights(again))
    values = yaml.safe_load((again.folder / "config.yaml").read_text())
    assert values["model"]["recipe"]["learning_rate"] == 0.002
    assert values["model"]["vit"]["num_classes"] == 10


class StopAfterOneEpoch(L.Callback):
    def on_train_epoch_end(self, trainer: L.Trainer, *_: object) -> None:
        trainer.should_stop = True


@pytest.mark.filterwarnings("ignore:The dirpath has changed")  # as it should: a new run has a new folder
def test_a_run_that_was_stopped_goes_on_where_it_was(tiny_run: list[str], tmp_path: Path) -> None:
    flags = [*tiny_run, "--trainer.limit_train_batches", "3", "--output", str(tmp_path)]
    half = Run(flags, epoch_lines=False)
    half.trainer.callbacks.append(StopAfterOneEpoch())  # pyright: ignore
    fit(half)
    rest = Run(flags, epoch_lines=False)
    rest.trainer.fit(rest.model, datamodule=rest.datamodule, ckpt_path=str(half.folder / "checkpoints" / "last.ckpt"))
    assert (half.trainer.global_step, rest.trainer.global_step) == (3, 6)
    assert rest.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.0)  # the end of all six steps' cosine
    assert len(rest.stopwatch.images_per_second) == 1


def test_two_runs_never_share_a_folder(train: Any) -> None:
    folders = [train(*QUICK).folder.name for _ in range(3)]
    assert folders == ["digits", "digits-2", "digits-3"]


def test_a_name_that_is_taken_is_refused_and_the_older_run_is_left_alone(train: Any) -> None:
    first = train(*QUICK, "--name", "mine")
    before = {path: path.stat().st_mtime_ns for path in first.folder.rglob("*")}
    with pytest.raises(
        FileExistsError, match=r"run .*mine is finished \(3 steps, 1 epochs\); .* choose another --name"
    ):
        train(*QUICK, "--name", "mine")
    assert {path: path.stat().st_mtime_ns for path in first.folder.rglob("*")} == before


def test_folders_are_numbered_by_what_is_there(tmp_path: Path) -> None:
    assert [new_folder(tmp_path, "a").name for _ in range(2)] == ["a", "a-2"]
    (tmp_path / "b").write_text("a file of that name")
    assert new_folder(tmp_path, "b").name == "b-2"


def test_only_an_empty_folder_is_taken_away(tmp_path: Path) -> None:
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "file").touch()
    remove_if_empty(tmp_path / name for name in ("empty", "full", "nowhere"))
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_a_training_that_takes_no_step_is_an_error(train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(L.Trainer, "fit", lambda *_, **__: None)
    with pytest.raises(ValueError, match=r"the training took no step: max_epochs, max_steps and limit_train_batches"):
        train()
    assert not list((tmp_path / "runs").glob("*/model"))


def test_a_training_that_ends_within_its_first_epoch_exports_its_last_weights_without_a_warning(train: Any) -> None:
    run = train("--trainer.max_steps", "3", "--export", "best")  # a warning would be an error here
    assert not (run.folder / "checkpoints" / "best.ckpt").exists()
    assert read_card(run.folder / "model").provenance["weights"] == "of the last epoch"


def test_the_test_images_are_not_read_by_training(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from vit.data.module import ImageDataModule

    def looked(self: ImageDataModule) -> None:
        raise AssertionError("the test images were looked at")

    monkeypatch.setattr(ImageDataModule, "test_dataloader", looked)
    assert train(*QUICK).trainer.global_step == 3


OTHER_KEEPER = ["--trainer.callbacks", "ModelCheckpoint", "--trainer.callbacks.monitor", "train_loss"]


@pytest.mark.parametrize("other", [[], OTHER_KEEPER], ids=["ours alone", "beside another"])
def test_the_best_epoch_is_exported_where_that_is_asked_for(other: list[str], train: Any) -> None:
    from vit.train.export import network_state

    run = train("--trainer.limit_train_batches", "3", "--export", "best", *other)
    best = network_state(str(run.folder / "checkpoints" / "best.ckpt"))
    assert same(weights(run), best)
    assert "best epoch by val_acc" in read_card(run.folder / "model").provenance["weights"]


def test_a_stop_in_the_middle_of_an_epoch_has_a_speed_too(train: Any) -> None:
    run = train("--trainer.max_steps", "23")
    assert run.trainer.global_step == 23
    assert len(run.stopwatch.images_per_second) == 2
    assert min(run.stopwatch.images_per_second) > 0
    assert run.stopwatch.seconds > 0


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--model.vit.patch_size", "3"], r"patch_size=3 does not divide image_size=8.*2 and 4 do"),
        (["--model.vit.in_channels", "3"], r"model\.vit\.in_channels=3, but the images of this data have 1 channels"),
        (["--data.batch_size", "5000"], r"batch_size=5000 is more than the 1293 training images"),
        (["--model.vit.image_size", "16"], r"image_size=16 does not fit source=digits"),
        (["--model.recipe.learning_rate", "-1"], r"learning_rate=-1\.0 must be a number above 0"),
        (["--data.augmentation.flip", "2"], r"flip=2\.0 is not a probability"),
        (["--trainer.max_epoch", "1"], r"there is no flag --trainer\.max_epoch; did you mean '--trainer\.max_epochs'"),
        (["--model.vit.patchsize", "2"], r"did you mean '--model\.vit\.patch_size'"),
        (["--trainer.max_epochs", "many"], r"trainer\.max_epochs=many is not of its type; expected int or null\.$"),
        (
            ["--export", "worst"],
            r"export=worst is not of its type; expected one of 'best', 'last', 'best-raw', 'last-raw'\.$",
        ),
        (["--config", "nowhere.yaml"], r"config file .*nowhere\.yaml does not exist\."),
        (["--trainer.accelerator", "abacus"], r"accelerator=abacus is not known; known are: auto, cpu, cuda, "),
        (["--trainer.precision", "bf61"], r"trainer\.precision=bf61 is not known; did you mean 'bf16'\?$"),
        (["--trainer.devices", "0"], r"these trainer flags do not work here: .*devices"),
        (["--threads", "0"], r"threads=0 must be at least 1\."),
    ],
)
def test_what_does_not_fit_is_explained_and_no_folder_is_left(
    flags: list[str], sentence: str, tiny_run: list[str], tmp_path: Path
) -> None:
    with pytest.raises((ValueError, ArgumentError), match=sentence):
        Run([*tiny_run, "--output", str(tmp_path / "new" / "runs"), *flags])
    assert not list(tmp_path.iterdir())


def test_a_run_from_the_config_of_a_run_is_named_after_it_and_gets_a_folder_of_its_own(train: Any) -> None:
    first = train(*QUICK, "--name", "mine")
    again = Run(["--config", str(first.folder / "config.yaml")], epoch_lines=False)
    assert again.folder == first.folder.with_name("mine-2")


def test_a_number_of_classes_that_the_data_does_not_have_is_refused(tiny_run: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"num_classes=7, but the data has 10 classes"):
        Run([*tiny_run, "--output", str(tmp_path), "--model.vit.num_classes", "7"])


def test_a_loss_that_is_no_number_stops_the_run_and_says_what_to_change(tiny_run: list[str], tmp_path: Path) -> None:
    run = Run([*tiny_run, "--output", str(tmp_path), "--model.recipe.learning_rate", "1e30"], epoch_lines=False)
    batch = r"of a batch of training image \d+, .* more"
    with pytest.raises(
        ValueError, match=rf"the loss is nan at step \d+, learning rate .*, {batch}; lower model\.recipe"
    ):
        fit(run)


def test_after_a_loss_that_is_no_number_the_last_good_state_is_there_to_go_on_from(
    tiny_run: list[str], tmp_path: Path
) -> None:
    class Spoils(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
            if trainer.global_step == 5:
                next(pl_module.parameters()).data.fill_(torch.nan)

    flags = [*tiny_run, "--output", str(tmp_path), "--trainer.limit_train_batches", "3", "--trainer.max_epochs", "3"]
    run = Run(flags, epoch_lines=False)
    run.trainer.callbacks.insert(0, Spoils())  # pyright: ignore
    with pytest.raises(ValueError, match=r"the loss is nan at step 5, "):  # 3 steps an epoch: in the second
        fit(run)
    saved = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 3
    assert all(tensor.isfinite().all() for tensor in saved["state_dict"].values())
    assert not (run.folder / "model").exists()
    again = Run(["--resume", str(run.folder), "--model.recipe.learning_rate", "0.001"], epoch_lines=False)
    assert fit(again)["train_loss"] > 0


def test_a_checkpoint_is_gone_on_from(tiny_run: list[str], tmp_path: Path, train: Any) -> None:
    first = train("--trainer.max_epochs", "1")
    last = first.folder / "checkpoints" / "last.ckpt"
    second = train("--trainer.max_epochs", "2", "--resume", str(last))
    assert second.trainer.global_step == 2 * first.trainer.global_step
    with pytest.raises(FileNotFoundError, match=r"checkpoint .*nope.ckpt does not exist; a run writes"):
        train("--resume", str(tmp_path / "nope.ckpt"))


def test_a_strategy_that_keeps_its_results_elsewhere_is_refused(tiny_run: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ddp_spawn keeps its results in another process; ddp works"):
        Run([*tiny_run, "--output", str(tmp_path), "--trainer.strategy", "ddp_spawn"])


def test_ctrl_c_says_where_the_last_checkpoint_is(tiny_run: list[str], tmp_path: Path) -> None:
    class Interrupt(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            raise KeyboardInterrupt

    run = Run([*tiny_run, "--output", str(tmp_path)], epoch_lines=False)
    run.trainer.callbacks.append(Interrupt())  # pyright: ignore
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt, match=r"last.ckpt"):
            fit(run)
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning has it ignored from here on
