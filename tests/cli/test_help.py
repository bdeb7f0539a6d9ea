"""What the command line says of itself: examples that parse, sections, completion, and words for a newcomer."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import click
import pytest

from agentdeck.cli.console import report_left_running
from agentdeck.cli.letters import letters
from agentdeck.cli.main import MODULES, SECTIONS, cli
from agentdeck.cli.otel import otel
from tests.cli.conftest import QUICK, Deck


def command(verb: str) -> click.Command:
    found = cli.get_command(click.Context(cli), verb)
    assert found is not None
    return found


def examples(text: str) -> Iterator[list[str]]:
    """The commands that a help text shows, without what a shell does with their output."""
    for line in re.findall(r"^ +agentdeck (.+)$", text, re.M):
        words = shlex.split(line)
        yield words[: words.index(">")] if ">" in words else words


def parses(words: list[str]) -> bool:
    """Raises click's own error where such a command would be refused."""
    verb, *rest = words
    found = command(verb)
    if isinstance(found, click.Group):
        name = rest.pop(0) if rest and rest[0] in found.commands else "list"
        found = found.commands[name]
    return bool(found.make_context(verb, list(rest)))


@pytest.mark.parametrize("verb", MODULES)
def test_every_verb_shows_examples_that_parse(verb: str) -> None:
    shown = [words for words in examples(command(verb).help or "") if words[0] == verb]
    assert shown
    assert all(parses(words) for words in shown)


@pytest.mark.parametrize(
    ("group", "verb"), [(group, verb) for group in (letters, otel) for verb in group.commands]
)
def test_so_does_every_verb_of_a_group(group: click.Group, verb: str) -> None:
    shown = list(examples(group.commands[verb].help or ""))
    assert shown
    assert all(parses(words) for words in shown)


def test_help_is_grouped(deck: Deck) -> None:
    text = deck("--help").stdout
    assert all(f"\n{title}:\n  {next(iter(verbs))} " in text for title, verbs in SECTIONS.items())
    assert all(f"\n  {verb} " in text for verb in MODULES)


def completed(deck: Deck, line: str) -> list[str]:
    """What bash offers at the end of this line."""
    words = line.split(" ")
    asked = {"_AGENTDECK_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    return deck(**asked).stdout.split()


def test_shells_complete_what_was_recorded(deck: Deck) -> None:
    assert completed(deck, "agentdeck show ") == ["plain,last"]
    deck("run", deck.write("quick.yaml", QUICK), "-i", "word=a")
    ran = deck("runs", "--json").stdout.split('"run": "')[1].split('"')[0]
    assert completed(deck, "agentdeck show ") == ["plain,last", f"plain,{ran}"]
    assert completed(deck, "agentdeck why last s") == ["plain,second"]
    assert completed(deck, f"agentdeck retry {ran} --from ") == ["plain,first", "plain,second"]
    assert completed(deck, "agentdeck runs --workflow ") == ["plain,quick"]
    assert completed(deck, "agentdeck letters re") == ["plain,retry"]
    assert completed(deck, "agentdeck qui") == ["file,qui"]


def test_completion_is_silent_without_a_store(deck: Deck) -> None:
    deck.db.write_bytes(b"this is no database" * 1000)
    assert completed(deck, "agentdeck why last ") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the console needs a terminal"),
        (["quick.yaml"], "agentdeck run quick.yaml"),
        (["nowhere.yaml"], "nowhere.yaml: no such file"),
        (["./"], "./: this is a folder"),
        (["shwo", "last"], "did you mean show?"),
        (["run", "--workerz", "3", "quick.yaml"], "Did you mean '--workers'"),
    ],
    ids=lambda value: " ".join(value) or "nothing" if isinstance(value, list) else "",
)
def test_mistakes_of_a_newcomer(deck: Deck, words: list[str], said: str) -> None:
    deck.write("quick.yaml", QUICK)
    done = deck(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_logs_of_an_agent_that_is_not_there(deck: Deck) -> None:
    deck("run", deck.write("quick.yaml", QUICK), "-i", "word=a")
    assert "got a" in deck("logs", "last", "--agent", "second").stdout
    assert deck("logs", "last", "--agent", "first").returncode == 0
    done = deck("logs", "last", "--agent", "secnod")
    assert done.returncode == 2
    assert "did you mean second?" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(deck: Deck) -> None:
    folder = deck.folder / "shut"
    folder.mkdir()
    (folder / "w.yaml").write_text(QUICK)
    folder.chmod(0)
    try:
        done = deck("run", folder / "w.yaml")
        assert done.returncode == 2
        assert "Permission denied" in done.stderr
        done = deck("runs", "--db", folder / "deck.db")
        assert done.returncode == 3
        assert "choose another file" in done.stderr
        assert deck("config", XDG_CONFIG_HOME=str(folder)).stderr.endswith("config.toml: Permission denied\n")
    finally:
        folder.chmod(0o700)


def test_leaving_tells_how_to_find_what_still_executes(capsys: pytest.CaptureFixture[str]) -> None:
    executes, over = Mock(run="one", ended=None), Mock(run="two", ended=0)
    report_left_running([executes, over], Path("my store.db"))
    said = capsys.readouterr().err
    assert "agentdeck watch one --db 'my store.db'" in said
    assert "AGENTDECK_DB='my store.db' agentdeck" in said
    assert "two" not in said
    report_left_running([over])
    assert capsys.readouterr().err == ""


def test_info_tells_who_answers_prompts(deck: Deck) -> None:
    assert "none; prompts are simulated" in deck("info").stdout
    deck.write("deck.yaml", "agentdeck: 1\n")
    assert str(deck.folder / "deck.yaml") in deck("info").stdout
