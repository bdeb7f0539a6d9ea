"""The suite on every interpreter from 3.11 on: `python tests/every_python.py [-n WORKERS] [PYTHON]…`, or
`make test-all`.

Without names it takes the first of each minor version that runs, from PATH and from pyenv's folder (its shims are
on PATH, and fail for versions that are not activated). Each has an environment of its own, `.venv/test-3.12`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MINORS = (11, 12, 13, 14)
#: Some systems have Pythons that cannot make an environment.
ASKS = "import ensurepip, sqlite3, sys, venv; print('%d.%d.%d' % sys.version_info[:3])"


def version_of(python: str) -> tuple[int, ...] | None:
    """The version of an interpreter; None where it does not run."""
    try:
        done = subprocess.run([python, "-c", ASKS], capture_output=True, text=True, timeout=60, check=False)
        return tuple(map(int, done.stdout.split("."))) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def candidates(minor: int) -> Iterator[str]:
    name = f"python3.{minor}"
    for folder in os.get_exec_path():
        if (found := Path(folder, name)).is_file():
            yield str(found)
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    yield from map(str, sorted(pyenv.glob(f"3.{minor}.*/bin/{name}"), reverse=True))


def interpreters(given: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(version, path) of each interpreter to test with. Says which are missing."""
    if given:
        for python in given:
            version = version_of(python)
            if version is None or version < (3, 11):
                raise SystemExit(f"{python} is no Python 3.11 or newer that runs")
            yield ".".join(map(str, version)), python
        return
    for minor in MINORS:
        for python in candidates(minor):
            version = version_of(python)
            if version is not None and version[:2] == (3, minor):
                yield ".".join(map(str, version)), python
                break
        else:
            print(f"Python 3.{minor}: not on this machine, not tested", flush=True)


def passes(version: str, python: str, workers: str) -> bool:
    """Whether the suite passes on this interpreter."""
    place = ROOT / ".venv" / f"test-{version.rpartition('.')[0]}"
    own = str(place / "bin" / "python")
    print(f"Python {version}: {python}", flush=True)
    if version_of(own) != tuple(map(int, version.split("."))):
        subprocess.run([python, "-m", "venv", "--clear", str(place)], check=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--editable", ".[dev]"]
    subprocess.run([own, *install], cwd=ROOT, check=True)
    suite = ["-m", "pytest", "-n", workers, "--dist", "worksteal"]
    return subprocess.run([own, *suite], cwd=ROOT, check=False).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the suite on every interpreter from 3.11 on.")
    parser.add_argument("-n", dest="workers", default="4", help="processes of the suite at once")
    parser.add_argument("pythons", nargs="*", metavar="PYTHON", help="interpreters in place of those found")
    given = parser.parse_args()
    found = list(interpreters(given.pythons))
    results = {version: passes(version, python, given.workers) for version, python in found}
    for version, passed in results.items():
        print(f"Python {version}: {'passed' if passed else 'FAILED'}")
    raise SystemExit(not results or not all(results.values()))


if __name__ == "__main__":
    main()
