"""What README and docs show: commands that exist, YAML that loads, Python that runs, links, keys, figures."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentdeck.cli.main import MODULES
from agentdeck.console.actions import SPELLED
from agentdeck.console.actions import load_keymap as keymap
from agentdeck.console.themes import read as theme
from agentdeck.operations.actions import ACTIONS
from agentdeck.workflow.deck import load_deck
from agentdeck.workflow.loader import load
from tests.cli.test_help import examples, parses

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
#: A workflow that a page's example runs as a step.
BELOW = "agentdeck: 1\nname: below\ninputs: { text: string }\nagents: { a: { prompt: '${inputs.text}' } }\n"
NAMED = [pytest.param(page, id=page.stem) for page in PAGES]


def blocks(page: Path, *kinds: str) -> Iterator[str]:
    """The fenced blocks of these languages."""
    for kind, text in re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S):
        if kind in kinds:
            yield text


def commands(page: Path) -> Iterator[list[str]]:
    """Every command of agentdeck that a page shows in a block: typed after `$`, or a line of a script."""
    for text in blocks(page, "console"):
        yield from examples(re.sub(r"^\$ ", " ", "\n".join(re.findall(r"^\$ .*$", text, re.M)), flags=re.M))
    for text in blocks(page, "sh"):
        lines = "\n".join(f" {line.partition('  #')[0]}" for line in text.splitlines())
        yield from examples(lines)


@pytest.mark.parametrize("page", NAMED)
def test_commands_exist_and_parse(page: Path) -> None:
    for words in commands(page):
        if words[0].endswith(".yaml"):
            assert (ROOT / words[0]).is_file()
        elif not words[0].startswith("-"):
            assert words[0] in MODULES
            assert parses(words), words


def test_the_readme_shows_commands() -> None:
    shown = {words[0] for words in commands(ROOT / "README.md")}
    assert {"run", "plan", "limits", "letters", "resume", "show", "diff"} <= shown


def test_examples_that_the_readme_runs_are_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all((ROOT / name).is_file() for name in re.findall(r"\bworkflows/[\w/.]+\.\w+", text))


@pytest.mark.parametrize("page", NAMED)
def test_yaml_loads_without_a_warning(page: Path, tmp_path: Path) -> None:
    (tmp_path / "publish.yaml").write_text(BELOW)
    for text in blocks(page, "yaml"):
        if "providers:" in text and "agents:" not in text:
            file = tmp_path / "deck.yaml"
            file.write_text(text, encoding="utf-8")
            load_deck(file)
            file.unlink()
        elif re.search(r"^agents:", text, re.M):
            file = tmp_path / "workflow.yaml"
            file.write_text(text, encoding="utf-8")
            assert not load(file).warnings


@pytest.mark.parametrize("page", NAMED)
def test_python_runs(page: Path, tmp_path: Path) -> None:
    """A block that begins with `# name.py` is that module for the blocks after it."""
    for number, text in enumerate(blocks(page, "python")):
        named = re.match(r"# (\w+\.py)\n", text)
        file = tmp_path / (named.group(1) if named else f"shown{number}.py")
        file.write_text(text, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "tests.run_file", file.name],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", NAMED)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_keys_of_the_console_are_those_of_the_registry() -> None:
    """The table of docs/console.md has a row for each action with a key, in the order of the registry."""
    written = {name: key for key, name in SPELLED.items() if len(key) == 1 and key != " "}
    expected = [
        f"| `{action.id}` | {action.title} | {' '.join(f'`{written.get(key, key)}`' for key in action.keys)} |"
        for action in ACTIONS
        if action.keys
    ]
    text = (ROOT / "docs/console.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `[a-z_]+\.[a-z_0-9]+` \| .* \|$", text, re.M) == expected


def test_keymap_and_theme_of_the_console_page_are_taken(tmp_path: Path) -> None:
    keys, colours = blocks(ROOT / "docs/console.md", "yaml")
    (tmp_path / "keymap.yaml").write_text(keys)
    assert keymap(tmp_path / "keymap.yaml")[1] == []
    (tmp_path / "amber.yaml").write_text(colours)
    assert theme(tmp_path / "amber.yaml").name == "amber"


def test_figures_are_those_that_were_measured() -> None:
    """Copy the rows from benchmarks/results.md when it was written anew."""
    measured = (ROOT / "benchmarks/results.md").read_text(encoding="utf-8").splitlines()
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Figures")[2].partition("## ")[0]
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) > 2
    assert set(rows) <= set(measured)


@pytest.mark.parametrize("file", sorted((ROOT / "workflows").rglob("*.yaml")), ids=lambda path: path.stem)
def test_examples_teach_no_bad_habit(file: Path) -> None:
    if file.name == "deck.yaml":
        load_deck(file)
    else:
        assert not load(file).warnings


def test_the_site_has_every_page() -> None:
    """`make docs` checks links and anchors; this needs no mkdocs."""
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert set(re.findall(r"[\w/-]+\.md", nav)) == pages


@pytest.mark.parametrize("page", NAMED)
def test_files_that_a_page_names_exist(page: Path) -> None:
    """Paths in the repository, such as `tests/store/test_writer.py`."""
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:agentdeck|tests|benchmarks|docs|examples|workflows)/[\w/.-]*[\w/])`", text)
    for path in named:
        assert (ROOT / path).exists(), path


def test_the_hooks_of_a_commit_are_those_of_make_check() -> None:
    """All of its commands but the tests and the compiled core."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    check, types = (_commands(makefile, name) for name in ("check", "types"))
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"entry: \.venv/bin/(.*)", hooks)) == {*check[:-2], *types}
    assert check[-2:] == ["$(MAKE) --no-print-directory -j 2 types compiled", "$(SUITE) $(BRANCHES)"]


def _commands(makefile: str, target: str) -> list[str]:
    """What a target of the Makefile executes."""
    rule = makefile.partition(f"\n{target}: $(READY)\n")[2].partition("\n\n")[0]
    commands = (line.partition("  #")[0].strip() for line in rule.splitlines())
    return [command.removeprefix("$(BIN)/").removesuffix(" .") for command in commands]
