"""A pytest plugin that counts the branches which some of the tests execute, by package:
`pytest -p tests.branch_coverage --measure="tests/limits tests/store"`.

A tracer is there only while such a test executes. So a run of the whole suite executes each test once, and pays
for the tracer only where it counts. Too few branches fail the run.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import tempfile
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest
from coverage import Coverage

import agentdeck

ROOT = Path(agentdeck.__file__).parent
#: The share of branches, in percent, that the measured tests have to execute in each package.
LEAST = dict.fromkeys(("scheduler", "limits", "views", "workflow", "store"), 90)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--measure", default="", help="folders and files of tests whose branches are counted")


def pytest_configure(config: pytest.Config) -> None:
    if worker := getattr(config, "workerinput", None):
        name, folder = worker["workerid"], Path(worker["branches"])
    else:
        total = Total()
        config.pluginmanager.register(total)
        name, folder = "alone", total.folder
    measured = [config.rootpath / path for path in config.getoption("measure").split()]
    config.pluginmanager.register(Tracer(folder / f"branches.{name}", measured))


class Tracer:
    """In each process that executes tests: traces the imports and the tests that are measured, and writes what
    they executed to a file."""

    def __init__(self, data: Path, measured: list[Path]) -> None:
        self.coverage = Coverage(data_file=data)
        self.measured = measured
        self.coverage.start()
        for package in LEAST:
            for module in pkgutil.walk_packages([str(ROOT / package)], f"agentdeck.{package}."):
                if not module.name.endswith(".__main__"):
                    importlib.import_module(module.name)
        self.coverage.stop()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        if item.get_closest_marker("untraced") or not any(
            item.path.is_relative_to(path) for path in self.measured
        ):
            return (yield)
        self.coverage.start()
        try:
            return (yield)
        finally:
            self.coverage.stop()

    def pytest_sessionfinish(self) -> None:
        self.coverage.save()


class Total:
    """In the process that was started by hand: what all processes executed, by package."""

    def __init__(self) -> None:
        self.removed_at_exit = tempfile.TemporaryDirectory()
        self.folder = Path(self.removed_at_exit.name)
        self.lines: list[str] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: object) -> None:
        """Called by xdist for each process that it starts."""
        node.workerinput["branches"] = str(self.folder)  # type: ignore[attr-defined]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        executed, total = self.branches()
        for package, least in LEAST.items():
            share = 100 * executed[package] / total[package]
            counts = f"{executed[package]:>5} of {total[package]:>5}"
            self.lines.append(f"{package:<10} {counts} branches  {share:5.1f} %  (≥ {least} %)")
            if share < least and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("branches")
        for line in self.lines:
            terminalreporter.line(line)

    def branches(self) -> tuple[Counter[str], Counter[str]]:
        """The branches of each package that were executed, and all of them."""
        coverage = Coverage(data_file=self.folder / "branches")
        coverage.combine([str(self.folder)])
        report = self.folder / "report.json"
        coverage.json_report(outfile=str(report))
        executed, total = Counter[str](), Counter[str]()
        for name, file in json.loads(report.read_text(encoding="utf-8"))["files"].items():
            package = Path(name).parts[1]
            executed[package] += file["summary"]["covered_branches"]
            total[package] += file["summary"]["num_branches"]
        return executed, total
