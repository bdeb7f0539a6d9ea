"""The entry point. A verb's module is imported when the verb is called: `--version` imports only click."""

from __future__ import annotations

import contextlib
import difflib
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import click

from agentdeck.cli import streams
from agentdeck.cli.error_output import guarded

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: The function of each verb, in the order in which the verbs are shown.
TABLE: dict[str, str] = {
    "demo": "agentdeck.cli.demo:demo",
    "run": "agentdeck.cli.run:run",
    "check": "agentdeck.cli.check:check",
    "plan": "agentdeck.cli.plan:plan",
    "runs": "agentdeck.cli.runs:runs",
    "show": "agentdeck.cli.show:show",
    "watch": "agentdeck.cli.records:watch",
    "why": "agentdeck.cli.steps:why",
    "step": "agentdeck.cli.steps:step",
    "logs": "agentdeck.cli.records:logs",
    "events": "agentdeck.cli.records:events",
    "results": "agentdeck.cli.records:results",
    "diff": "agentdeck.cli.diff:diff",
    "pause": "agentdeck.cli.commands:pause",
    "drain": "agentdeck.cli.commands:drain",
    "cancel": "agentdeck.cli.commands:cancel",
    "limits": "agentdeck.cli.limits:limits",
    "budget": "agentdeck.cli.budget:budget",
    "approve": "agentdeck.cli.commands:approve",
    "release": "agentdeck.cli.commands:release",
    "skip": "agentdeck.cli.commands:skip",
    "hurry": "agentdeck.cli.commands:hurry",
    "resume": "agentdeck.cli.resume:resume",
    "letters": "agentdeck.cli.letters:letters",
    "retry": "agentdeck.cli.retry:retry",
    "fork": "agentdeck.cli.fork:fork",
    "backup": "agentdeck.cli.maintenance:backup",
    "prune": "agentdeck.cli.maintenance:prune",
    "config": "agentdeck.cli.installation:config",
    "info": "agentdeck.cli.installation:info",
    "schema": "agentdeck.cli.installation:schema",
    "completion": "agentdeck.cli.installation:completion",
}

#: The one-line help of the verbs that are no actions; the registry of actions has that of the others.
HELP = {
    "demo": "Open the console on a workflow that is already running.",
    "check": "Check workflow files, and name every fault.",
    "plan": "Show what would run, in what order, and how long at best.",
    "show": "Show one run: counts, agents, waiting, timeline.",
    "watch": "Follow a run live, from any process.",
    "step": "Tell the story of one step: inputs, attempts, output.",
    "events": "Print everything that happened in a run, in order.",
    "results": "Print or write the final state of every task.",
    "diff": "Show where two runs part.",
    "backup": "Copy the store into a file while runs go on.",
    "config": "Show each setting and where it comes from.",
    "info": "Show versions and where things are.",
    "schema": "Print the JSON Schema of workflow files.",
    "completion": "Print a shell's completion script.",
}

#: Sections of the help by their first verb; a section ends where the next one begins.
SECTIONS = {"demo": "Run", "runs": "Look", "pause": "Steer", "resume": "Mend", "backup": "Keep"}


def one_line_help(verb: str) -> str:
    """The line on a verb in `agentdeck --help` and in shell completion."""
    from agentdeck.operations.actions import verb_help

    return HELP.get(verb) or verb_help(verb)


class LazyGroup(click.Group):
    """A group that imports the module of a verb when the verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(TABLE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in TABLE:
            return None
        module, _, name = TABLE[cmd_name].partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in TABLE and (name.endswith((".yaml", ".yml", ".py")) or "/" in name):
            from agentdeck.cli.console import show

            ctx.exit(show(file=name))
        if name not in TABLE and not name.startswith("-"):
            near = difflib.get_close_matches(name, TABLE, n=1)
            ctx.fail(f"there is no verb {name}" + (f"; did you mean {near[0]}?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows: dict[str, list[tuple[str, str]]] = {}
        title = ""
        for name in TABLE:
            title = SECTIONS.get(name, title)
            rows.setdefault(title, []).append((name.ljust(max(map(len, TABLE))), one_line_help(name)))
        for title, some in rows.items():
            with formatter.section(title):
                formatter.write_dl(some)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "[FILE | VERB …]")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        verbs = [CompletionItem(name, help=one_line_help(name)) for name in TABLE if name.startswith(incomplete)]
        return verbs or [CompletionItem(incomplete, type="file")]


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from agentdeck import __version__

        click.echo(f"agentdeck {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="The version."
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """An operator's console for multi-agent workflows, in the terminal.

    Without a verb the console opens; with a workflow FILE it opens on that. The first time: agentdeck demo.
    RUN is a run's id, the beginning of one, or `last`.

    Exit codes: 0 all done, 1 some steps finally failed, 2 usage or an invalid file, 3 the store, a provider or
    the output is unusable, 130 interrupted (resumable).
    """
    if ctx.invoked_subcommand is None:
        from agentdeck.cli.console import show

        ctx.exit(show())


def main(args: Sequence[str] | None = None) -> None:
    """Called by the `agentdeck` script. Leaves by SystemExit."""
    given = list(sys.argv[1:] if args is None else args)
    streams.prepare()
    code = guarded(lambda: cli.main(given, "agentdeck", standalone_mode=False))
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the exit code is decided
    if (left := sys.modules.get("agentdeck.cli.process_exit")) is not None:  # agents ran here
        left.leave(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
