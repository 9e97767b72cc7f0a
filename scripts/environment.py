"""Set the project up: a virtual environment with the package in it. Standard library only, on any platform.

`demo.py` and `check.py` call `enter` first; afterwards they run inside that environment. The second time it takes well
under a second and no network.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAMP = "plain-vit-installed.json"
TORCH_CURE = (
    "torch and torchvision in {prefix} do not fit each other ({reason}).\n"
    "Both must come from the same index: a CPU-only torch beside an ordinary torchvision cannot be imported.\n"
    "cure: {uninstall} torch torchvision, then run this again"
)


def enter(script: str, extras: tuple[str, ...] = ()) -> None:
    """Return inside an environment that has the package and `extras`; make it, and run `script` again there, if not."""
    if sys.version_info < (3, 11):  # noqa: UP036  # who reads pyproject.toml before running a script?
        sys.exit(f"error: Python 3.11 or newer is needed, this is {sys.version.split()[0]} ({sys.executable}).")
    prefix = _prefix()
    python = _python_of(prefix)
    if not python.is_file():
        _make(prefix)
    if not _installed(prefix, extras):
        _install(prefix, extras)
    if Path(sys.prefix).resolve() != prefix.resolve():
        try:
            sys.exit(subprocess.run([python, script, *sys.argv[1:]], check=False).returncode)
        except KeyboardInterrupt:
            sys.exit(130)


def _prefix() -> Path:
    """The active virtual environment, or .venv of this checkout."""
    if sys.prefix != sys.base_prefix:
        return Path(sys.prefix)
    active = os.environ.get("VIRTUAL_ENV")
    return Path(active) if active and _python_of(Path(active)).is_file() else ROOT / ".venv"


def _python_of(prefix: Path) -> Path:
    return prefix / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _make(prefix: Path) -> None:
    _say(f"making the virtual environment {prefix}")
    uv = shutil.which("uv")
    # --clear: what is there has no python in it, a link left dangling by an upgrade perhaps
    command = [uv, "venv", "--quiet", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]
    command.append("--clear")
    made = subprocess.run([*command, str(prefix)], check=False, capture_output=True, text=True)
    if made.returncode:
        shutil.rmtree(prefix, ignore_errors=True)  # half an environment would be taken for a whole one next time
        hint = ""
        if "ensurepip" in made.stdout + made.stderr or "No module named venv" in made.stderr:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            hint = f"\ncure on Debian and Ubuntu: apt install python{version}-venv, then run this again"
        sys.exit(f"error: making the virtual environment failed.\n{(made.stderr or made.stdout).strip()}{hint}")


def _fingerprint(extras: tuple[str, ...]) -> str:
    """Changes when what must be installed changes."""
    parts = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    return hashlib.sha256(b"\0".join([*parts, str(ROOT).encode(), ",".join(extras).encode()])).hexdigest()


def _installed(prefix: Path, extras: tuple[str, ...]) -> bool:
    stamp = prefix / STAMP
    done = json.loads(stamp.read_text()) if stamp.is_file() else []
    return _fingerprint(extras) in done


def _install(prefix: Path, extras: tuple[str, ...]) -> None:
    _say(f"installing plain-vit and what it needs into {prefix} (the first time: up to 3 GB to download, minutes)")
    target = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
    if _pip(prefix, "install", "-c", str(ROOT / "constraints.txt"), "-e", target):
        _say("that failed; trying the newest versions that pyproject.toml allows instead of those in constraints.txt")
        if code := _pip(prefix, "install", "-e", target):
            sys.exit(f"error: installing failed (exit code {code}); what is above says why. Is the network there?")
    _check_torch(prefix)
    stamp = prefix / STAMP
    done = json.loads(stamp.read_text()) if stamp.is_file() else []
    stamp.write_text(json.dumps([*done, _fingerprint(extras)]))


def _pip(prefix: Path, *arguments: str) -> int:
    uv = shutil.which("uv")
    python = str(_python_of(prefix))
    if not uv:  # an environment that uv made has no pip
        subprocess.run([python, "-m", "ensurepip"], check=False, capture_output=True)
    own = [uv, "pip", arguments[0], "--python", python] if uv else [python, "-m", "pip", arguments[0]]
    return subprocess.run([*own, *arguments[1:]], check=False).returncode


def _check_torch(prefix: Path) -> None:
    """Importing both is the only test that finds a pair that does not fit."""
    python = _python_of(prefix)
    probe = subprocess.run([python, "-c", "import torch, torchvision"], check=False, capture_output=True, text=True)
    if probe.returncode:
        reason = (probe.stderr.strip().splitlines() or ["no message"])[-1]
        uninstall = f"uv pip uninstall --python {python}" if shutil.which("uv") else f"{python} -m pip uninstall -y"
        sys.exit("error: " + TORCH_CURE.format(prefix=prefix, reason=reason, uninstall=uninstall))


def _say(sentence: str) -> None:
    print(f"[set-up] {sentence}", flush=True)
