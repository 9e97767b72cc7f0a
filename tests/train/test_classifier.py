"""Loss and accuracies are of images, not of batches, and one batch can be learned by heart."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from vit.nn import ViT, ViTConfig
from vit.train.classifier import Classifier
from vit.train.finite import NotFiniteError
from vit.train.recipe import Recipe
from vit.train.run import quieten

SHAPE = {
    "image_size": 4,
    "patch_size": 2,
    "in_channels": 1,
    "embed_dim": 8,
    "depth": 2,
    "num_heads": 2,
    "init": "xavier",
}


def classifier(num_classes: int = 3, **recipe: float) -> Classifier:
    return Classifier(ViTConfig(**SHAPE), Recipe(**recipe), num_classes)  # pyright: ignore


def batches(count: int, size: int, classes: int = 3) -> DataLoader[list[Tensor]]:
    pairs = [(torch.randn(1, 4, 4), torch.tensor(i % classes)) for i in range(count)]
    return DataLoader(pairs, batch_size=size)  # pyright: ignore


def trainer(**changes: object) -> L.Trainer:
    quieten()
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return L.Trainer(**{"accelerator": "cpu", "max_epochs": 1, **quiet, **changes})  # pyright: ignore


def fit(run: L.Trainer, model: Classifier, loader: DataLoader[list[Tensor]]) -> None:
    run.fit(model, loader, loader)


class Copies(nn.Module):
    """The first three pixels are the logits."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :3]


@pytest.mark.parametrize("part", ["val", "test"])
def test_accuracy_and_loss_are_of_all_images_where_the_last_batch_is_smaller(part: str) -> None:
    model = classifier()
    model.network = Copies()
    loader = batches(count=7, size=3)  # 3, 3 and 1
    run = trainer()
    measure = run.validate if part == "val" else run.test
    metrics = measure(model, loader, verbose=False)[0]
    images = torch.stack([image for image, _ in loader.dataset])  # pyright: ignore
    labels = torch.stack([label for _, label in loader.dataset])  # pyright: ignore
    logits = images.flatten(1)[:, :3]
    assert metrics[f"{part}_acc"] == pytest.approx((logits.argmax(dim=1) == labels).float().mean().item())
    assert metrics[f"{part}_loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-6)


def test_accuracy_of_unbalanced_classes_is_the_share_of_images() -> None:
    images = torch.zeros(5, 1, 4, 4)
    images[:, 0, 0, 0] = 1.0  # always class 0
    loader = DataLoader(list(zip(images, torch.tensor([0, 0, 0, 0, 1]), strict=True)), batch_size=2)  # pyright: ignore
    model = classifier()
    model.network = Copies()
    # macro accuracy, torchmetrics' default, would be 0.5
    assert trainer().validate(model, loader, verbose=False)[0]["val_acc"] == pytest.approx(0.8)


def test_smoothing_is_for_training_and_validation_loss_is_without() -> None:
    model = classifier(label_smoothing=0.3)
    model.network = Copies()
    images, labels = torch.zeros(1, 1, 4, 4), torch.tensor([0])
    images[0, 0, 0, 0] = 2.0
    model.log = lambda *_, **__: None  # pyright: ignore
    # of targets 0.8, 0.1 and 0.1: log(e^2 + 2) - 0.8 * 2
    assert model.training_step([images, labels], 0).item() == pytest.approx(2.2395 - 1.6, abs=1e-4)
    validated = {}
    model.log = lambda name, value, **_: validated.update({name: value})  # pyright: ignore
    model.validation_step([images, labels], 0)
    assert validated["val_loss"].item() == pytest.approx(2.2395 - 2.0, abs=1e-4)


def test_one_batch_is_learned_by_heart() -> None:
    model = classifier(learning_rate=1e-2, warmup=0.0)
    run = trainer(max_epochs=60)
    fit(run, model, batches(count=6, size=6))
    assert run.callback_metrics["train_acc"] == 1.0
    assert run.callback_metrics["train_loss"] < 0.1


def test_every_parameter_is_moved_by_training() -> None:
    model = classifier(learning_rate=1e-2, warmup=0.0, weight_decay=0.0)
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    fit(trainer(max_epochs=2), model, batches(count=6, size=6))
    assert [name for name, tensor in model.named_parameters() if torch.equal(tensor, before[name])] == []


def test_the_learning_rate_moves_every_step_and_ends_near_0() -> None:
    class Rates(L.Callback):
        def __init__(self) -> None:
            self.seen: list[float] = []

        def on_train_batch_start(self, trainer: L.Trainer, *_: object) -> None:
            self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])

    rates = Rates()
    model = classifier(learning_rate=0.1, warmup=0.2)
    fit(trainer(max_epochs=2, callbacks=[rates]), model, batches(count=10, size=2))
    by_hand = [1 / 3, 2 / 3, 1.0, 0.9619398, 0.8535534, 0.6913417, 0.5, 0.3086583, 0.1464466, 0.0380602]
    assert rates.seen == pytest.approx([0.1 * factor for factor in by_hand])


