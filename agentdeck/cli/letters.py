"""`letters`: list dead letters by cause, show, retry, drop and export them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agentdeck.cli import complete
from agentdeck.cli.error_output import say
from agentdeck.cli.options import by_option, command_options, db_option, execution_options, json_option, with_db
from agentdeck.cli.text_tables import out, print_document, table
from agentdeck.insight.formatting import moment, plural
from agentdeck.operations.author import author
from agentdeck.operations.recorded_run import open_store, relocated
from agentdeck.operations.settings import database
from agentdeck.terminal_text import clean

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from agentdeck.cli.run_session import ExecutionOptions
    from agentdeck.operations.retry import RetryPlan
    from agentdeck.store.letters import Letter

#: Letters of one cause that a list shows.
SHOWN = 5


class Listing(click.Group):
    """A group that runs `list` if the first argument is not one of its verbs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = args and (args[0] in self.commands or args[0] in ("-h", "--help"))
        if not named and not (ctx.resilient_parsing and not args):
            args = ["list", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        return [*super().shell_complete(ctx, incomplete), *complete.runs(ctx, None, incomplete)]


@click.group(cls=Listing, subcommand_metavar="[RUN] | VERB …")
def letters() -> None:
    """List dead letters: steps that failed for good, of one run or of all, grouped by cause.

    \b
    Examples:
      agentdeck letters
      agentdeck letters show 3
      agentdeck letters retry --all --try-one
      agentdeck letters drop 3 4 --why "test orders"
    """


@letters.command("list")
@click.argument("run", metavar="[RUN]", required=False, shell_complete=complete.runs)
@click.option("--state", default="open", metavar="STATE", help="open, retried, closed, dropped, or all.")
@db_option
@json_option("Print a JSON list of causes, with their dead letters.")
def listed(run: str | None, state: str, db: str | None, as_json: bool) -> None:
    """List dead letters by cause, the most frequent first.

    \b
    Examples:
      agentdeck letters
      agentdeck letters last --json
      agentdeck letters list --state all
    """
    from agentdeck.operations.letters import by_cause, causes_document, find_letters

    with open_store(db) as reader:
        found = find_letters(reader, run, state)
    groups = by_cause(found)
    if as_json:
        print_document(causes_document(groups))
        return
    if not found:
        click.echo("no dead letters", err=True)
    for cause, some in groups:
        last = some[-1]
        text = f"{last.agent}: {last.fault.kind}: {last.fault.message}"
        out(clean(f"{cause}  {plural(len(some), 'dead letter')}  {text}"))
        rows = [
            (
                str(one.id),
                one.run,
                one.task,
                one.step,
                str(one.attempts),
                "" if one.state == "open" else one.state,
            )
            for one in some[:SHOWN]
        ]
        for line in table(("id", "run", "task", "step", "attempts", ""), rows, right=(0, 4)):
            out("  " + line)
        if len(some) > SHOWN:
            out(f"  … and {len(some) - SHOWN:,} more")


@letters.command()
@click.argument("letter", metavar="ID", type=int)
@db_option
@json_option("Print one JSON object.")
def show(letter: int, db: str | None, as_json: bool) -> None:
    """Show a dead letter: its error, inputs, attempts and the definition it failed under.

    \b
    Example:
      agentdeck letters show 3
    """
    import json

    from agentdeck.insight.step import place_of_failure
    from agentdeck.operations.letters import letter_document, letters_by_id
    from agentdeck.operations.once_decision import choices, undecided_key
    from agentdeck.views.inner_place import inside

    with open_store(db) as reader:
        one = letters_by_id(reader, (letter,))[0]
        place = place_of_failure(reader, one.run, one.task, one.step)
        undecided = undecided_key(reader, one)
    if as_json:
        print_document(letter_document(one))
        return
    out(f"dead letter {one.id}  {one.state}" + (clean(f": {one.why}") if one.why else ""))
    out(clean(f"run {one.run}, task {one.task}, step {one.step}, {one.attempts} attempts, {moment(one.at)}"))
    out(f"definition {one.identity[:12]}  cause {one.cause}")
    out(clean(inside(place, f"{one.fault.kind}: {one.fault.message}")))
    if one.fault.detail:
        out(clean(one.fault.detail, lines=True))
    if undecided:
        took_effect, again = choices(one.id)
        out(with_db(f"Then decide:\n  {took_effect}   (JSON or text; nothing is executed)"))
        out(with_db(f"  {again}   (it is executed again)"))
    out(clean(json.dumps(one.inputs, ensure_ascii=False, indent=2), lines=True))


@letters.command()
@click.argument("ids", metavar="[ID]…", type=int, nargs=-1)
@click.option("--cause", metavar="CAUSE", help="All open dead letters of this cause.")
@click.option("--all", "everyone", is_flag=True, help="All open dead letters.")
@click.option("--run", metavar="RUN", shell_complete=complete.runs, help="Only of this run.")
@click.option(
    "--set", "settings", multiple=True, metavar="inputs.NAME=VALUE", help="Change an input of the tasks."
)
@click.option("--try-one", is_flag=True, help="Run one of each cause first, and the rest only if it succeeds.")
@click.option(
    "--took-effect",
    metavar="RESULT",
    help="The step took effect: record this result (JSON or text), execute nothing.",
)
@click.option(
    "--again", is_flag=True, help="Execute the step again: it took no effect, or may take effect twice."
)
@by_option
@execution_options
@db_option
@json_option("Print the summary of each run as one JSON object.")
def retry(
    ids: tuple[int, ...],
    cause: str | None,
    everyone: bool,
    run: str | None,
    settings: tuple[str, ...],
    try_one: bool,
    took_effect: str | None,
    again: bool,
    by: str,
    wait: bool,
    out: str | None,
    folder: Path | None,
    db: str | None,
    as_json: bool,
) -> int:
    """Run dead letters again, with the steps that depended on them. Those that succeed are closed.

    Of a `once` step that may have taken effect, the outcome is decided first: --took-effect records the result
    under its key and executes nothing; --again executes the step again.

    \b
    Examples:
      agentdeck letters retry 3 4
      agentdeck letters retry 3 --set inputs.country=FR
      agentdeck letters retry --cause 5d1f --try-one
      agentdeck letters retry --all --run last
      agentdeck letters retry 3 --took-effect '{"receipt": 17}'
      agentdeck letters retry 3 --again

    Exit codes: 0 the dead letters and the steps that depended on them are done, 1 some failed again, 2 usage or
    an invalid file, 3 the store or a provider is unusable, 130 interrupted (resumable).
    """
    from agentdeck.cli.retry import execute, show_plan
    from agentdeck.cli.run_session import ExecutionOptions
    from agentdeck.operations.letters import by_cause, plans_for

    if bool(ids) + (cause is not None) + everyone != 1:
        raise click.UsageError("name the dead letters: their ids, --cause CAUSE, or --all")
    chosen = _choose(db, ids, cause, run)
    if not chosen:
        click.echo("no dead letters", err=True)
        return 0
    _check_one_run(chosen, out, folder)
    options = ExecutionOptions(db, wait=wait, as_json=as_json, by=by, out=out)
    if folder is not None:
        with open_store(db) as reader:
            relocated(reader, chosen[0].run, folder, author(options.by))
    _decide(chosen, took_effect, again, options)

    def plans(some: Sequence[Letter]) -> list[RetryPlan]:
        with open_store(db) as reader:
            return plans_for(reader, some, settings, named=not everyone)

    remaining = chosen
    if try_one:
        first = [some[0] for _, some in by_cause(chosen)]
        for plan in plans(first):
            show_plan(plan)
            if plan.steps and not _try(plan, options):
                return 1
        remaining = [one for one in chosen if one not in first]
    code = 0
    for plan in plans(remaining):
        show_plan(plan)
        if plan.steps:
            code = max(code, execute(plan, options))
    return code


def _choose(db: str | None, ids: Sequence[int], cause: str | None, run: str | None) -> list[Letter]:
    """The letters with these ids, of this cause, or all that are open."""
    from agentdeck.operations.letters import find_letters, open_letters_by_id, open_letters_of_cause

    with open_store(db) as reader:
        if ids:
            return open_letters_by_id(reader, ids)
        if cause is not None:
            return open_letters_of_cause(reader, run, cause)
        return find_letters(reader, run, "open")


def _check_one_run(chosen: Sequence[Letter], out: str | None, folder: Path | None) -> None:
    """Raises UsageError if the letters are of several runs and an option belongs to one run."""
    several = len({one.run for one in chosen}) > 1
    for value, what in ((out, "--out takes the tasks of one run"), (folder, "--folder belongs to one run")):
        if several and value is not None:
            raise click.UsageError(f"{what}, but these dead letters belong to several runs: add --run RUN")


def _decide(chosen: Sequence[Letter], took_effect: str | None, again: bool, options: ExecutionOptions) -> None:
    """Record whether the `once` steps of these letters took effect. Does nothing without one of the options."""
    from agentdeck.operations.inputs import json_or_text
    from agentdeck.operations.once_decision import decide

    if took_effect is None and not again:
        return
    if took_effect is not None and again:
        raise click.UsageError("--took-effect and --again exclude each other: it took effect, or it did not")
    if took_effect is not None and len(chosen) != 1:
        raise click.UsageError("--took-effect takes one dead letter, as each has its own result")
    result = None if took_effect is None else (json_or_text(took_effect),)
    keys = decide(database(options.db), chosen, result, author(options.by))
    effect = "will be executed again" if result is None else "is recorded with this result; nothing is executed"
    for key in dict.fromkeys(keys.values()):
        say(f"once key {key} {effect}")


def _try(plan: RetryPlan, options: ExecutionOptions) -> bool:
    """Retry one letter of each cause and print the results; returns whether all of them succeeded."""
    from agentdeck.cli.retry import execute
    from agentdeck.operations.letters import trial_results
    from agentdeck.operations.retry import newest_letter

    with open_store(options.db) as reader:
        newest = newest_letter(reader, plan.run)
        execute(plan, options)
        succeeded = True
        for task, step, failed in trial_results(reader, plan, newest):
            if failed is not None:
                succeeded = False
                say(
                    f"task {task}: {step} failed again: {failed.fault.message}; the other dead letters were not "
                    "retried"
                )
            else:
                say(f"task {task}: {step} succeeded")
    return succeeded


@letters.command()
@click.argument("ids", metavar="ID…", type=int, nargs=-1, required=True)
@click.option("--why", required=True, metavar="TEXT", help="The reason.")
@command_options
def drop(ids: tuple[int, ...], why: str, by: str, db: str | None) -> None:
    """Close dead letters without running them. The reason and its author are recorded.

    \b
    Example:
      agentdeck letters drop 3 4 --why "test orders"
    """
    from agentdeck.operations import letters as operations

    with open_store(db) as reader:
        chosen = operations.open_letters_by_id(reader, ids)
    operations.drop(database(db), chosen, why, author(by))
    out(f"{plural(len(chosen), 'dead letter')} dropped")


@letters.command()
@click.argument("run", metavar="[RUN]", required=False, shell_complete=complete.runs)
@click.option("--state", default="open", metavar="STATE", help="open, retried, closed, dropped, or all.")
@db_option
def export(run: str | None, state: str, db: str | None) -> None:
    """Print dead letters as JSON lines.

    \b
    Example:
      agentdeck letters export last > letters.jsonl
    """
    from agentdeck.operations.letters import find_letters, letter_document

    with open_store(db) as reader:
        for one in find_letters(reader, run, state):
            print_document(letter_document(one))
