"""Errors of the command line: one sentence on stderr, and the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from agentdeck.cli import streams
from agentdeck.cli.options import with_db
from agentdeck.errors import OutputError, PipeClosed

#: 0 done, 1 something failed, 2 usage or invalid file, 3 store, provider or output unusable, 130 interrupted.
DONE, FAILED, USAGE, UNUSABLE, BUG, INTERRUPTED = 0, 1, 2, 3, 70, 130


def guarded(call: Callable[[], object]) -> int:
    """Call a verb; returns its exit code. Errors are printed and never raised; stdout is flushed."""
    try:
        code = call()
        streams.flush()
        return code if isinstance(code, int) else DONE
    except click.exceptions.Exit as left:
        code = left.exit_code
        return guarded(lambda: code)
    except (click.Abort, KeyboardInterrupt):
        say("interrupted")
        return INTERRUPTED
    except click.ClickException as wrong:
        say(wrong.format_message())
        if isinstance(wrong, click.UsageError) and wrong.ctx is not None:
            hint(f"see `{wrong.ctx.command_path} --help`")
        return wrong.exit_code if wrong.exit_code != 1 else USAGE
    except PipeClosed as error:  # no message: closing the pipe is intended, as in `| head`
        streams.discard()
        return error.exit_code
    except Exception as error:
        if isinstance(error, OutputError):
            streams.discard()
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    from agentdeck.errors import AgentdeckError, InvalidFile

    if os.environ.get("AGENTDECK_DEBUG"):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, InvalidFile):
        for issue in error.issues:
            click.echo(tidy(str(issue)), err=True)
        return error.exit_code
    if isinstance(error, AgentdeckError):
        say(str(error))
        return error.exit_code
    if (broken := _store_fault(error)) is not None:
        say(broken)
        return UNUSABLE
    if isinstance(error, OSError) and error.filename:
        say(f"{os.fspath(_text(error.filename))}: {error.strerror or error}")
        return USAGE
    detail = f"{type(error).__name__}: {error}".rstrip(": ")
    where = "" if os.environ.get("AGENTDECK_DEBUG") else "; AGENTDECK_DEBUG=1 shows where"
    say(f"this is a bug in agentdeck: {detail}{where}")
    return BUG


def _store_fault(error: Exception) -> str | None:
    """The message of an SQLite error that no other code has translated; None for other errors."""
    sqlite3 = sys.modules.get("sqlite3")
    if sqlite3 is None or not isinstance(error, sqlite3.Error):
        return None
    from agentdeck.store.sqlite_errors import explain

    return str(explain(error, Path("the store")))


def _text(name: object) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def tidy(text: str) -> str:
    """Text made safe for a terminal; commands in it repeat --db."""
    from agentdeck.terminal_text import clean

    return with_db(clean(text, lines=True))


def say(text: str) -> None:
    """Print one sentence on stderr."""
    click.echo(f"agentdeck: {tidy(text)}", err=True)


def hint(text: str) -> None:
    """Print an indented line on stderr, after `say`."""
    click.echo(f"  {tidy(text)}", err=True)


def say_with_details(text: str, details: Sequence[str]) -> None:
    """Print a sentence on stderr, and an indented line for each detail."""
    say(text)
    for detail in details:
        hint(detail)
