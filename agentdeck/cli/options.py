"""Options and arguments that several verbs share, and the `--db` that this process was called with."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from agentdeck.cli import complete

F = TypeVar("F", bound=Callable[..., Any])

_db = ""


def _remember_db(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    global _db
    _db = value or ""
    return value


def with_db(text: str) -> str:
    """The text, with `--db` in each command that it names if this process was called with `--db`: without it the
    command would read another store."""
    if not _db:
        return text
    from agentdeck import command_hint

    return command_hint.with_db(text, _db)


def db_option(function: F) -> F:
    """`--db FILE`."""
    about = (
        "The store. Default: AGENTDECK_DB, the settings file of the project or the user, or the "
        "user's data folder."
    )
    option = click.option("--db", metavar="FILE", type=click.Path(), callback=_remember_db, help=about)
    return option(function)


def run_argument(function: F) -> F:
    """`RUN`: an id, the beginning of one, or `last`."""
    return click.argument("run", metavar="RUN", shell_complete=complete.runs)(function)


def json_option(about: str) -> Callable[[F], F]:
    """`--json`, passed as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help=about)


def by_option(function: F) -> F:
    """`--by NAME`."""
    about = "Your name, if several people share the account; recorded with the command."
    return click.option("--by", metavar="NAME", default="", help=about)(function)


def out_option(function: F) -> F:
    """`--out FILE`."""
    about = "Write one JSON line per ended task to this file."
    return click.option("--out", metavar="FILE", type=click.Path(), help=about)(function)


def folder_option(function: F) -> F:
    """`--folder DIR`."""
    about = "The current folder of the workflow, if it was moved; recorded with the run."
    return click.option("--folder", metavar="DIR", type=click.Path(path_type=Path), help=about)(function)


def wait_option(function: F) -> F:
    """`--wait`. A process with a terminal waits without it, see `has_operator`."""
    about = (
        "Wait when nothing can continue without an operator. Without this and without a terminal, the "
        "run stops and can be resumed."
    )
    return click.option("--wait", is_flag=True, help=about)(function)


def wait_answers_option(function: F) -> F:
    """`--wait-answers`."""
    about = "Wait for answers to what the run asks, and stop where it needs an operator for anything else."
    return click.option("--wait-answers", is_flag=True, help=about)(function)


def execution_options(function: F) -> F:
    """`--wait`, `--out` and `--folder`: how a recorded run is executed in this process."""
    return wait_option(out_option(folder_option(function)))


def command_options(function: F) -> F:
    """`--by` and `--db`: of the verbs that send a command to the process that holds a run."""
    return by_option(db_option(function))


def has_operator() -> bool:
    """Whether an operator can see this process: one of its standard streams is a terminal."""
    return any(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
