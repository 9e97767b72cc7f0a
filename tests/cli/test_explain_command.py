"""`vit explain`: every kind of picture, several methods and classes, arrays, and what it says to wrong input."""

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vit.cli import main
from vit.cli.explain_settings import class_index
from vit.explain import explain
from vit.nn import Preprocessing, ViTConfig
from vit.predict import Predictor
from vit.weights import ModelCard

WriteImage = Callable[..., str]


@pytest.fixture
def draw(
    finished_run: Any, write_image: WriteImage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[str], str]]:
    """Explain one digit, or the images that are given; exit code, names of what was written, and stderr."""

    def call(*flags: str, images: list[str] | None = None) -> tuple[int, list[str], str]:
        given = [write_image("digit.png", (8, 8), "L")] if images is None else images
        code = main(["explain", *given, "--model", finished_run.model, "--output", str(tmp_path / "maps"), *flags])
        captured = capsys.readouterr()
        return code, [Path(line).name for line in captured.out.splitlines()], captured.err

    return call


Draw = Callable[..., tuple[int, list[str], str]]


@pytest.mark.parametrize(
    ("flags", "written"),
    [
        ([], ["digit.rollout.png"]),
        (["--overlay"], ["digit.rollout.png"]),
        (["--method", "rollout", "chefer"], ["digit.rollout-chefer.png"]),
        (["--method", "rollout", "chefer", "raw", "attention_gradcam"], ["digit.4-methods.png"]),
        (["--method", "chefer", "--top-k", "3"], ["digit.chefer.png"]),
        (["--heads", "--npy"], ["digit.heads.png", "digit.heads.npy"]),
        (["--growth"], ["digit.growth.png", "digit.growth.gif"]),
        (["--growth", "--film", "webp"], ["digit.growth.png", "digit.growth.webp"]),
        (["--html"], ["digit.attention.html"]),
        (["--xray"], ["xray.png"]),
        (["--xray", "--overlay"], ["xray.png", "digit.rollout.png"]),
        (["--npy"], ["digit.rollout.png", "digit.rollout.npy"]),
    ],
)
def test_each_kind_is_written_and_its_files_are_named(
    flags: list[str], written: list[str], draw: Draw, tmp_path: Path
) -> None:
    code, printed, errors = draw(*flags)
    assert (code, errors) == (0, "")
    assert printed == written
    besides = {name.replace(".npy", ".json") for name in written if name.endswith(".npy")}
    assert {path.name for path in (tmp_path / "maps").iterdir()} == {*written, *besides}
    for name in written:
        if name.endswith((".png", ".gif", ".webp")):
            with Image.open(tmp_path / "maps" / name) as picture:
                assert min(picture.size) > 250


def test_arrays_are_the_maps_and_say_of_what(draw: Draw, finished_run: Any, tmp_path: Path) -> None:
    draw("--method", "chefer", "--target", "7", "2", "--npy")
    numbers = np.load(tmp_path / "maps" / "digit.chefer.npy")
    about = json.loads((tmp_path / "maps" / "digit.chefer.json").read_text())
    predictor = Predictor.load(finished_run.model)
    images = predictor.images([predictor.read(str(tmp_path / "digit.png"))])
    for row, target in enumerate((7, 2)):
        expected = explain(predictor.model, images, "chefer", target).maps[0]
        np.testing.assert_allclose(numbers[row], expected, rtol=1e-5, atol=1e-8)
    assert [each["class"] for each in about["classes"]] == ["7", "2"]
    assert about["class_specific"] is True
    assert about["method"] == "chefer"
    assert about["shape"] == list(numbers.shape)
    assert about["greatest"] == pytest.approx(numbers.max())


def test_settings_reach_the_methods_that_have_them(draw: Draw, tmp_path: Path) -> None:
    draw("--method", "rollout", "raw", "--residual", "0.25", "--layer", "0", "--head", "1", "--npy")
    described = {
        name: json.loads((tmp_path / "maps" / f"digit.{name}.json").read_text())["described"]
        for name in ("rollout", "raw")
    }
    assert "residual=0.25" in described["rollout"]
    assert "layer=0" in described["raw"]
    assert "head=1" in described["raw"]
    assert "residual" not in described["raw"]


