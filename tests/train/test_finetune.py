"""Pretrained weights: what follows from them, which of them learn, and what is written in the end."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vit.cli import main
from vit.nn import Preprocessing, ViT, ViTConfig
from vit.train.classifier import Classifier
from vit.train.finetune import LoRA, add_lora, merged, pretrained_network, restrict
from vit.train.run import Run, fit
from vit.train.start import advice
from vit.weights import ModelCard, load_model, read_card, save_model
from vit.weights.files import read_tensors

CONFIG = ViTConfig(
    image_size=8, patch_size=2, in_channels=3, embed_dim=12, depth=3, num_heads=3, num_classes=7, init="xavier"
)
QUICK = ("--trainer.max_epochs", "1", "--trainer.limit_val_batches", "1", "--trainer.accelerator", "cpu")


@pytest.fixture
def model() -> ViT:
    return ViT(CONFIG).eval()


@pytest.fixture
def source(model: ViT, tmp_path: Path) -> str:
    """A folder of weights of seven classes, normalised by numbers of their own."""
    preprocessing = Preprocessing(
        image_size=(8, 8), mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3), interpolation="bilinear", crop_pct=0.9
    )
    card = ModelCard(config=CONFIG, classes=tuple("abcdefg"), preprocessing=preprocessing)
    return str(save_model(model, card, tmp_path / "weights"))


@pytest.fixture
def tuned(source: str, folder_of_classes: Any, tmp_path: Path) -> Any:
    """Fine-tune these weights on a folder of three classes."""
    root = folder_of_classes({"train": ["cat", "dog", "owl"], "val": ["cat", "dog", "owl"]}, images=4)

    def tuned(*flags: str, train: bool = True) -> Run:
        data = ["--data.source", "folder", "--data.root", str(root), "--data.batch_size", "4"]
        own = ["--data.num_workers", "0", "--model.pretrained", source, "--output", str(tmp_path / "runs")]
        run = Run([*data, *own, *QUICK, *flags], epoch_lines=False)
        if train:
            fit(run)
        return run

    return tuned


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {
        name
        for name in before
        if before[name].shape == after[name].shape and not torch.equal(before[name], after[name])
    }


def test_the_architecture_and_the_preprocessing_follow_the_weights(tuned: Any) -> None:
    run = tuned()
    card = read_card(run.folder / "model")
    assert (card.config.embed_dim, card.config.depth, card.config.patch_size, card.config.num_classes) == (12, 3, 2, 3)
    assert card.classes == ("cat", "dog", "owl")
    assert card.preprocessing == Preprocessing(
        image_size=(8, 8), mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3), interpolation="bilinear", crop_pct=0.9
    )
    assert card.provenance["pretrained"] == run.config.model.pretrained
    assert card.provenance["tune"] == "all"


def test_what_is_typed_counts(tuned: Any) -> None:
    flags = ["--model.vit.drop_path_rate", "0.2", "--model.vit.image_size", "12", "--data.crop_pct", "1"]
    run = tuned(*flags, "--model.vit.in_channels", "1")
    card = read_card(run.folder / "model")
    assert (card.config.drop_path_rate, card.config.image_hw, card.config.in_channels) == (0.2, (12, 12), 1)
    assert card.preprocessing.image_size == (12, 12)
    assert card.preprocessing.crop_pct == 1.0
    assert card.preprocessing.mean == pytest.approx((0.4,))  # of grey: the mean of the three
    report = str(run.model.load_report)
    assert "4 x 4 -> 6 x 6 patches" in report
    assert "3 -> 1 colour channels" in report
    assert "new, at zero: head.bias, head.weight" in report


def test_the_resolved_config_fine_tunes_again_to_the_same_weights(tuned: Any) -> None:
    first = tuned("--model.tune", "last:1")
    again = Run(["--config", str(first.folder / "config.yaml")], epoch_lines=False)
    fit(again)
    weights = [load_model(run.folder / "model").state_dict() for run in (first, again)]
    assert changed(*weights) == set()


def test_training_starts_at_the_weights(tuned: Any, model: ViT) -> None:
    run = tuned(train=False)
    assert changed(model.state_dict(), run.model.network.state_dict()) == set()
    assert run.model.network.head.weight.shape == (3, 12)


@pytest.mark.parametrize(
    ("tune", "learns"),
    [
        ("head", ("head.",)),
        ("last:1", ("head.", "norm.", "blocks.2.")),
        ("last:3", ("head.", "norm.", "blocks.")),
    ],
)
def test_what_learns_is_what_was_asked_for(tune: str, learns: tuple[str, ...], tuned: Any, model: ViT) -> None:
    run = tuned("--model.tune", tune)
    after = load_model(run.folder / "model").state_dict()
    moved = changed(model.state_dict(), after) | {"head.weight", "head.bias"}
    # the bias of the keys has no gradient: it moves all scores of a row alike
    assert moved == {name for name in after if name.startswith(learns)}


@pytest.mark.parametrize("tune", ["head", "last:1"])
def test_frozen_parts_run_as_in_evaluation_and_keep_no_graph(tune: str, model: ViT) -> None:
    model = ViT(dataclasses.replace(CONFIG, drop_rate=0.5, drop_path_rate=0.5)).train()
    frozen = restrict(model, tune, LoRA())
    for part in frozen:
        part.eval()
    images = torch.randn(2, 3, 8, 8)
    first, second = (model.blocks[0](model.embed(images)) for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert model(images).requires_grad


@pytest.mark.parametrize("tune", ["head", "last:1", "lora"])
def test_a_checkpoint_loads_where_the_weights_it_started_from_are_gone(tune: str, tuned: Any, source: str) -> None:
    run = tuned("--model.tune", tune, "--model.recipe.ema_decay", "0.5")
    shutil.rmtree(source)
    classifier = Classifier.load_from_checkpoint(run.folder / "checkpoints" / "last.ckpt")
    assert (classifier.hparams["tune"], classifier.hparams["pretrained"]) == (tune, source)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(classifier(images), run.model.eval()(images))
    assert changed(run.model.ema.state_dict(), classifier.ema.state_dict()) == set()  # pyright: ignore
    learning = [[p.requires_grad for p in each.network.parameters()] for each in (classifier, run.model)]
    assert learning[0] == learning[1]


def test_it_is_said_how_much_learns(
    source: str, folder_of_classes: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder_of_classes({"train": ["cat", "dog", "owl"], "val": ["cat", "dog", "owl"]}, images=4)
    data = ["--data.source", "folder", "--data.root", str(root), "--data.batch_size", "4", "--data.num_workers", "0"]
    own = ["--model.pretrained", source, "--output", str(tmp_path / "runs"), "--report", "false", "--threads", "1"]
    assert main(["fit", *data, *own, *QUICK, "--model.tune", "head"]) == 0
    learning = 3 * CONFIG.embed_dim + 3
    assert f" parameters ({learning} of them learn), 12 images to train on" in capsys.readouterr().out


def test_the_classifier_keeps_frozen_parts_in_evaluation(tuned: Any) -> None:
    run = tuned("--model.tune", "last:1", train=False)
    run.model.train()
    assert [block.training for block in run.model.network.blocks] == [False, False, True]
    assert run.model.network.head.training


def test_lora_starts_as_the_weights_and_ends_as_a_plain_model(model: ViT) -> None:
    images = torch.randn(2, 3, 8, 8)
    before = model(images)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    add_lora(model, LoRA(rank=2))
    torch.testing.assert_close(model(images), before)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == ("lora_" in name)
        if "lora_" in name:
            parameter.data.normal_()
    plain = merged(model)
    assert plain.state_dict().keys() == state.keys()
    torch.testing.assert_close(plain(images), model(images), rtol=1e-4, atol=1e-5)  # sums in another order
    attention = {f"blocks.{block}.attn.{matrix}.weight" for block in range(3) for matrix in ("qkv", "proj")}
    assert changed(state, plain.state_dict()) == attention


def test_the_matrix_that_lora_adds_by_hand(model: ViT) -> None:
    add_lora(model, LoRA(rank=2, alpha=6.0))
    matrix: Any = model.blocks[1].attn.qkv  # pyright: ignore
    low, high = matrix.lora_A["default"].weight, matrix.lora_B["default"].weight
    high.data.normal_()
    expected = matrix.base_layer.weight + 3 * high @ low  # alpha / rank times
    torch.testing.assert_close(merged(model).blocks[1].attn.qkv.weight, expected)  # pyright: ignore


@pytest.mark.parametrize("export", ["last", "best-raw"])
def test_lora_trains_and_leaves_an_ordinary_model_folder(export: str, tuned: Any, model: ViT) -> None:
    flags = ["--model.tune", "lora", "--model.lora.rank", "2", "--model.recipe.ema_decay", "0.5", "--export", export]
    run = tuned(*flags)
    exported = load_model(run.folder / "model")
    moved = changed(model.state_dict(), exported.state_dict())
    assert moved == {f"blocks.{block}.attn.{matrix}.weight" for block in range(3) for matrix in ("qkv", "proj")}
    network = run.model.ema if export == "last" else run.model.network
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(exported(images), network.eval()(images), rtol=1e-4, atol=1e-5)  # sums in another order


def test_a_run_with_lora_is_gone_on_from(tuned: Any) -> None:
    first = tuned("--model.tune", "lora")
    last = str(first.folder / "checkpoints" / "last.ckpt")
    second = tuned("--model.tune", "lora", "--trainer.max_epochs", "2", "--resume", last)
    assert second.trainer.global_step == 2 * first.trainer.global_step


def test_without_peft_the_sentence_says_what_to_install(model: ViT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(ModuleNotFoundError, match=r"model\.tune=lora needs peft: pip install 'plain-vit\[lora\]'"):
        add_lora(model, LoRA())


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--model.tune", "tail"], r"model\.tune=tail is not known; all, head, last:N \(such as last:2\) and lora are"),
        (["--model.tune", "last:4"], r"model\.tune=last:4 asks for blocks that are not there; last:1 to last:3 are"),
        (["--model.tune", "last:0"], r"model\.tune=last:0 asks for blocks"),
        (["--model.vit.depth", "5"], r"model\.vit\.depth=5, but the weights of .* have 3; leave it out"),
        (["--model.lora.rank", "0"], r"rank=0 must be at least 1"),
        (["--model.lora.alpha", "-1"], r"alpha=-1\.0 must be above 0"),
        (["--model.architecture", "vit_tiny_patch16_224"], r"says itself what architecture it has; leave out"),
    ],
)
def test_what_does_not_fit_the_weights_is_explained(
    flags: list[str], sentence: str, tuned: Any, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=sentence):
        tuned(*flags)
    assert not list(tmp_path.glob("runs/*"))


def test_a_part_of_no_weights_cannot_be_tuned(tiny_run: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model\.tune=head trains a part of pretrained weights; name them by"):
        Run([*tiny_run, "--output", str(tmp_path), "--model.tune", "head"])


def test_weights_that_are_nowhere_are_an_error_before_any_data_is_loaded(tiny_run: list[str], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model folder .*nowhere does not exist"):
        Run([*tiny_run, "--output", str(tmp_path), "--model.pretrained", str(tmp_path / "nowhere")])


def test_weights_for_other_images_than_those_in_memory_are_refused(source: str, tmp_path: Path) -> None:
    flags = ["--data.source", "digits", "--model.pretrained", source, "--output", str(tmp_path / "runs")]
    with pytest.raises(ValueError, match=r"is for 3 channels, but the images of source=digits have 1; --model\.vit"):
        Run([*flags, "--trainer.max_epochs", "1"])
    Run([*flags, "--trainer.max_epochs", "1", "--model.vit.in_channels", "1"], epoch_lines=False)


def test_a_weight_file_needs_its_architecture_named(model: ViT, tiny_run: list[str], tmp_path: Path) -> None:
    from vit.weights.timm import to_timm

    grey = ViT(ViTConfig.preset("vit_tiny_patch16_224", image_size=32, in_channels=1, num_classes=10))
    torch.save(to_timm(grey.state_dict(), grey.config), tmp_path / "weights.pth")
    data = [
        "--data.source",
        "digits",
        "--output",
        str(tmp_path / "runs"),
        "--model.pretrained",
        str(tmp_path / "weights.pth"),
    ]
    with pytest.raises(ValueError, match=r"does not say its architecture; give it, for instance architecture="):
        Run(data)


def test_a_named_architecture_is_one_to_start_from(tiny_run: list[str], tmp_path: Path) -> None:
    flags = ["--data.source", "digits", "--model.architecture", "vit_tiny_patch16_224", "--output", str(tmp_path)]
    small = ["--model.vit.image_size", "8", "--model.vit.patch_size", "4", "--model.vit.in_channels", "1"]
    run = Run([*flags, *small, "--model.vit.depth", "1"], epoch_lines=False)
    assert isinstance(run.model.network, ViT)
    config = run.model.network.config
    assert (config.embed_dim, config.num_heads, config.depth, config.image_size) == (192, 3, 1, 8)


def test_other_sizes_and_channels_are_adapted(source: str, model: ViT) -> None:
    wanted = dataclasses.replace(CONFIG, image_size=(8, 12), in_channels=1, num_classes=5)
    network, report = pretrained_network(wanted, source, None)
    assert network(torch.zeros(2, 1, 8, 12)).shape == (2, 5)
    assert set(report.resized) == {"tokenizer.pos_embed", "patch_embed.proj.weight"}
    grey = torch.randn(1, 1, 8, 8)
    same_size, _ = pretrained_network(dataclasses.replace(CONFIG, in_channels=1), source, None)
    # a grey image and the same in three equal channels are the same to it
    torch.testing.assert_close(same_size(grey), model(grey.expand(1, 3, 8, 8)))


@pytest.mark.parametrize(
    ("flags", "warned"),
    [
        ([], True),  # the default learning rate is for training from scratch
        (["--model.recipe.learning_rate", "3e-4"], False),
        (["--model.recipe.learning_rate", "4e-4", "--model.tune", "last:2"], True),
        (["--model.tune", "head"], False),
        (["--model.tune", "lora"], False),
    ],
)
def test_a_learning_rate_for_training_from_scratch_is_warned_of(flags: list[str], warned: bool, tuned: Any) -> None:
    sentences = advice(tuned(*flags, train=False).config)
    assert bool(sentences) == warned
    assert all("is one for training from scratch" in sentence for sentence in sentences)


def test_training_from_scratch_is_not_warned_of(tiny_run: list[str], tmp_path: Path) -> None:
    assert advice(Run([*tiny_run, "--output", str(tmp_path)], epoch_lines=False).config) == []


def test_the_weights_are_read_once(tuned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read, glances = list[str](), list[str]()

    def counted(path: Path, shapes_only: bool = False) -> dict[str, Tensor]:
        (glances if shapes_only else read).append(path.name)
        return read_tensors(path, shapes_only)

    monkeypatch.setattr("vit.weights.sources.read_tensors", counted)
    tuned(train=False)
    assert (read, glances) == (["model.safetensors"], ["model.safetensors"])


def test_damaged_weights_are_named_before_any_data_is_loaded(
    tuned: Any, source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def loaded(*_: object, **__: object) -> None:
        raise AssertionError("data was loaded")

    weights = Path(source) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    monkeypatch.setattr(Run, "instantiate_classes", loaded)
    with pytest.raises(ValueError, match=r"model\.safetensors \(\d+ bytes\) is damaged or not a safetensors file"):
        tuned(train=False)
    assert not (tmp_path / "runs").exists()
