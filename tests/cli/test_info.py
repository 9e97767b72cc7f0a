import dataclasses
import json
from pathlib import Path

import pytest
import torch

from vit.cli.info import as_text, run
from vit.nn import Preprocessing, ViT, ViTConfig
from vit.weights import ModelCard, describe, save_model


@pytest.fixture
def folder(tmp_path) -> Path:
    config = ViTConfig.preset("vit_tiny_patch16_224", num_classes=4, image_size=32)
    card = ModelCard(
        config=config,
        classes=("n01", "n02", "n03", "n04"),
        preprocessing=Preprocessing(image_size=(32, 32), mean=(0.5,) * 3, std=(0.25,) * 3, crop_pct=0.875),
        descriptions={"n02": "goldfish"},
        provenance={"command": "vit fit"},
    )
    return save_model(ViT(config), card, tmp_path / "model")


def test_a_folder_is_told_in_lines(folder, capsys):
    assert run([str(folder)]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["architecture"].startswith("vit_tiny_patch16_224 = ")
    assert lines["sizes"] == "192 wide, 12 blocks, 3 heads"
    assert lines["image"] == "3 x 32 x 32 pixels, patches of 16 x 16: 2 x 2 patches and 1 prefix token"
    assert lines["classes"] == "4: n01, goldfish (n02), n03, ..."
    assert lines["preprocessing"] == "resize bicubic to 36, crop the centre 32 x 32, mean 0.5, std 0.25"
    assert lines["parameters"] == "5,488,324"
    assert lines["provenance"] == "command: vit fit"


def test_json_has_the_same(folder, capsys):
    assert run([str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["card"]["classes"] == ["n01", "n02", "n03", "n04"]
    assert told["config"]["embed_dim"] == 192
    assert told["num_parameters"] == 5_488_324
    assert told["gflops"] == 0.054495744


def test_a_file_says_what_it_does_not_know(folder, capsys):
    run([str(folder / "model.safetensors")])
    told = capsys.readouterr().out
    assert "classes        not named in a file of tensors" in told
    assert "preprocessing  not said in a file of tensors" in told


def test_no_code_of_a_file_is_run(tmp_path):
    torch.save({"model": Path("x")}, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=r"odd\.pth holds pathlib\.[\w.]+, which torch does not read"):
        run([str(tmp_path / "odd.pth")])


@pytest.mark.parametrize(
    ("crop_pct", "told"),
    [(1.0, "squash bicubic to 32 x 32, mean"), (0.8, "squash bicubic to 40 x 40, crop the centre 32 x 32, mean")],
)
def test_a_picture_that_is_squashed_is_not_said_to_be_cropped(folder, crop_pct, told):
    description = describe(folder)
    assert description.card is not None
    preprocessing = dataclasses.replace(description.card.preprocessing, crop_mode="squash", crop_pct=crop_pct)
    card = dataclasses.replace(description.card, preprocessing=preprocessing)
    assert f"preprocessing  {told}" in as_text(dataclasses.replace(description, card=card))
