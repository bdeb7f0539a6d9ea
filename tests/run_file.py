"""Executes a file as `python FILE` does; a module, so that it can be forked (forked.py)."""

from __future__ import annotations

import runpy
import sys


def main() -> None:
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
