"""Every file gets its own answer, in order, whatever its neighbours are."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from vit.nn import Preprocessing, ViT, ViTConfig
from vit.predict import Failure, Prediction, Predictor, find_images
from vit.weights import ModelCard, save_model

WriteImage = Callable[..., str]


def predictor(num_classes: int = 7, descriptions: dict[str, str] | None = None) -> Predictor:
    config = ViTConfig(
        image_size=8, patch_size=4, embed_dim=12, depth=2, num_heads=3, num_classes=num_classes, init="xavier"
    )
    card = ModelCard(
        config=config,
        classes=tuple("abcdefghijk"[:num_classes]),
        preprocessing=Preprocessing(image_size=(8, 8), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5)),
        descriptions=descriptions or {},
    )
    return Predictor(ViT(config), card)


def written(write_image: WriteImage, count: int) -> list[str]:
    return [write_image(f"{number}.png", (11, 9), seed=number) for number in range(count)]


def test_probabilities_are_those_of_the_model_by_hand(write_image: WriteImage) -> None:
    ours = predictor()
    path = write_image("a.png", (8, 8))
    pixels = torch.tensor(np.array(Image.open(path))).permute(2, 0, 1) / 255
    mean, std = torch.tensor([0.5, 0.4, 0.3]).reshape(3, 1, 1), torch.tensor([0.2, 0.25, 0.5]).reshape(3, 1, 1)
    with torch.no_grad():
        expected = ours.model(((pixels - mean) / std)[None])[0].softmax(dim=0)
    (answer,) = ours.predict([path], top_k=7)
    assert isinstance(answer, Prediction)
    assert answer.classes == tuple("abcdefg"[i] for i in expected.argsort(descending=True))
    assert_close(torch.tensor(answer.probabilities), expected.sort(descending=True).values)
    assert sum(answer.probabilities) == pytest.approx(1.0)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_a_bad_file_never_gets_its_neighbours_prediction(
    batch_size: int, write_image: WriteImage, tmp_path: Path
) -> None:
    ours = predictor()
    good = written(write_image, 5)
    alone = {path: next(iter(ours.predict([path]))) for path in good}
    (tmp_path / "broken.png").write_bytes(b"no image")
    broken, missing = str(tmp_path / "broken.png"), str(tmp_path / "missing.png")
    paths = [broken, good[0], good[1], missing, broken, good[2], good[3], good[4], missing]
    answers = list(ours.predict(paths, batch_size=batch_size))
    assert [answer.path for answer in answers] == paths
    for path, answer in zip(paths, answers, strict=True):
        if path in alone:
            assert isinstance(answer, Prediction)
            assert answer.classes == alone[path].classes  # pyright: ignore
            assert answer.probabilities == pytest.approx(alone[path].probabilities, abs=1e-6)  # pyright: ignore  # batching
        else:
            assert isinstance(answer, Failure)
            assert path in answer.reason


def test_a_batch_of_bad_files_alone_is_answered_too(tmp_path: Path) -> None:
    answers = list(predictor().predict([str(tmp_path / "x"), str(tmp_path / "y")], batch_size=1))
    assert [type(answer) for answer in answers] == [Failure, Failure]
    assert answers[0].reason == f"{tmp_path / 'x'}: No such file or directory."  # pyright: ignore


def test_answers_come_as_soon_as_their_batch_is_done(write_image: WriteImage) -> None:
    taken: list[str] = []

    def paths() -> object:
        for path in written(write_image, 5):
            taken.append(path)
            yield path

    answers = predictor().predict(paths(), batch_size=2)  # pyright: ignore
    next(answers)
    assert len(taken) == 2


def test_more_classes_than_there_are_gives_all(write_image: WriteImage) -> None:
    (answer,) = predictor(num_classes=2).predict([write_image("a.png")], top_k=5)
    assert sorted(answer.classes) == ["a", "b"]  # pyright: ignore


def test_a_class_is_shown_with_its_description(write_image: WriteImage) -> None:
    (answer,) = predictor(num_classes=1, descriptions={"a": "an aardvark"}).predict([write_image("a.png")])
    assert answer.classes == ("an aardvark (a)",)  # pyright: ignore


def test_a_model_of_one_channel_reads_colours_as_greys(finished_run: object, write_image: WriteImage) -> None:
    answers = list(Predictor.load(finished_run.model).predict([write_image("a.png", (30, 20), "RGBA")]))  # pyright: ignore
    assert isinstance(answers[0], Prediction)
    assert set(answers[0].classes) <= set("0123456789")


def test_a_model_comes_back_from_its_folder(write_image: WriteImage, tmp_path: Path) -> None:
    ours, path = predictor(), write_image("a.png")
    save_model(ours.model, ours.card, tmp_path / "model")
    again = Predictor.load(tmp_path / "model")
    (first,), (second,) = again.predict([path]), ours.predict([path])
    assert first.classes == second.classes  # pyright: ignore
    # weights mapped from a file lie elsewhere in memory, and kernels add in another order
    assert first.probabilities == pytest.approx(second.probabilities, abs=1e-6)  # pyright: ignore
    assert not again.model.training


def test_a_device_that_is_not_here_is_explained(tmp_path: Path) -> None:
    ours = predictor()
    save_model(ours.model, ours.card, tmp_path / "model")
    for device in ("abacus", "cuda:97"):
        with pytest.raises(ValueError, match=rf"device='{device}' does not work here: .*; cpu always does\."):
            Predictor.load(tmp_path / "model", device)


def test_a_checkpoint_is_answered_with_the_folder_to_name(tmp_path: Path) -> None:
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    with pytest.raises(
        ValueError, match=r"last\.ckpt is a file, which knows neither class names .* runs/NAME/model\.$"
    ):
        Predictor.load(checkpoint)
    (tmp_path / "run" / "model").mkdir()
    with pytest.raises(ValueError, match=r"That of this run is .*/run/model\.$"):
        Predictor.load(checkpoint)


def test_files_folders_and_patterns_are_found_in_natural_order(write_image: WriteImage, tmp_path: Path) -> None:
    for name in ("d/10.png", "d/9.jpg", "d/deep/1.bmp", "e/a.png", "e/b.png"):
        write_image(name)
    (tmp_path / "d" / "notes.txt").touch()
    found = find_images([str(tmp_path / "e" / "*.png"), str(tmp_path / "d")])
    assert [Path(path).name for path in found] == ["a.png", "b.png", "9.jpg", "10.png", "1.bmp"]


def test_a_named_file_is_taken_whatever_its_name(write_image: WriteImage, tmp_path: Path) -> None:
    odd = write_image("a[1]*.png")
    Path(odd).rename(tmp_path / "photo[1].dat")
    assert find_images([str(tmp_path / "photo[1].dat"), "missing.png"]) == [
        str(tmp_path / "photo[1].dat"),
        "missing.png",
    ]


def test_an_empty_folder_or_pattern_is_an_error(tmp_path: Path) -> None:
    for given in (str(tmp_path), str(tmp_path / "*.png")):
        with pytest.raises(FileNotFoundError, match="no image found in "):
            find_images([given])


def test_every_nasty_file_is_answered_once_and_none_disturbs_the_others(shared_data: Path) -> None:
    ours = predictor()
    paths = [str(path) for path in sorted((shared_data / "nasty-images").iterdir()) if path.name != "manifest.csv"]
    answers = list(ours.predict(paths, batch_size=7))
    assert [answer.path for answer in answers] == paths
    for path, answer in list(zip(paths, answers, strict=True))[::4]:
        (alone,) = ours.predict([path])
        assert type(answer) is type(alone)
        if isinstance(alone, Prediction) and isinstance(answer, Prediction):
            assert answer.probabilities == pytest.approx(alone.probabilities, abs=1e-5)  # sums in another order
    assert sum(isinstance(answer, Prediction) for answer in answers) >= 30


def test_a_pretrained_model_names_what_is_on_photographs(shared_data: Path) -> None:
    photographs = shared_data / "imagenet-sample"
    with (photographs / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # ../shared/data/README.md: timm with these weights has 208 of the 250 right
    wanted = rows[:: len(rows) // 10][:10]
    model = Predictor.load(shared_data / "weights" / "vit_tiny_patch16_224")
    answers = list(model.predict([str(photographs / row["file"]) for row in wanted], top_k=1))
    right = [row["wnid"] in answer.classes[0] for row, answer in zip(wanted, answers, strict=True)]  # pyright: ignore
    assert sum(right) >= 7
