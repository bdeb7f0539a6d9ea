"""`letters`: what finally failed, by cause; looked into, run again, dropped, exported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agentdeck.cli import complete
from agentdeck.cli.options import by_option, db_option, folder_option, json_option, out_option, wait_option

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from agentdeck.cli.resume_session import Execution
    from agentdeck.engine.retry import RetryPlan
    from agentdeck.store.letters import Letter
    from agentdeck.store.reader import Reader
    from agentdeck.workflow.model import Data


class Listing(click.Group):
    """Without one of its verbs, it lists."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = args and (args[0] in self.commands or args[0] in ("-h", "--help"))
        if not named and not (ctx.resilient_parsing and not args):
            args = ["list", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        return [*super().shell_complete(ctx, incomplete), *complete.runs(ctx, None, incomplete)]


@click.group(cls=Listing, subcommand_metavar="[RUN] | VERB …")
def letters() -> None:
    """Dead letters: steps that failed for good, of a run or of all, grouped by cause.

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
@json_option("A JSON list of causes, with their letters.")
def listed(run: str | None, state: str, db: str | None, as_json: bool) -> None:
    """List letters by cause, the most frequent first.

    \b
    Examples:
      agentdeck letters
      agentdeck letters last --json
      agentdeck letters list --state all
    """
    from agentdeck.cli.options import store
    from agentdeck.cli.text_tables import dump, out, table
    from agentdeck.insight.formatting import plural
    from agentdeck.terminal_text import clean

    with store(db) as reader:
        found = _found(reader, run, state)
    groups = by_cause(found)
    if as_json:
        dump([{**_cause(cause, some), "letters": [plainly(one) for one in some]} for cause, some in groups])
        return
    if not found:
        click.echo("no letters", err=True)
        return
    for cause, some in groups:
        last = some[-1]
        out(
            clean(
                f"{cause}  {plural(len(some), 'letter')}  {last.agent}: {last.fault.kind}: {last.fault.message}"
            )
        )
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


#: Letters of one cause that a list shows.
SHOWN = 5


@letters.command()
@click.argument("letter", metavar="ID", type=int)
@db_option
@json_option("One JSON object.")
def show(letter: int, db: str | None, as_json: bool) -> None:
    """Show a letter: its error, inputs, attempts and the version it failed under.

    \b
    Example:
      agentdeck letters show 3
    """
    import json

    from agentdeck.cli.db_hint import with_db
    from agentdeck.cli.options import store
    from agentdeck.cli.text_tables import dump, out
    from agentdeck.engine.once_decision import choices, undecided_key
    from agentdeck.insight.formatting import moment
    from agentdeck.terminal_text import clean

    with store(db) as reader:
        one = _named(reader, (letter,))[0]
        undecided = undecided_key(reader, one)
    if as_json:
        dump(plainly(one))
        return
    out(f"letter {one.id}  {one.state}" + (clean(f": {one.why}") if one.why else ""))
    out(clean(f"run {one.run}, task {one.task}, step {one.step}, {one.attempts} attempts, {moment(one.at)}"))
    out(f"definition {one.identity[:12]}  cause {one.cause}")
    out(clean(f"{one.fault.kind}: {one.fault.message}"))
    if one.fault.detail:
        out(clean(one.fault.detail, lines=True))
    if undecided:
        did, again = choices(one.id)
        out(with_db(f"Then decide it:\n  {did}   (JSON or text; nothing is executed)"))
        out(with_db(f"  {again}   (it is executed again)"))
    out(clean(json.dumps(one.inputs, ensure_ascii=False, indent=2), lines=True))


@letters.command()
@click.argument("ids", metavar="[ID]…", type=int, nargs=-1)
@click.option("--cause", metavar="CAUSE", help="All open letters of this cause.")
@click.option("--all", "everyone", is_flag=True, help="All open letters.")
@click.option("--run", metavar="RUN", shell_complete=complete.runs, help="Of this run only.")
@click.option(
    "--set", "settings", multiple=True, metavar="inputs.NAME=VALUE", help="Another input for the tasks."
)
@click.option("--try-one", is_flag=True, help="Run one of each cause, and the rest only if that went well.")
@click.option("--took-effect", metavar="RESULT", help="It did, with this result (JSON or text); execute nothing.")
@click.option("--again", is_flag=True, help="It did not take effect, or may do so twice: execute it again.")
@by_option
@wait_option
@out_option
@folder_option
@db_option
@json_option("Print one JSON object per run: the summary.")
def retry(
    ids: tuple[int, ...],
    cause: str | None,
    everyone: bool,
    run: str | None,
    settings: tuple[str, ...],
    try_one: bool,
    took_effect: str | None,
    again: bool,
    by: str | None,
    wait: bool,
    out: str | None,
    folder: Path | None,
    db: str | None,
    as_json: bool,
) -> int:
    """Run letters again, with what depended on them; what succeeds is closed.

    The letter of a `once` step that may have taken effect is decided first: with --took-effect, the result is
    recorded under its key and nothing is executed; with --again, the step is executed again.

    \b
    Examples:
      agentdeck letters retry 3 4
      agentdeck letters retry 3 --set inputs.country=FR
      agentdeck letters retry --cause 5d1f --try-one
      agentdeck letters retry --all --run last
      agentdeck letters retry 3 --took-effect '{"receipt": 17}'
      agentdeck letters retry 3 --again

    Exit codes: 0 these letters and what depended on them are done, 1 some of it failed again, 2 usage or an
    invalid file, 3 the store or a provider is unusable, 130 interrupted (resumable).
    """
    from agentdeck.cli.once_decision import decide
    from agentdeck.cli.options import moved, store
    from agentdeck.cli.resume_session import Execution
    from agentdeck.cli.retry import release, show

    if bool(ids) + (cause is not None) + everyone != 1:
        raise click.UsageError("say which letters: their ids, --cause CAUSE, or --all")
    with store(db) as reader:
        if ids:
            chosen = _open(_named(reader, ids))
        else:
            chosen = [one for one in _found(reader, run, "open") if everyone or one.cause == cause]
        if cause is not None and not chosen:
            _no_such_cause(reader, cause)
    if not chosen:
        click.echo("no letters", err=True)
        return 0
    _one_run(chosen, out, folder)
    how = Execution(db, wait=wait, as_json=as_json, by=by or "", out=out)
    if folder is not None:
        with store(db) as reader:
            moved(reader, chosen[0].run, folder, by)
    decide(chosen, took_effect, again, how)
    code, left = 0, chosen
    if try_one:
        first = [some[0] for _, some in by_cause(chosen)]
        for trial in _plans(db, first, not everyone, settings):
            show(trial)
            if trial.steps and not _tried(trial, how):
                return 1
        left = [one for one in chosen if one not in first]
    for plan in _plans(db, left, not everyone, settings):
        show(plan)
        if plan.steps:
            code = max(code, release(plan, how))
    return code


def _one_run(chosen: Sequence[Letter], out: str | None, folder: Path | None) -> None:
    """Raises UsageError for an option that is about one run, where the letters are of several."""
    if len({one.run for one in chosen}) < 2:
        return
    if out is not None:
        raise click.UsageError(
            "--out takes the tasks of one run, and these letters are of several: add --run RUN"
        )
    if folder is not None:
        raise click.UsageError("--folder is that of one run, and these letters are of several: add --run RUN")


def _no_such_cause(reader: Reader, cause: str) -> None:
    from agentdeck.errors import UsageError

    known = [name for name, _ in by_cause(reader.letters(state="open"))]
    there = f"there are {', '.join(known[:8])}" if known else "there is none"
    raise UsageError(f"no open letter has the cause {cause}; {there}. See: agentdeck letters")


def _tried(trial: RetryPlan, how: Execution) -> bool:
    """Run one letter of each cause, and say what came of it. Whether all of them are closed now."""
    import time

    from agentdeck.cli.error_output import say
    from agentdeck.cli.options import store
    from agentdeck.cli.retry import release

    with store(how.db) as reader:
        newest = max((one.id for one in reader.letters(trial.run)), default=0)
        release(trial, how)
        good = True
        for task, step in trial.steps:
            while True:
                own = [one for one in reader.letters(trial.run) if (one.task, one.step) == (task, step)]
                again = [one for one in own if one.id > newest]
                if again or all(one.state in ("closed", "dropped") for one in own):
                    break
                if reader.run(trial.run).state not in ("running", "paused"):
                    again = own
                    break
                time.sleep(0.05)
            if again:
                good = False
                say(f"task {task}: {step} failed again: {again[-1].fault.message}; the rest is left as it is")
            else:
                say(f"task {task}: {step} went well")
    return good


@letters.command()
@click.argument("ids", metavar="ID…", type=int, nargs=-1, required=True)
@click.option("--why", required=True, metavar="TEXT", help="Why it need not run again.")
@by_option
@db_option
def drop(ids: tuple[int, ...], why: str, by: str | None, db: str | None) -> None:
    """Close letters without running them. The reason is recorded with its author.

    \b
    Example:
      agentdeck letters drop 3 4 --why "test orders"
    """
    from agentdeck.cli.options import store
    from agentdeck.cli.text_tables import out
    from agentdeck.insight.formatting import plural
    from agentdeck.operations.author import author
    from agentdeck.operations.settings import database
    from agentdeck.store.letters import set_letter
    from agentdeck.store.writer import Writer

    with store(db) as reader:
        chosen = _open(_named(reader, ids))
    reason = f"{why}, says {author(by or '').text}"
    writer = Writer(database(db))
    try:
        for one in chosen:
            writer.call(lambda c, number=one.id: set_letter(c, number, "dropped", reason)).result(30)  # type: ignore[misc]
    finally:
        writer.close()
    out(f"{plural(len(chosen), 'letter')} dropped")


@letters.command()
@click.argument("run", metavar="[RUN]", required=False, shell_complete=complete.runs)
@click.option("--state", default="open", metavar="STATE", help="open, retried, closed, dropped, or all.")
@db_option
def export(run: str | None, state: str, db: str | None) -> None:
    """Print letters as JSON lines.

    \b
    Example:
      agentdeck letters export last > letters.jsonl
    """
    from agentdeck.cli.options import store
    from agentdeck.cli.text_tables import dump

    with store(db) as reader:
        for one in _found(reader, run, state):
            dump(plainly(one))


def _found(reader: Reader, run: str | None, state: str) -> list[Letter]:
    from agentdeck.errors import UsageError
    from agentdeck.store.letters import STATES

    if state not in (*STATES, "all"):
        raise UsageError(f"--state {state}: it is one of {', '.join(STATES)}, all")
    name = reader.run(run).run if run is not None else None
    return reader.letters(name, state=None if state == "all" else state)


def _named(reader: Reader, ids: Sequence[int]) -> list[Letter]:
    """The letters of these ids. Raises UsageError for one that is not there."""
    from agentdeck.errors import UsageError

    found = reader.letters(ids=ids)
    missing = [str(number) for number in ids if number not in {one.id for one in found}]
    if missing:
        raise UsageError(f"there is no letter {', '.join(missing)}; see: agentdeck letters")
    return found


def _open(found: Iterable[Letter]) -> list[Letter]:
    """Raises UsageError for a letter that somebody has dealt with."""
    from agentdeck.errors import UsageError

    known = list(found)
    over = next((one for one in known if one.state != "open"), None)
    if over is not None:
        raise UsageError(f"letter {over.id} is {over.state}" + (f": {over.why}" if over.why else ""))
    return known


def _plans(db: str | None, chosen: Sequence[Letter], named: bool, settings: tuple[str, ...]) -> list[RetryPlan]:
    """One plan for each run."""
    from agentdeck.cli.options import store
    from agentdeck.engine.retry import of_letters
    from agentdeck.operations.retry import inputs_from_settings

    plans = []
    with store(db) as reader:
        for name in dict.fromkeys(one.run for one in chosen):
            row = reader.run(name)
            own = [one for one in chosen if one.run == name]
            inputs = inputs_from_settings(reader, row, settings)
            plans.append(of_letters(reader, row, own, named=named, inputs=inputs))
    return plans


def by_cause(found: Iterable[Letter]) -> list[tuple[str, list[Letter]]]:
    """Letters by their cause, the most frequent first."""
    groups: dict[str, list[Letter]] = {}
    for one in found:
        groups.setdefault(one.cause, []).append(one)
    return sorted(groups.items(), key=lambda group: -len(group[1]))


def _cause(cause: str, some: Sequence[Letter]) -> dict[str, Data]:
    last = some[-1]
    return {"cause": cause, "count": len(some), "agent": last.agent, "kind": last.fault.kind,
            "message": last.fault.message}  # fmt: skip


def plainly(one: Letter) -> dict[str, Data]:
    """A letter as JSON tells it."""
    return {
        "id": one.id,
        "run": one.run,
        "task": one.task,
        "step": one.step,
        "agent": one.agent,
        "state": one.state,
        "why": one.why,
        "cause": one.cause,
        "error": {name: value for name, value in one.fault._asdict().items() if value not in (None, "")},
        "inputs": one.inputs,
        "attempts": one.attempts,
        "definition": one.identity,
        "at": one.at,
    }
