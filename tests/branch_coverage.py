"""Reports the branches that a coverage run executed, by package: `python -m tests.branch_coverage`, after
`coverage run`. Exits with 1 where a package has fewer than it has to have."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

#: The share of branches, in percent, that the tests of `make coverage` have to execute in each package.
LEAST = dict.fromkeys(("scheduler", "limits", "views", "workflow", "store"), 90)


def branches(report: Path) -> tuple[Counter[str], Counter[str]]:
    """The branches of each package that were executed, and all of them, in a report of `coverage json`."""
    executed, total = Counter[str](), Counter[str]()
    for name, file in json.loads(report.read_text(encoding="utf-8"))["files"].items():
        package = Path(name).parts[1]
        executed[package] += file["summary"]["covered_branches"]
        total[package] += file["summary"]["num_branches"]
    return executed, total


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        subprocess.run([sys.executable, "-m", "coverage", "json", "--quiet", "-o", str(report)], check=True)
        executed, total = branches(report)
    low = False
    for package, least in LEAST.items():
        share = 100 * executed[package] / total[package]
        low |= share < least
        print(
            f"{package:<10} {executed[package]:>5} of {total[package]:>5} branches  {share:5.1f} %  (≥ {least} %)"
        )
    return int(low)


if __name__ == "__main__":
    sys.exit(main())
