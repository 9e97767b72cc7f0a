"""A checkpoint is written whole or not at all, and a damaged one is known for what it is."""

import os
import pickle
import sys
import time
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.requirements import Requirement

from vit.train.checkpoints import (
    AtomicCheckpointIO,
    DamagedCheckpointError,
    newest_whole,
    read_checkpoint,
    remove_stale,
)
from vit.train.classifier import Classifier
from vit.train.run import Run, fit


def state(step: int, size: int = 1000) -> dict[str, Any]:
    return {"state_dict": {"weight": torch.full((size,), float(step))}, "global_step": step, "loops": {}}


@pytest.fixture
def last(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints" / "last.ckpt"


def save(path: Path, *steps: int) -> None:
    for step in steps:
        AtomicCheckpointIO().save_checkpoint(state(step), path)


def test_the_newest_checkpoint_and_the_one_before_it_are_kept(last: Path) -> None:
    save(last, 1, 2, 3)
    assert read_checkpoint(last)["global_step"] == 3
    assert read_checkpoint(last.with_name("previous.ckpt"))["global_step"] == 2
    assert len(list(last.parent.iterdir())) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="memory is asked of /proc")
def test_writing_takes_no_second_copy_in_memory(last: Path, copy_of_process: Callable[..., Any]) -> None:
    size = 100_000_000

    def write(say: Callable[[str], object]) -> None:
        content = state(1, size=size // 4)
        before = kilobytes("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here on
        AtomicCheckpointIO().save_checkpoint(content, last)
        say(str(1024 * (kilobytes("VmHWM") - before)))

    assert int(copy_of_process(write).said.readline()) < 0.2 * size
    assert last.stat().st_size > size


def kilobytes(field: str) -> int:
    """Of this process's memory: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def test_killing_the_writer_at_any_moment_breaks_nothing(last: Path, copy_of_process: Callable[..., Any]) -> None:
    written = 0

    def write(say: Callable[[str], object]) -> None:
        step = written
        while True:
            step += 1
            AtomicCheckpointIO().save_checkpoint(state(step, size=1_000_000), last)
            say(str(step))

    for kill in range(10):  # scripts/kill.py does it 200 times
        writer = copy_of_process(write)
        assert writer.said.readline()
        time.sleep(0.003 * kill)
        writer.kill()
        found = newest_whole(last.parents[1], print)
        assert found is not None
        assert found[0] == last
        assert found[1]["global_step"] > written
        written = found[1]["global_step"]
        assert bool((found[1]["state_dict"]["weight"] == written).all())
    remove_stale(last.parents[1])
    assert {path.name for path in last.parent.iterdir()} <= {"last.ckpt", "previous.ckpt"}


def test_under_the_final_name_there_is_a_whole_file_at_every_moment(
    last: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    for name in ("replace", "unlink"):
        act = getattr(Path, name)

        def watched(self: Path, *args: Any, act: Callable[..., Any] = act, **kwargs: Any) -> Any:
            done = act(self, *args, **kwargs)
            seen.append(read_checkpoint(last)["global_step"])
            return done

        monkeypatch.setattr(Path, name, watched)
    save(last, 1)
    seen.clear()
    save(last, 2)
    assert seen == sorted(seen)
    assert {1, 2} == set(seen)


@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize("links", [True, False])
def test_the_one_before_is_kept_with_and_without_hard_links(
    links: bool, interrupted: bool, last: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    save(last, 1, 2)
    previous = last.with_name("previous.ckpt")
    if interrupted:  # killed when both were names of one file
        previous.unlink()
        os.link(last, previous)
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    save(last, 3)
    assert [read_checkpoint(path)["global_step"] for path in (previous, last)] == [2, 3]
    assert len(list(last.parent.iterdir())) == 2


def test_a_full_disk_leaves_the_older_checkpoints_whole_and_says_what_is_needed(last: Path) -> None:
    import resource

    save(last, 1, 2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))  # writing more fails, as on a full disk
    try:
        with pytest.raises(
            OSError, match=r"the disk is full: .*last\.ckpt needs 4 MB, .* MB are free; older checkpoints"
        ):
            AtomicCheckpointIO().save_checkpoint(state(3, size=1_000_000), last)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [read_checkpoint(last.with_name(name))["global_step"] for name in ("last.ckpt", "previous.ckpt")] == [2, 1]
    assert len(list(last.parent.iterdir())) == 2


def test_a_folder_that_may_not_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="checkpoints"):
        save(tmp_path / "checkpoints" / "last.ckpt", 1)


class RunsCode:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def damaged(kind: str, whole: bytes) -> bytes:
    middle = len(whole) // 2
    return {
        "cut in half": whole[:middle],
        "cut at the end": whole[:-3],
        "empty": b"",
        "text": b"hello\n" * 9,
        "a web page": b"<!DOCTYPE html><html></html>",
        "zeros": bytes(5000),
        "one flipped bit in a tensor": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "a bare pickle": pickle.dumps({"state_dict": {}}),
    }[kind]


KINDS = ["cut in half", "cut at the end", "empty", "text", "a web page", "zeros", "one flipped bit in a tensor"]


@pytest.mark.parametrize("kind", [*KINDS, "a bare pickle"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(kind: str, last: Path) -> None:
    save(last, 1, 2)
    content = damaged(kind, last.read_bytes())
    last.write_bytes(content)
    sentence = rf"last\.ckpt \({len(content):,} bytes\) is damaged or not a checkpoint\."
    with pytest.raises(DamagedCheckpointError, match=sentence):
        read_checkpoint(last)
    warnings: list[str] = []
    found = newest_whole(last.parents[1], warnings.append)
    assert found is not None
    assert found[0].name == "previous.ckpt"
    assert "Going on from" in warnings[0]
    found[0].write_bytes(b"")
    with pytest.raises(DamagedCheckpointError, match=r"last\.ckpt .*previous\.ckpt .* Nothing is left to go on from"):
        newest_whole(last.parents[1], warnings.append)


def test_without_checkpoints_there_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert newest_whole(tmp_path, print) is None


def test_code_in_a_checkpoint_is_not_run(last: Path) -> None:
    mark = last.parents[1] / "ran"
    last.parent.mkdir()
    torch.save({**state(1), "callbacks": RunsCode(mark)}, last)
    with pytest.raises(DamagedCheckpointError, match="holds more than plain values, which could run code; not loaded"):
        AtomicCheckpointIO().load_checkpoint(last, weights_only=False)
    assert not mark.exists()


def test_a_function_named_in_a_checkpoint_is_not_called(finished_run: Any, tmp_path: Path) -> None:
    """CVE-2026-58659: lightning before 2.6.6 calls what `_instantiator` names, also of a file of plain values."""
    keep = tmp_path / "keep"
    keep.mkdir()
    checkpoint = torch.load(finished_run.folder / "checkpoints" / "last.ckpt", weights_only=True)
    checkpoint["hyper_parameters"] |= {
        "_instantiator": "shutil.rmtree",
        "_class_path": "shutil.rmtree",
        "path": str(keep),
    }
    torch.save(checkpoint, tmp_path / "gadget.ckpt")
    assert Classifier.load_from_checkpoint(tmp_path / "gadget.ckpt").recipe.learning_rate == 3e-3
    copy = finished_run.copy(tmp_path / "run")
    (tmp_path / "gadget.ckpt").replace(copy / "checkpoints" / "last.ckpt")
    fit(Run(["--resume", str(copy), "--trainer.max_epochs", "3"], epoch_lines=False))
    assert keep.is_dir()


def test_lightning_is_new_enough_to_call_no_such_function() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (needed,) = [Requirement(line) for line in project["dependencies"] if line.startswith("lightning")]
    assert "2.6.5" not in needed.specifier
    assert version("lightning") in needed.specifier


def test_an_address_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_checkpoint("https://example.org/last.ckpt")


def test_weights_alone_are_no_state_of_a_training(last: Path) -> None:
    last.parent.mkdir()
    torch.save({"weight": torch.zeros(3)}, last)
    with pytest.raises(DamagedCheckpointError, match="is not a checkpoint of a training: it knows no steps"):
        read_checkpoint(last)
