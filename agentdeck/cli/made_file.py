"""The options and the output of commands that make a file: `agentdeck import` and `agentdeck export`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from agentdeck.errors import Issue

F = TypeVar("F", bound=Callable[..., Any])


def out_options(what: str) -> Callable[[F], F]:
    """`-o FILE` and `--force` of a command that makes `what`."""
    about = f"Write the {what} to this file. Default: stdout."
    out = click.option("-o", "--out", metavar="FILE", type=click.Path(), help=about)
    force = click.option("--force", is_flag=True, help="Replace the file if it exists.")
    return lambda function: out(force(function))


def write_made(text: str, warnings: Sequence[Issue], out: str | None, force: bool, summary: str) -> None:
    """Write the text to the file `out`, or to stdout, and the warnings to stderr. `summary` is said of a file
    that was written. Raises UsageError if it cannot be."""
    from agentdeck.cli.error_output import say, tidy
    from agentdeck.operations.new_file import write_new

    if out is None:
        click.echo(text, nl=False)
    else:
        write_new(out, text, force)
    for warning in warnings:
        click.echo(tidy(str(warning)), err=True)
    if out is not None:
        say(f"wrote {out} {summary}")
