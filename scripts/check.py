"""All that must hold before a change lands: `python3 scripts/check.py`.

Sets everything up (see environment.py), then checks format, lint, types, the direction of imports, and runs the tests,
all warnings being errors. Stops at the first that fails. `--fast` leaves out tests marked slow.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from environment import ROOT, enter


def main() -> None:
    """Run the checks one after the other; stop at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="leave out the tests that take more than a few seconds")
    args = parser.parse_args()
    enter(__file__, extras=("dev", "bench", "all"))
    start = time.perf_counter()
    tests = [sys.executable, "-m", "pytest", "-q", "--durations=10", *(["-m", "not slow"] if args.fast else [])]
    _check("format", [_tool("ruff"), "format", "--check", "."], cure="ruff format .")
    _check("lint", [_tool("ruff"), "check", "."], cure="ruff check --fix .")
    _check("types", [_tool("pyright"), "--pythonpath", sys.executable])
    _check("imports", [_tool("lint-imports")])
    _check("tests", tests)
    print(f"\n[check] all passed in {time.perf_counter() - start:.0f} s")


def _check(name: str, command: list[str], cure: str | None = None) -> None:
    print(f"\n[check] {name}: {shlex.join([Path(command[0]).name, *command[1:]])}", flush=True)
    start = time.perf_counter()
    quiet = {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, cwd=ROOT, env={**os.environ, **quiet})
    if done.returncode:
        hint = f"; `{cure}` mends most of it" if cure else ""
        sys.exit(f"[check] {name} failed{hint}")
    print(f"[check] {name} passed in {time.perf_counter() - start:.0f} s", flush=True)


def _tool(name: str) -> str:
    """A command of this environment, whether or not it is activated."""
    folder = Path(sys.executable).parent
    return str(folder / f"{name}.exe" if os.name == "nt" else folder / name)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
