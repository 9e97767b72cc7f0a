"""Files that are not what their name says are refused in one line, and no file runs code."""

import argparse
import contextlib
import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vit.weights.files import read_tensors

TENSORS = {"norm.weight": torch.tensor([1.0, 2.0, 3.0]), "head.bias": torch.zeros(2, 5)}


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


@pytest.fixture(params=[".safetensors", ".pth", ".npz"])
def whole_file(request, tmp_path: Path) -> Path:
    path = tmp_path / f"weights{request.param}"
    if request.param == ".safetensors":
        save_file(TENSORS, path)
    elif request.param == ".pth":
        torch.save(TENSORS, path)
    else:
        np.savez(path, **{name: tensor.numpy() for name, tensor in TENSORS.items()})
    return path


def test_every_kind_of_file_gives_the_same_tensors(whole_file):
    tensors = read_tensors(whole_file)
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor, TENSORS[name], rtol=0, atol=0)  # nothing is computed


def test_shapes_come_without_values(whole_file):
    shapes = read_tensors(whole_file, shapes_only=True)
    assert {name: (tensor.shape, tensor.dtype, tensor.device.type) for name, tensor in shapes.items()} == {
        name: (tensor.shape, tensor.dtype, "meta") for name, tensor in TENSORS.items()
    }


@pytest.mark.parametrize("shapes_only", [False, True])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.95])
def test_a_truncated_file_is_damaged(whole_file, share, shapes_only):
    content = whole_file.read_bytes()
    whole_file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=rf"{whole_file.name} \(\d+ bytes\) is damaged or not a "):
        read_tensors(whole_file, shapes_only)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"\n<!DOCTYPE html><html>not found</html>", r"\(\d+ bytes\) is a web page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
            r"Git LFS pointer, not weights; `git lfs pull`",
        ),
        (b"\x00\x01\x02 noise", "is damaged or not a"),
    ],
)
def test_what_is_no_weights_is_said_to_be_what_it_is(whole_file, content, what):
    whole_file.write_bytes(content)
    with pytest.raises(ValueError, match=what):
        read_tensors(whole_file)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth does not exist"):
        read_tensors(tmp_path / "nowhere.pth")


def test_a_suffix_that_is_not_read_is_named_with_those_that_are(tmp_path):
    (tmp_path / "weights.h5").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"\.safetensors, \.pth, \.pt, \.bin, \.tar, \.ckpt, \.npz, \.json are"):
        read_tensors(tmp_path / "weights.h5")


