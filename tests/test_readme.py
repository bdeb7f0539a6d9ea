"""Every command of the README is executed, in its order, or is named below with the reason why not."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Deck
from tests.test_docs import ROOT, blocks
from tests.waiting import until

README = ROOT / "README.md"
#: Commands that are not executed here, by their first words, and what shows that they work.
ELSEWHERE = {
    "make run": "test_make_run_is_the_demo",
    "agentdeck run workflows/frameworks": "tests/agents/frameworks/test_langgraph.py, with the answer",
    "agentdeck answer": "the same",
    "agentdeck places --folder workflows/places": "tests/cli/test_place_example.py",
    "agentdeck run workflows/places": "the same",
    "make test": "it is this suite",
    "python3 -m pip wheel": "needs a build environment; test_extras_exist checks the extras",
    "python3 -m pip install": "needs the wheel",
    "pipx install": "needs the wheel, and pipx",
    "uvx": "needs the wheel, and uv",
}
#: The long run that the commands of "Watch and steer" act on, and a follower of it. They run beside the others.
BESIDE = ("agentdeck run workflows/order.yaml --tasks", "agentdeck watch")
#: Commands whose exit code is not 0: the workflow of this example fails.
FAILS = {"agentdeck run workflows/demo/demo.yaml -i broken=true": 1}


def shown() -> Iterator[tuple[str, str]]:
    """The commands of the README in their order, each with the output that is shown below it."""
    for kind, text in re.findall(
        r"^```(sh|console)\n(.*?)^```$", README.read_text(encoding="utf-8"), re.M | re.S
    ):
        if kind == "sh":
            yield from ((line.partition("  #")[0].strip(), "") for line in text.splitlines() if line)
        else:
            for block in re.split(r"^\$ ", text, flags=re.M)[1:]:
                command, _, output = block.partition("\n")
                yield command, output


def comparable(text: str) -> str:
    """The text without what differs from run to run: ids of runs, hashes of causes, durations, columns."""
    text = re.sub(r"\b(?=\w*\d)[a-z0-9]{10}\b", "RUN", text)
    text = re.sub(r"^[0-9a-f]{8}  ", "CAUSE ", text, flags=re.M)
    return re.sub(r"[ ]+", " ", re.sub(r"\b\d+(\.\d+)? m?s\b", "TIME", text))


def matches(output: str, printed: str) -> bool:
    """Whether the output is what was printed; a line of `…` stands for any lines."""
    parts = [re.escape(part) for part in re.split(r"^…\n", comparable(output), flags=re.M)]
    return re.fullmatch(".*".join(parts), comparable(printed), re.S) is not None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the bundled workflows, and the files of the first workflow."""
    shutil.copytree(ROOT / "workflows", tmp_path / "workflows")
    (tmp_path / "order.yaml").write_text(next(blocks(README, "yaml")))
    (tmp_path / "shop.py").write_text(next(blocks(README, "python")))
    return tmp_path


def test_every_command_does_what_the_readme_shows(folder: Path) -> None:
    deck = Deck(folder)
    beside: list[subprocess.Popen[str]] = []
    executed = 0
    try:
        for command, output in shown():
            if any(command.startswith(words) for words in ELSEWHERE):
                continue
            assert command.startswith("agentdeck "), command
            words = shlex.split(command)[1:]
            executed += 1
            if command.startswith(BESIDE):
                before = runs(deck)
                beside.append(deck.start(*words))
                until(lambda before=before: runs(deck) > before or len(beside) > 1)  # type: ignore[misc]
                continue
            if words[0] == "diff":
                words = ["diff", *re.findall(r"^\w{10}", deck("runs").stdout, re.M)[:2]]
            done = deck(*words)
            assert done.returncode == FAILS.get(command, 0), (command, done.stderr)
            if output:
                printed = (done.stdout, done.stderr, done.stderr + done.stdout)
                assert any(matches(output, text) for text in printed), (command, printed[-1])
    finally:
        for process in beside:
            process.terminate()
            process.communicate(timeout=60)
    assert executed > 20


def runs(deck: Deck) -> int:
    return len(re.findall(r"^\w{10}", deck("runs").stdout, re.M))


def test_make_run_is_the_demo(tmp_path: Path) -> None:
    """Without a terminal it runs without the console."""
    target = subprocess.run(
        ["make", "--no-print-directory", "-n", "run"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert target.splitlines()[-1].endswith("/agentdeck demo")
    done = Deck(tmp_path)("demo", "--tasks", 2, "--workers", 64)
    assert (done.returncode, "started: demo" in done.stderr) == (0, True), done.stderr


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    for page in (README, ROOT / "CONTRIBUTING.md", ROOT / "docs/testing.md"):
        for target in re.findall(r"\bmake ([a-z][a-z-]*)\b", "\n".join(blocks(page, "sh"))):
            assert target in targets, (page, target)


def test_extras_exist() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    for names in re.findall(r"agentdeck\[([\w,]+)\]", README.read_text(encoding="utf-8")):
        assert set(names.split(",")) <= set(extras)
