"""Published weights are found in the cache of the hub, which the tests fill themselves; nothing is downloaded."""

import json
from pathlib import Path
from urllib.error import URLError

import pytest
import timm
import torch
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError
from safetensors.torch import save_file

from vit.weights import load, parity
from vit.weights.description import describe
from vit.weights.sources import glance


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, and no network."""
    for owner in ("huggingface_hub.constants", "huggingface_hub.file_download", "huggingface_hub._snapshot_download"):
        monkeypatch.setattr(f"{owner}.HF_HUB_CACHE", str(tmp_path), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def publish(cache: Path, repository: str, tensors: dict[str, torch.Tensor], card: dict) -> None:
    """Lay files where the hub's client lays what it has downloaded."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0123abc")
    save_file(tensors, snapshot / "model.safetensors")
    (snapshot / "config.json").write_text(json.dumps(card))


@pytest.fixture
def theirs() -> torch.nn.Module:
    return timm.create_model("vit_tiny_patch16_224").eval()


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_tiny_patch16_224.augreg_in21k_ft_in1k"])
def test_a_model_of_timm_is_loaded_by_its_name(cache, theirs, name):
    publish(cache, "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", theirs.state_dict(), {})
    loaded = load(f"timm/{name}")
    images = torch.randn(1, 3, 224, 224)
    torch.testing.assert_close(loaded.model(images), theirs(images), rtol=1e-5, atol=1e-5)  # float32, 12 blocks
    assert loaded.card is not None
    assert loaded.card.preprocessing.crop_pct == 0.9
    assert loaded.card.label(1) == "goldfish, Carassius auratus (n01443537)"
    assert loaded.card.provenance["tag"] == "augreg_in21k_ft_in1k"


def test_parity_holds_with_published_weights_too(cache, theirs):
    publish(cache, "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", theirs.state_dict(), {})
    assert all(result.holds for result in parity("timm/vit_tiny_patch16_224", pretrained=True))


def test_a_repository_in_timms_layout_is_loaded(cache, theirs):
    card = {"architecture": "vit_tiny_patch16_224", "num_classes": 1000, "pretrained_cfg": theirs.pretrained_cfg}
    publish(cache, "somebody/vit", theirs.state_dict(), card)
    images = torch.randn(1, 3, 224, 224)
    ours = load("hf-hub:somebody/vit").model
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)  # float32, 12 blocks


@pytest.mark.parametrize("source", ["timm/vit_tiny_patch16_224", "hf-hub:somebody/vit"])
def test_what_is_not_in_the_cache_is_explained_with_the_way_to_get_it_offline(source):
    with pytest.raises(
        FileNotFoundError, match=r"not in the cache and cannot be downloaded.*hf download \S+/\S+ --loc"
    ):
        load(source)


@pytest.mark.parametrize("look", [load, glance])
@pytest.mark.parametrize("source", ["timm/vit_tiny_patch16_224", "hf-hub:somebody/vit"])
def test_a_hub_that_cannot_be_reached_is_asked_once_and_not_waited_for(source, look, monkeypatch, capsys):
    def waits(_seconds):
        raise AssertionError("waited, to ask again")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")  # where nobody listens
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", waits)
    with pytest.raises(FileNotFoundError, match=r"not in the cache and cannot be downloaded \(.*Connect.*\)\."):
        look(source)
    assert capsys.readouterr().err == f"{source} is not in the cache; asking the Hugging Face hub for it\n"


class RunsCode:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize("source", ["timm/vit_tiny_patch16_224", "hf-hub:somebody/vit"])
def test_code_in_published_weights_is_not_run_by_timm_or_by_us(cache, theirs, source):
    repository = {"t": "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", "h": "somebody/vit"}[source[0]]
    card = {"architecture": "vit_tiny_patch16_224", "num_classes": 1000, "pretrained_cfg": theirs.pretrained_cfg}
    publish(cache, repository, {}, card)
    (snapshot,) = cache.glob("models--*/snapshots/*")
    (snapshot / "model.safetensors").unlink()
    torch.save({**theirs.state_dict(), "beside": RunsCode(cache / "ran")}, snapshot / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"(hold more than tensors|holds getattr, which torch does not read).* code"):
        load(source)
    assert not (cache / "ran").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("content", [b"", b"no weights at all", b"\x10" + bytes(7) + b"{}"])