@pytest.mark.parametrize("protocol", ["torch", "pickle"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    if protocol == "torch":
        torch.save({"state_dict": TENSORS, "extra": Bomb()}, "bomb.pth")
    else:
        Path("bomb.pth").write_bytes(pickle.dumps(Bomb(), protocol=2))
    with pytest.raises(ValueError, match=r"bomb\.pth holds getattr, which torch does not read .* as safetensors"):
        read_tensors(Path("bomb.pth"))
    assert not Path("exploded").exists()


@pytest.mark.parametrize("shapes_only", [False, True])
def test_a_numpy_file_of_objects_is_refused(tmp_path, shapes_only):
    np.savez(tmp_path / "objects.npz", a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(ValueError, match="pickled objects in it"):
        read_tensors(tmp_path / "objects.npz", shapes_only)


def test_the_command_line_that_dino_and_mae_keep_beside_their_tensors_does_no_harm(tmp_path):
    torch.save({"model": TENSORS, "epoch": 3, "args": argparse.Namespace(lr=0.1)}, tmp_path / "dino.pth")
    assert read_tensors(tmp_path / "dino.pth").keys() == {f"model.{name}" for name in TENSORS}


def test_the_bfloat16_of_big_vision_is_read(tmp_path):
    values = torch.tensor([1.5, -2.0]).bfloat16()
    np.savez(tmp_path / "big.npz", a=values.view(torch.int16).numpy().view("V2"))
    torch.testing.assert_close(read_tensors(tmp_path / "big.npz")["a"], values)
    assert read_tensors(tmp_path / "big.npz", shapes_only=True)["a"].dtype == torch.bfloat16


def test_a_file_without_tensors_says_so(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    with pytest.raises(ValueError, match="has no tensors in it"):
        read_tensors(tmp_path / "none.pth")


@pytest.mark.parametrize(
    ("beside", "named"),
    [
        (Path("x"), r"pathlib\.[\w.]+"),
        (np.float64(1), r"numpy\.\S+scalar"),
        (torch.nn.Linear(2, 3), r"torch\.nn\S+Linear"),
    ],
    ids=["path", "number", "module"],
)
def test_what_is_refused_is_named(tmp_path, beside, named):
    torch.save({"model": TENSORS, "beside": beside}, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=rf"holds {named}, which torch does not read"):
        read_tensors(tmp_path / "odd.pth")


@pytest.mark.parametrize(
    ("content", "begins"),
    [
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{}", "like safetensors"),
        (pickle.dumps({"a": 1}, protocol=4)[:-1], "like a pickle"),
        (b"\x07\x01\x02\x03 noise", "with the bytes 07 01 02 03"),
        (b"eleven words of a text", "with the bytes 65 6c 65 76"),
        (b"PK\x03\x04" + bytes(200), "like a zip archive, as torch and numpy write them, and its end is missing"),
    ],
)
def test_nobody_is_told_to_read_a_damaged_file_unsafely(tmp_path, content, begins):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(ValueError, match=rf"is damaged or not a torch file \(it begins {begins}\)") as error:
        read_tensors(tmp_path / "weights.pth")
    assert "weights_only" not in str(error.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.torch.jit:FutureWarning")
def test_a_program_of_torchscript_is_not_run(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 3)), tmp_path / "program.pt")
    with pytest.raises(ValueError, match=r"program\.pt is a TorchScript program, which is not run"):
        read_tensors(tmp_path / "program.pt")


@pytest.mark.parametrize("kind", ["old.pth", "packed.npz"])
@pytest.mark.parametrize("shapes_only", [False, True])
def test_no_damage_ends_in_another_error(tmp_path, kind, shapes_only):
    path = tmp_path / kind
    if kind == "old.pth":
        torch.save(TENSORS, path, _use_new_zipfile_serialization=False)
    else:
        np.savez_compressed(path, a=np.arange(300.0))
    content = path.read_bytes()
    for place in range(0, len(content), 3):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        refused(path, shapes_only)
        path.write_bytes(content[: place + 1])
        refused(path, shapes_only)


def refused(path: Path, shapes_only: bool) -> None:
    """Read it: only a `ValueError` may come of it, or nothing where the damage does not show."""
    with contextlib.suppress(ValueError):
        read_tensors(path, shapes_only)


def safetensors_file(header, data: bytes, length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def number(*offsets: int, shape=(2,)) -> dict:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": list(offsets)}


BAD_SAFETENSORS = {
    "cut off in its numbers": safetensors_file({"a": number(0, 8)}, bytes(7)),
    "cut off in its header": safetensors_file({"a": number(0, 8)}, bytes(8))[:20],
    "a header of 2^63 bytes": safetensors_file({"a": number(0, 8)}, bytes(8), length=2**63),
    "a header longer than the file": safetensors_file({"a": number(0, 8)}, bytes(8), length=1000),
    "offsets past the end": safetensors_file({"a": number(0, 8), "b": number(8, 16)}, bytes(8)),
    "two tensors in one place": safetensors_file({"a": number(0, 8), "b": number(4, 12)}, bytes(12)),
    "a shape of more numbers than there are": safetensors_file({"a": number(0, 8, shape=(3,))}, bytes(8)),
    "a pickle": pickle.dumps(Bomb()),
    "bytes behind the last tensor": safetensors_file({"a": number(0, 8)}, bytes(9)),
    "a header that is no JSON": struct.pack("<Q", 9) + b"{'a': 1 }" + bytes(8),
}


@pytest.mark.parametrize("shapes_only", [False, True])
@pytest.mark.parametrize("damage", list(BAD_SAFETENSORS))
def test_damaged_safetensors_are_one_sentence_that_names_the_file(tmp_path, monkeypatch, damage, shapes_only):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(BAD_SAFETENSORS[damage])
    with pytest.raises(
        ValueError, match=r"weights\.safetensors \(\d+ bytes\) is damaged or not a safetensors file"
    ) as error:
        read_tensors(path, shapes_only)
    assert len(str(error.value).splitlines()) == 1
    assert not Path("exploded").exists()


def test_safetensors_made_by_hand_are_read_where_nothing_is_wrong(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(safetensors_file({"a": number(0, 8)}, struct.pack("<2f", 3, 5)))
    assert read_tensors(path)["a"].tolist() == [3, 5]


@pytest.mark.parametrize("shapes_only", [False, True])
def test_words_are_no_tensors(tmp_path, shapes_only):
    np.savez(tmp_path / "words.npz", a=np.array(["one", "two"]))
    with pytest.raises(ValueError, match=r"words\.npz \(\d+ bytes\) is damaged or not a numpy \.npz file"):
        read_tensors(tmp_path / "words.npz", shapes_only)


def test_the_type_of_numbers_in_eight_bits_is_not_taken_for_another(tmp_path):
    save_file({"a": torch.zeros(3).to(torch.float8_e4m3fn)}, tmp_path / "small.safetensors")
    assert read_tensors(tmp_path / "small.safetensors", shapes_only=True)["a"].dtype == torch.float8_e4m3fn
