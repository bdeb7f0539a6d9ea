"""The entry point. A verb's module is imported when the verb is called: `--version` imports only click."""

from __future__ import annotations

import contextlib
import difflib
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from keyword import iskeyword
from typing import TYPE_CHECKING

import click

from agentdeck.cli import streams
from agentdeck.cli.error_output import guarded

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: The sections of the help: their verbs in the order in which they are shown, each with its module.
SECTIONS = {
    "Run": {
        "demo": "demo", "run": "run", "check": "check", "plan": "plan", "import": "importing",
        "export": "exporting",
    },
    "Inspect": {
        "runs": "runs", "show": "show", "watch": "records", "why": "steps", "step": "steps", "logs": "records",
        "events": "records", "results": "records", "diff": "diff",
    },
    "Steer": {
        "pause": "commands", "drain": "commands", "cancel": "commands", "limits": "limits", "budget": "budget",
        "questions": "questions", "answer": "questions", "approve": "commands", "release": "commands",
        "skip": "commands", "hurry": "commands",
    },
    "Recover": {"resume": "resume", "letters": "letters", "retry": "retry", "fork": "fork"},
    "Maintain": {
        "backup": "maintenance", "prune": "maintenance", "otel": "otel", "metrics": "metrics",
        "config": "installation", "info": "installation", "plugins": "plugins", "places": "places",
        "schema": "installation", "completion": "installation",
    },
}  # fmt: skip
MODULES = {verb: module for verbs in SECTIONS.values() for verb, module in verbs.items()}

#: The one-line help of the verbs that are no actions; the registry of actions has that of the others.
HELP = {
    "demo": "Open the console on a workflow that is already running.",
    "check": "Check workflow files and list every fault.",
    "plan": "Show what would run, in which order, and the shortest possible duration.",
    "import": "Make a workflow file of a CrewAI crew or flow, or of a LangGraph graph.",
    "export": "Make a DAG for Airflow of a workflow.",
    "show": "Show one run: counts, agents, waiting, timeline.",
    "watch": "Follow a run live, from any process.",
    "step": "Show one step: inputs, attempts, output.",
    "events": "Print all events of a run, in order.",
    "results": "Print or write the final state of every task.",
    "diff": "Show the differences between two runs.",
    "backup": "Copy the store into a file, also while runs execute.",
    "otel": "Send what runs did to a receiver of OpenTelemetry.",
    "metrics": "Print or serve metrics for Prometheus.",
    "config": "Show each setting and where it comes from.",
    "info": "Show versions and the paths of the store, the configuration and the deck.",
    "plugins": "List what other packages add, and what does not load.",
    "places": "Check the places of the deck and list their workers.",
    "schema": "Print the JSON Schema of workflow files.",
    "completion": "Print a shell's completion script.",
}


def one_line_help(verb: str) -> str:
    """The line on a verb in `agentdeck --help` and in shell completion."""
    from agentdeck.operations.actions import verb_help

    return HELP.get(verb) or verb_help(verb)


class LazyGroup(click.Group):
    """A group that imports the module of a verb when the verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in MODULES:
            return None
        name = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        command = getattr(import_module(f"agentdeck.cli.{MODULES[cmd_name]}"), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in MODULES and (name.endswith((".yaml", ".yml", ".py")) or "/" in name):
            from agentdeck.cli.console import show

            ctx.exit(show(file=name))
        if name not in MODULES and not name.startswith("-"):
            near = difflib.get_close_matches(name, MODULES, n=1)
            ctx.fail(f"there is no command {name}" + (f"; did you mean {near[0]}?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, MODULES))
        for title, verbs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(verb.ljust(width), one_line_help(verb)) for verb in verbs])

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "[FILE | VERB …]")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        verbs = [verb for verb in MODULES if verb.startswith(incomplete)]
        found = [CompletionItem(verb, help=one_line_help(verb)) for verb in verbs]
        return found or [CompletionItem(incomplete, type="file")]


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

    Without a command the console opens; with a workflow FILE it opens on that file. To look around:
    agentdeck demo.
    RUN is a run's id, the beginning of one, or `last`.

    Exit codes: 0 all done, 1 some steps failed, 2 usage or an invalid file, 3 the store, a provider or
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
    if (left := sys.modules.get("agentdeck.cli.run_process")) is not None:  # agents ran here
        left.leave(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
