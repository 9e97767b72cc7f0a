"""Every file of configs/ trains, and its header says what it gave."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from vit.nn import Preprocessing, ViT, ViTConfig
from vit.train.run import Run, fit
from vit.weights import ModelCard, load_model, read_card, save_model

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "configs").glob("*.yaml"))
TWO_STEPS = ["--trainer.max_steps", "2", "--trainer.limit_val_batches", "1", "--trainer.val_check_interval", "2"]
ON_A_CPU = [
    *("--trainer.accelerator", "cpu", "--data.num_workers", "0", "--data.batch_size", "4", "--threads", "1"),
    "--no_compile",
]


@pytest.fixture
def small_data(request: pytest.FixtureRequest) -> Callable[[str], list[str]]:
    """Flags for a small stand-in of the data of a source."""

    def flags(source: str) -> list[str]:
        if source == "cifar10":
            return ["--data.root", str(request.getfixturevalue("fake_cifar")), "--data.val_fraction", "0.1"]
        if source == "folder":
            make = request.getfixturevalue("folder_of_classes")
            return ["--data.root", str(make({"train": ["cat", "dog", "owl"]}, images=12))]
        assert source == "digits"
        return []

    return flags


@pytest.fixture
def small_weights(tmp_path: Path) -> str:
    """A narrow stand-in of pretrained weights, of a thousand classes and 224 pixels."""
    config = ViTConfig(embed_dim=12, depth=1)
    preprocessing = Preprocessing(image_size=(224, 224), mean=(0.5,) * 3, std=(0.5,) * 3)
    card = ModelCard(config=config, classes=tuple(map(str, range(1000))), preprocessing=preprocessing)
    return str(save_model(ViT(config), card, tmp_path / "weights"))


@pytest.mark.slow
@pytest.mark.parametrize("config", [path for path in CONFIGS if "cifar10" in path.stem], ids=lambda path: path.stem)
def test_the_first_steps_of_a_recipe_lower_the_loss_on_real_images(
    config: Path, shared_data: Path, tmp_path: Path
) -> None:
    unpack = [sys.executable, str(shared_data / "unpack_cifar10.py"), str(tmp_path / "cifar")]
    subprocess.run(unpack, check=True, capture_output=True)
    path = Path(__file__).resolve().parents[1] / "scripts" / "first_steps.py"
    spec = importlib.util.spec_from_file_location("first_steps", path)
    assert spec is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)  # pyright: ignore
    first, last = script.ends(script.first_losses(config, tmp_path / "cifar", steps=40, batch_size=16))
    assert last < first


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_config_trains_and_leaves_a_model_that_can_be_read(
    config: Path, small_data: Callable[[str], list[str]], small_weights: str, tmp_path: Path
) -> None:
    values = yaml.safe_load(config.read_text(encoding="utf-8"))
    data = small_data(values["data"]["source"])
    if "pretrained" in values["model"]:
        data += ["--model.pretrained", small_weights]
    run = Run(["--config", str(config), *data, *ON_A_CPU, *TWO_STEPS, "--output", str(tmp_path)], epoch_lines=False)
    assert run.folder.name == config.stem
    metrics = fit(run)
    assert run.trainer.global_step == 2
    assert all(torch.isfinite(torch.tensor(value)) for value in metrics.values())
    torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)  # plain values, whatever is configured
    card = read_card(run.folder / "model")
    assert card.classes == run.datamodule.classes
    assert load_model(run.folder / "model").config.embed_dim == values["model"].get("vit", {}).get("embed_dim", 12)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_configs_header_is_a_lab_note(config: Path) -> None:
    header = [line for line in config.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert any(f"vit fit --config configs/{config.name}" in line for line in header)


def test_there_is_a_config_for_every_kind_of_data() -> None:
    def source(path: Path) -> Any:
        return yaml.safe_load(path.read_text(encoding="utf-8"))["data"]["source"]

    assert {source(path) for path in CONFIGS} >= {"digits", "cifar10", "folder"}
