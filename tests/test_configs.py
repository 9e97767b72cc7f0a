"""Every file of configs/ trains, and its header says what it gave."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from vit.train.run import Run, fit
from vit.weights import load_model, read_card

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "configs").glob("*.yaml"))
TWO_STEPS = ["--trainer.max_steps", "2", "--trainer.limit_val_batches", "1", "--trainer.val_check_interval", "2"]
ON_A_CPU = ["--trainer.accelerator", "cpu", "--data.num_workers", "0", "--data.batch_size", "4", "--threads", "1"]


@pytest.fixture
def small_data(request: pytest.FixtureRequest) -> Callable[[str], list[str]]:
    """Flags for a small stand-in of the data of a source."""

    def flags(source: str) -> list[str]:
        if source == "cifar10":
            return ["--data.root", str(request.getfixturevalue("fake_cifar"))]
        if source == "folder":
            make = request.getfixturevalue("folder_of_classes")
            return ["--data.root", str(make({"train": ["cat", "dog", "owl"]}, images=12))]
        assert source == "digits"
        return []

    return flags


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_config_trains_and_leaves_a_model_that_can_be_read(
    config: Path, small_data: Callable[[str], list[str]], tmp_path: Path
) -> None:
    values = yaml.safe_load(config.read_text(encoding="utf-8"))
    data = small_data(values["data"]["source"])
    run = Run(["--config", str(config), *data, *ON_A_CPU, *TWO_STEPS, "--output", str(tmp_path)], epoch_lines=False)
    assert run.folder.name == config.stem
    metrics = fit(run)
    assert run.trainer.global_step == 2
    assert all(torch.isfinite(torch.tensor(value)) for value in metrics.values())
    card = read_card(run.folder / "model")
    assert card.classes == run.datamodule.classes
    assert load_model(run.folder / "model").config.embed_dim == values["model"]["vit"]["embed_dim"]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_configs_header_is_a_lab_note(config: Path) -> None:
    header = [line for line in config.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert any(f"vit fit --config configs/{config.name}" in line for line in header)


def test_there_is_a_config_for_every_kind_of_data() -> None:
    def source(path: Path) -> Any:
        return yaml.safe_load(path.read_text(encoding="utf-8"))["data"]["source"]

    assert {source(path) for path in CONFIGS} >= {"digits", "cifar10", "folder"}