def test_a_shared_scale_gives_images_the_same_colours(
    draw: Draw, write_image: WriteImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vit.cli import explain_draw

    seen: list[Any] = []
    original = explain_draw.draw
    monkeypatch.setattr(explain_draw, "draw", lambda *args: (seen.append(args[1][0][0]), original(*args))[1])
    images = [write_image(f"{seed}.png", (8, 8), "L", seed) for seed in range(3)]
    draw(images=images)
    own = [one.scale.greatest for one in seen]
    assert len(set(own)) == 3
    seen.clear()
    draw("--shared-scale", images=images)
    assert {one.scale.greatest for one in seen} == {max(own)}
    assert {one.scope for one in seen} == {"one scale for all 3 maps"}


def test_a_shared_scale_is_of_each_methods_own_maps(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    from vit.cli import explain_draw

    rows: list[list[Any]] = []
    original = explain_draw.draw
    monkeypatch.setattr(explain_draw, "draw", lambda *args: (rows.extend(args[1]), original(*args))[1])
    draw("--method", "rollout", "chefer", "--top-k", "3", "--shared-scale")
    assert [[one.scope for one in row] for row in rows] == [["own scale"], ["one scale for all 3 maps"] * 3]
    assert len({one.scale for one in rows[1]}) == 1
    assert rows[1][0].scale.greatest == pytest.approx(max(float(one.scores.max()) for one in rows[1]))


def test_many_images_get_a_page_that_shows_them_all(draw: Draw, write_image: WriteImage, tmp_path: Path) -> None:
    images = [write_image(name, (8, 8), "L") for name in ("a & <b>.png", "what? #1.png")]
    code, printed, _ = draw("--overlay", "--html", images=images)
    assert code == 0
    assert printed[-1] == "index.html"
    from urllib.parse import unquote

    class Links(HTMLParser):
        found: list[str]

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.found += [value or "" for name, value in attrs if name in {"href", "src"}]

    links = Links()
    links.found = []
    page = (tmp_path / "maps" / "index.html").read_text()
    links.feed(page)
    assert {Path(unquote(link)).name for link in links.found} == set(printed[:-1])
    assert all((tmp_path / "maps" / unquote(link)).is_file() for link in links.found)
    assert "<b>" not in page


def test_a_bad_file_is_named_once_and_the_others_are_drawn(draw: Draw, write_image: WriteImage, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    code, printed, errors = draw(
        "--xray", "--overlay", images=[str(tmp_path / "bad.png"), write_image("good.png", (8, 8), "L")]
    )
    assert code == 1
    assert printed == ["xray.png", "good.rollout.png"]
    assert errors == f"error: {tmp_path / 'bad.png'}: not an image, or damaged beyond recognition.\n"


def test_where_no_file_can_be_read_nothing_is_written(draw: Draw, tmp_path: Path) -> None:
    code, printed, _ = draw("--xray", "--overlay", "--shared-scale", images=[str(tmp_path / "missing.png")])
    assert (code, printed) == (2, [])
    assert not (tmp_path / "maps").exists()


def test_drawn_again_our_own_files_are_replaced(draw: Draw, tmp_path: Path) -> None:
    flags = ["--overlay", "--heads", "--growth", "--html", "--xray", "--npy"]
    assert draw(*flags)[0] == 0
    first = (tmp_path / "maps" / "digit.rollout.png").read_bytes()
    assert draw(*flags, "--opacity", "0.2")[0] == 0
    assert (tmp_path / "maps" / "digit.rollout.png").read_bytes() != first


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("digit.rollout.png", []),
        ("digit.rollout.npy", ["--npy"]),
        ("digit.rollout.json", ["--npy"]),
        ("digit.attention.html", ["--html"]),
        ("digit.growth.gif", ["--growth"]),
        ("xray.png", ["--xray"]),
    ],
)
def test_nobody_elses_file_is_overwritten(name: str, flags: list[str], draw: Draw, tmp_path: Path) -> None:
    theirs = tmp_path / "maps" / name
    theirs.parent.mkdir()
    theirs.write_bytes(b"a year of work")
    code, printed, errors = draw(*flags)
    assert (code, printed) == (2, [])
    assert errors == f"error: {theirs} is there already and was not drawn by vit explain; name another --output.\n"
    assert theirs.read_bytes() == b"a year of work"
    assert len(list(theirs.parent.iterdir())) == 1


def test_what_was_drawn_is_not_explained_when_its_folder_is_searched(
    draw: Draw, write_image: WriteImage, tmp_path: Path
) -> None:
    write_image("photos/1.png", (8, 8), "L")
    flags = ["--output", str(tmp_path / "photos")]
    for into in (flags, flags, []):
        code, printed, _ = draw(*into, images=[str(tmp_path / "photos")])
        assert (code, printed) == (0, ["1.rollout.png"])
    code, _, errors = draw(*flags, images=[str(tmp_path / "photos" / "1.rollout.png")])
    assert code == 2
    assert "these images were all drawn by vit explain" in errors


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--method", "rolout"], "there is no method 'rolout'; did you mean 'rollout'?"),
        (["--method", "chefer", "--target", "eleven"], "there is no class 'eleven'; known are: 0, 1, 2"),
        (["--method", "chefer", "--target", "10"], "--target 10 is not one of the 10 classes, 0 to 9."),
        (["--target", "3"], "a class changes nothing in rollout, the same for all; methods of a class: chefer"),
        (["--heads", "--top-k", "2"], "--top-k changes nothing here; it is for --overlay."),
        (["--method", "chefer", "--target", "3", "--top-k", "2"], "--target names classes and --top-k takes the lik"),
        (["--method", "chefer", "--top-k", "0"], "--top-k 0 must be at least 1."),
        (["--method", "chefer", "--residual", "0.2"], "--residual is no setting of chefer, but of rollout, flow."),
        (["--method", "raw", "--layer", "2"], "layer=2 is not one of the 2 layers"),
        (["--method", "raw", "--head", "9"], "head=9 is not one of the 2 heads"),
        (["--growth", "--start-layer", "2"], "start_layer=2 is not one of the 2 layers, 0 to 1."),
        (["--head-fusion", "sum"], "head_fusion=sum is not of its type"),
        (["--heads", "--residual", "0.2"], "--residual is for --overlay: a setting of"),
        (["--heads", "--method", "chefer"], "--method changes nothing here; it is for --overlay or --evaluate."),
        (["--html", "--shared-scale"], "--shared-scale changes nothing here; it is for --overlay or --heads."),
        (["--labels", "x.csv"], "--labels changes nothing here; it is for --evaluate."),
        (["--fills", "drop"], "--fills changes nothing here; it is for --evaluate."),
        (["--film", "webp"], "--film changes nothing here; it is for --growth."),
        (["--xray", "--opacity", "0.5"], "--opacity changes nothing here; it is for --overlay or --growth."),
        (["--opacity", "7"], "opacity=7.0 must be from 0 (only the picture) to 1 (only the map)."),
        (["--film", "avi"], "film=avi is not of its type; expected one of 'gif', 'webp'."),
        (["--xray", "--npy"], "--npy writes the numbers of --overlay, --heads and --growth"),
        (["--hedas"], "there is no flag --hedas; did you mean '--heads'?"),
    ],
)
def test_wrong_use_is_one_line_and_nothing_is_written(
    flags: list[str], sentence: str, draw: Draw, tmp_path: Path
) -> None:
    code, printed, errors = draw(*flags)
    assert (code, printed) == (2, [])
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert sentence in errors
    assert not (tmp_path / "maps").exists()


