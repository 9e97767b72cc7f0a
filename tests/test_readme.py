"""The README is true: its commands run, its Python runs, its map is the tree, its files are there."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vit.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHORT = {
    "fit": ["--trainer.max_epochs=1"],
    "compare": ["--trainer.max_epochs=1", "--seeds=1"],
}
"""What makes a command of the README quick enough for a test; all the rest is as printed."""


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```\n", README, flags=re.MULTILINE | re.DOTALL)
    return [text for name, text in fenced if name == language]


def commands() -> list[list[str]]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines]


def vit_commands() -> list[list[str]]:
    return [words[1:] for words in commands() if words[:1] == ["vit"]]


def test_picture_is_there_and_both_commands_stand_by_line_25() -> None:
    lines = README.splitlines()
    (picture,) = re.findall(r"!\[.*?\]\((.+?)\)", "\n".join(lines[:10]))
    assert (ROOT / picture).is_file()
    for script in ("scripts/demo.py", "scripts/check.py"):
        assert any(line.startswith(f"python3 {script}") for line in lines[:25])
        assert (ROOT / script).is_file()


def test_every_command_of_the_package_is_shown() -> None:
    assert {words[0] for words in vit_commands()} == set(COMMANDS)


def test_map_names_what_is_there() -> None:
    (block,) = [block for block in blocks("") if block.startswith("vit/")]
    parent = ROOT
    for line in block.splitlines():
        name = line.split()[0] if re.match(r" {0,2}\S", line) else ""
        if not name:
            continue
        parent = parent if line.startswith("  ") else ROOT
        path = (parent / "vit" / name) if line.startswith("  ") else ROOT / name
        assert path.exists(), f"{name} is in the README's map only"
    rooms = {path.name for path in (ROOT / "vit").iterdir() if path.is_dir() and not path.name.startswith("__")}
    assert rooms <= {name.rstrip("/") for name in re.findall(r"^  (\w+/)", block, flags=re.MULTILINE)}


def test_python_of_the_readme_runs_and_its_shapes_are_as_said() -> None:
    (code,) = blocks("python")
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    said = re.findall(r"^(\w+) = .*?#\s*\(([\d, ]+)\)", code, flags=re.MULTILINE)
    assert len(said) == 4
    for name, shape in said:
        assert tuple(names[name].shape) == tuple(int(n) for n in shape.split(","))  # type: ignore[attr-defined]


@pytest.mark.slow
def test_demo_and_the_commands_after_it_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo in one epoch, then every `vit` command of the README in its order, where the demo left its files."""
    demo = [sys.executable, str(ROOT / "scripts/demo.py"), "--epochs", "1", "--output", str(tmp_path / "demo-output")]
    done = subprocess.run(demo, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "demo-output/explained/digit-3.rollout.png").is_file()
    assert "| timm" in (tmp_path / "demo-output/compare/table.md").read_text()

    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    ours = [
        words
        for words in vit_commands()
        if not re.search(r"cifar10|folder\.yaml|finetune|--resume|--help", " ".join(words))
    ]
    assert {words[0] for words in ours} == set(COMMANDS)
    for words in ours:
        assert main([*words, *SHORT.get(words[0], [])]) == 0, words
    assert "10 files" not in capsys.readouterr().err
