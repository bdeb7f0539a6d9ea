"""The registry of actions agrees with the engine, the command line and the palette."""

from __future__ import annotations

import click
import pytest

from agentdeck.cli.main import HELP, TABLE, cli, one_line_help
from agentdeck.console import keymap
from agentdeck.console.typed_commands import TYPED
from agentdeck.engine.commands import COMMANDS
from agentdeck.operations.actions import ACTIONS

VERBS = [action.verb for action in ACTIONS if action.verb]


def test_every_command_of_an_action_has_a_handler_and_every_handler_an_action() -> None:
    assert {command for action in ACTIONS for command in action.commands} == COMMANDS.keys()


def test_an_action_that_sends_a_command_has_a_target() -> None:
    assert all(action.targets for action in ACTIONS if action.commands)


def test_the_command_line_takes_the_help_of_its_verbs_from_the_registry() -> None:
    assert len(set(VERBS)) == len(VERBS)
    assert set(VERBS) <= TABLE.keys()
    assert HELP.keys() == TABLE.keys() - set(VERBS)
    assert all(one_line_help(verb).endswith(".") for verb in TABLE)


@pytest.mark.parametrize("verb", sorted(COMMANDS))
def test_every_command_of_the_engine_has_a_verb(verb: str) -> None:
    assert verb in VERBS
    assert cli.get_command(click.Context(cli), verb) is not None


def test_what_can_be_typed() -> None:
    assert set(TYPED) == {
        "hurry", "cancel", "skip", "release", "hold", "retry", "why", "answer", "go", "budget", "limits",
    }  # fmt: skip


def test_an_action_without_a_key_cannot_be_given_one() -> None:
    keys, faults = keymap.resolve({"run.go": "x"})
    assert not keys
    assert "run.go has no key" in faults[0]
