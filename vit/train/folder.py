"""A folder of its own for every run."""

from pathlib import Path


def new_folder(output: Path, name: str) -> Path:
    """Make `output/name`, or `output/name-2` and so on where that is there already: two runs never share a folder."""
    output.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = output / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()  # atomic, so that two runs that start together get two folders
        except FileExistsError:
            number += 1
        else:
            return folder


def remove_if_empty(folder: Path) -> None:
    """Take the folder away again where what was to fill it failed before it wrote anything."""
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