def test_a_method_whose_package_is_missing_is_answered_with_how_to_get_it(
    draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vit.cli.explain_flags.find_spec", lambda name: None)
    code, _, errors = draw("--method", "rollout", "occlusion")
    assert code == 2
    assert errors == "error: --method occlusion needs captum, which is missing: pip install 'plain-vit[captum]'.\n"


def test_images_after_a_flag_that_takes_all_words_are_told_where_to_stand(
    finished_run: Any, write_image: WriteImage, capsys: pytest.CaptureFixture[str]
) -> None:
    digit = write_image("digit.png", (8, 8), "L")
    assert main(["explain", "--model", finished_run.model, "--method", "rollout", digit]) == 2
    assert capsys.readouterr().err == (
        "error: no images: --method takes all words up to the next flag, so images come first, as in "
        "`vit explain IMAGES --model MODEL --method ...`.\n"
    )
    assert main(["explain", "--method", "rollout"]) == 2
    assert "missing: images, --model" in capsys.readouterr().err


def test_a_folder_without_images_is_refused(draw: Draw, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, errors = draw(images=[str(tmp_path / "empty")])
    assert (code, errors) == (2, f"error: no image found in {tmp_path / 'empty'}.\n")


def card() -> ModelCard:
    classes = ("n02012849", "n03126707", "n02123045", "5")
    return ModelCard(
        config=ViTConfig(image_size=4, patch_size=2, embed_dim=4, depth=1, num_heads=1, num_classes=4),
        classes=classes,
        preprocessing=Preprocessing(image_size=(4, 4), mean=(0.5,) * 3, std=(0.5,) * 3),
        descriptions={"n02012849": "crane", "n03126707": "crane", "n02123045": "tabby cat"},
    )


@pytest.mark.parametrize(
    ("wanted", "index"),
    [("n02012849", 0), ("tabby cat", 2), ("tabby cat (n02123045)", 2), ("1", 1), ("5", 3), ("crane (n03126707)", 1)],
)
def test_a_class_is_found_by_name_meaning_and_number(wanted: str, index: int) -> None:
    assert class_index(card(), wanted) == index


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ("crane", r"2 classes are called 'crane': 0 \(n02012849\) and 1 \(n03126707\); --target takes those, too."),
        ("tabby", "there is no class 'tabby'; did you mean 'tabby cat'?"),
        ("4", "--target 4 is not one of the 4 classes, 0 to 3."),
        ("-1", "--target -1 is not one of the 4 classes"),
    ],
)
def test_a_class_that_is_not_there_is_answered_with_what_is(wanted: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace("?", r"\?")):
        class_index(card(), wanted)