def test_damaged_weights_of_timm_are_one_sentence(cache, name, content):
    publish(cache, "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", {}, {})
    (snapshot,) = cache.glob("models--*/snapshots/*")
    (snapshot / "model.safetensors").unlink()
    (snapshot / name).write_bytes(content)
    with pytest.raises(
        ValueError, match=r"the weights of timm/vit_tiny_patch16_224 are damaged or no weights \(\S.*\)"
    ):
        load("timm/vit_tiny_patch16_224")


def test_a_glance_at_a_model_of_timm_finds_its_weights_under_either_name(cache, theirs):
    with pytest.raises(FileNotFoundError, match="not in the cache and cannot be downloaded"):
        glance("timm/vit_tiny_patch16_224")
    publish(cache, "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", {}, {})
    assert glance("timm/vit_tiny_patch16_224")[0].embed_dim == 192
    (snapshot,) = cache.glob("models--*/snapshots/*")
    (snapshot / "model.safetensors").rename(snapshot / "pytorch_model.bin")
    config, card = glance("timm/vit_tiny_patch16_224")
    assert (config.depth, card and card.preprocessing.crop_pct) == (12, 0.9)


def test_weights_that_timm_does_not_have_are_refused_with_those_that_it_has():
    with pytest.raises(
        ValueError, match=r"no pretrained weights called 'vit_tiny_patch16_224.nope'; it has vit_tiny_pat"
    ):
        load("timm/vit_tiny_patch16_224.nope")


def test_a_model_of_timm_that_is_no_plain_vit_is_refused_before_any_download():
    with pytest.raises(ValueError, match="resnet50 is not a plain ViT"):
        load("timm/resnet50")


def test_a_name_that_is_no_repository_is_refused():
    with pytest.raises(ValueError, match="hf-hub:OWNER/REPO is"):
        load("hf-hub:a/b/c")


def test_parity_with_weights_that_are_not_there_says_how_to_get_them():
    with pytest.raises(FileNotFoundError, match=r"cannot be downloaded.*hf download timm/vit_tiny\S+ --local-dir"):
        parity("timm/vit_tiny_patch16_224", pretrained=True)


def test_a_name_of_timms_is_described_without_a_download():
    description = describe("timm/vit_tiny_patch16_224")
    assert description.num_parameters == 5_717_416
    assert description.architectures[0] == "vit_tiny_patch16_224"
    assert description.card is not None
    assert description.card.preprocessing.crop_pct == 0.9
    assert description.weights == "not downloaded"


def test_a_repository_is_described_from_the_cache(cache, theirs):
    card = {"architecture": "vit_tiny_patch16_224", "num_classes": 1000, "pretrained_cfg": theirs.pretrained_cfg}
    publish(cache, "somebody/vit", theirs.state_dict(), card)
    assert describe("hf-hub:somebody/vit").num_parameters == 5_717_416


def test_torchvisions_weights_without_a_network_are_explained(monkeypatch):
    def unreachable(*_args, **_kwargs):
        raise URLError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    with pytest.raises(FileNotFoundError, match=r"cannot be downloaded \(no network\).*download https://\S+vit_b_16"):
        parity("torchvision/vit_b_16", pretrained=True)


@pytest.mark.parametrize("source", ["timm/vit_tiny_patch16_224", "hf-hub:somebody/vit"])
def test_a_network_that_breaks_off_half_way_is_a_sentence(source, monkeypatch):
    of_the_client = HfHubHTTPError.__bases__[0]  # what timeouts are, too, by whichever library

    def breaks_off(*_args, **_kwargs):
        raise of_the_client("The read operation timed out")

    monkeypatch.setattr("huggingface_hub.snapshot_download", breaks_off)
    with pytest.raises(FileNotFoundError, match=r"cannot be downloaded \(The read operation timed out\).*hf download "):
        load(source)