def test_the_number_of_classes_comes_from_the_data() -> None:
    model = classifier(num_classes=7)
    assert isinstance(model.network, ViT)
    assert model.network.config.num_classes == 7
    assert model(torch.zeros(2, 1, 4, 4)).shape == (2, 7)


def test_hyper_parameters_are_plain_values() -> None:
    def plain(value: object) -> bool:
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(item) for key, item in value.items())
        return isinstance(value, (int, float, str, bool, tuple)) or value is None

    assert plain(dict(classifier().hparams))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped_in_every_precision_of_a_cpu(precision: str) -> None:
    run = trainer(precision=precision, gradient_clip_val=1.0)
    fit(run, classifier(), batches(count=4, size=2))
    assert run.global_step == 2


def test_accumulated_batches_are_one_step_of_the_schedule() -> None:
    class Rates(L.Callback):
        def __init__(self) -> None:
            self.seen: list[float] = []

        def on_before_optimizer_step(self, trainer: L.Trainer, *_: object) -> None:
            self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])

    rates = Rates()
    model = classifier(learning_rate=0.1, warmup=0.0)
    # 5 batches by twos are 3 steps, the last of one batch alone
    run = trainer(max_epochs=2, accumulate_grad_batches=2, callbacks=[rates])
    fit(run, model, batches(count=10, size=2))
    cosine = [0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(6)]
    assert rates.seen == pytest.approx([0.1 * factor for factor in cosine])
    assert run.global_step == 6


def test_the_accuracy_on_mixed_images_has_a_name_of_its_own() -> None:
    model = classifier()
    model.network = Copies()
    logged: dict[str, Any] = {}
    model.log = lambda name, value, **_: logged.update({name: value})  # pyright: ignore
    images = torch.zeros(2, 1, 4, 4)
    images[:, 0, 0, 1] = 1.0  # always class 1
    model.training_step([images, torch.tensor([[0.3, 0.7, 0.0], [0.6, 0.4, 0.0]])], 0)
    assert set(logged) == {"train_loss", "train_acc_mixed"}
    assert logged["train_acc_mixed"].compute() == 0.5  # the heavier labels are 1 and 0
    logged.clear()
    model.training_step([images, torch.tensor([1, 1])], 0)
    assert set(logged) == {"train_loss", "train_acc"}


def test_the_data_says_how_much_a_class_counts() -> None:
    class Weighted(L.LightningDataModule):
        class_weights = torch.tensor([1.0, 5.0, 2.0])

        def train_dataloader(self) -> DataLoader[list[Tensor]]:
            return batches(count=4, size=2)

        def val_dataloader(self) -> DataLoader[list[Tensor]]:
            return batches(count=4, size=2)

    model = classifier()
    run = trainer()
    run.fit(model, datamodule=Weighted())
    assert model.class_weights is not None
    assert model.class_weights.tolist() == [1.0, 5.0, 2.0]
    assert "class_weights" not in model.state_dict()  # of the data, not of the model


def test_training_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs to know when training ends; set trainer\.max_epochs or max_steps"):
        fit(trainer(max_epochs=-1), classifier(), batches(count=4, size=2))


def test_weights_that_a_last_step_spoilt_are_never_kept(tmp_path: Path) -> None:
    """The loss is a number to the end, and the gradient of the last step is none."""
    model = classifier()

    class Spoil(L.Callback):
        def on_after_backward(self, trainer: L.Trainer, pl_module: Any) -> None:
            if trainer.global_step == 3:
                pl_module.network.head.bias.grad.fill_(torch.nan)

    kept = ModelCheckpoint(tmp_path, save_last=True, filename="best", monitor="val_loss")
    run = trainer(max_epochs=2, enable_checkpointing=True, callbacks=[Spoil(), kept])
    with pytest.raises(NotFiniteError, match=r"the weights are no numbers any more after step 4, learning rate"):
        fit(run, model, batches(count=4, size=2))
    files = list(tmp_path.glob("*.ckpt"))
    assert files  # of the first epoch
    for file in files:
        state = torch.load(file, weights_only=True)["state_dict"]
        assert all(tensor.isfinite().all() for tensor in state.values())


@pytest.fixture
def _annotations_unchecked() -> Iterator[None]:
    """As outside tests: the compiler cannot look into the checks."""
    torch.compiler.reset()
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.slow
@pytest.mark.usefixtures("_annotations_unchecked")
def test_a_compiled_network_trains_the_same_under_the_same_names() -> None:
    losses: list[float] = []
    for compiles in (False, True):
        torch.manual_seed(0)
        model = classifier(learning_rate=1e-2, ema_decay=0.5)
        model.compiles = compiles
        run = trainer(max_epochs=2)
        fit(run, model, batches(count=6, size=3))
        assert "network.head.weight" in model.state_dict()
        assert "ema.head.weight" in model.state_dict()
        losses.append(run.callback_metrics["val_loss_ema"].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)  # kernels round in another order
