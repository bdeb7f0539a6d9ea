"""Makes an environment of another Python, with Dask and without agentdeck: `python -m tests.places.other_python
FOLDER`, for the tests of workers that do not fit. Makes none where this machine has no other Python."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from tests.every_python import MINORS, candidates, version_of


def other() -> str | None:
    for minor in MINORS:
        for python in candidates(minor) if minor != sys.version_info.minor else ():
            if (version_of(python) or ())[:2] == (3, minor):
                return python
    return None


def main(folder: Path) -> None:
    python = other()
    if python is None:
        print("no other Python on this machine: a worker with one is not tested")
        return
    subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    wanted = [f"distributed=={version('distributed')}"]
    subprocess.run([str(folder / "bin/python"), *install, *wanted], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
