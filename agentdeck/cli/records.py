"""The verbs that print the records of a run: `events`, `watch`, `logs`, `results`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from agentdeck.cli import complete
from agentdeck.cli.error_output import DONE, FAILED, INTERRUPTED, say
from agentdeck.cli.options import db_option, json_option, out_option, run_argument
from agentdeck.cli.text_tables import cut, dump, out, print_document
from agentdeck.errors import OutputError
from agentdeck.insight.formatting import clock
from agentdeck.operations.recorded_run import LIVE, known_agent, open_store
from agentdeck.operations.settings import database
from agentdeck.terminal_text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agentdeck.workflow.model import Data

#: Fields of an event that its line shows in columns.
COLUMNS = ("seq", "at", "event", "run", "task", "step")
#: Characters of the other fields that its line shows.
LONGEST = 300
#: Seconds between two looks at a live run.
POLL = 0.1


@click.command()
@run_argument
@db_option
@json_option("Print one JSON object per event.")
def events(run: str, db: str | None, as_json: bool) -> None:
    """Print all events of a run, in order. RUN is an id, the beginning of one, or `last`.

    \b
    Examples:
      agentdeck events last
      agentdeck events last --json > run.jsonl
    """
    with open_store(db) as reader:
        _print_events(reader.raw_events(reader.run(run).run), as_json)


def _print_events(rows: Iterable[dict[str, Data]], as_json: bool) -> None:
    for row in rows:
        if as_json:
            dump(row)
        else:
            out(event_line(row))


def event_line(row: dict[str, Data]) -> str:
    """One event as a line of text, cut to the terminal's width."""
    import json

    place = "/".join(str(row[name]) for name in ("task", "step") if row.get(name))
    rest = " ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in row.items()
        if name not in COLUMNS
    )
    rest = rest if len(rest) <= LONGEST else rest[: LONGEST - 1] + "…"
    return cut(clean(f"{row['seq']:>6}  {clock(row['at'])}  {row['event']:<15} {place:<16} {rest}").rstrip())


@click.command()
@run_argument
@db_option
@json_option("Print one JSON object per event.")
def watch(run: str, db: str | None, as_json: bool) -> int:
    """Follow a run until it ends, from its first event on. Ctrl-C stops watching; the run continues.

    \b
    Examples:
      agentdeck watch last
      agentdeck watch last --json

    Exit codes: 0 the run succeeded, 1 it failed or was cancelled, 130 it was interrupted.
    """
    import sys
    import time

    from agentdeck.store.log_follower import LogFollower

    with open_store(db) as reader:
        row = reader.run(run)
        log = LogFollower(row.run)
        while True:
            row = reader.run(row.run)  # before its events: those of an ended run are then complete
            if log.has_news(reader):
                _print_events(log.read_raw(reader), as_json)
                sys.stdout.flush()
            if row.state not in LIVE:
                break
            time.sleep(POLL)
    if row.state == "interrupted":
        say(f"{row.run} is interrupted; to continue it: agentdeck resume {row.run}")
        return INTERRUPTED
    return DONE if row.state == "done" else FAILED


@click.command()
@run_argument
@db_option
@click.option(
    "--agent",
    metavar="NAME",
    shell_complete=complete.agents,
    help="Only of this agent, or of one of its steps (name[0]).",
)
@click.option("--task", metavar="TASK", help="Only of this task.")
@click.option("--tail", type=click.IntRange(1), metavar="N", help="Print only the last lines, this many.")
@json_option("Print one JSON object per line.")
def logs(run: str, db: str | None, agent: str | None, task: str | None, tail: int | None, as_json: bool) -> None:
    """Print what agents logged. RUN is an id, the beginning of one, or `last`.

    \b
    Examples:
      agentdeck logs last --tail 50
      agentdeck logs last --agent payment --task 17
    """
    from agentdeck.engine.resume import definition_of

    with open_store(db) as reader:
        row = reader.run(run)
        found = reader.logs(row.run, agent=agent, task=task, tail=tail)
        if agent is not None and not found:
            known_agent(definition_of(reader, row), agent.partition("[")[0])
    if as_json:
        from agentdeck.operations.results import log_line

        for line in found:
            print_document(log_line(row.run, line))
    else:
        for line in found:
            level = "" if line.level == "info" else f"{line.level}: "
            out(clean(f"{clock(line.at)}  {line.task}/{line.step}  {level}{line.text}"))


@click.command()
@run_argument
@out_option
@db_option
def results(run: str, out: str | None, db: str | None) -> None:
    """Print a JSON line per task that has ended, in the order of the tasks, or write them to a file.

    The lines are those of `run --out`: task, state, inputs, output, error.

    \b
    Examples:
      agentdeck results last > all.jsonl
      agentdeck results last --out done.jsonl
    """
    from agentdeck.cli.text_tables import out as print_line
    from agentdeck.operations.out_file import refuse_input, result_line, write_results
    from agentdeck.store.final_states import final_states

    refuse_input(out, database(db))
    with open_store(db) as reader:
        name = reader.run(run).run
    states = final_states(database(db), name)
    if out is None:
        for state in states:
            if state.state != "open":
                print_line(result_line(state))
        return
    try:
        ended, opened = write_results(out, states)
    except OSError as error:
        raise OutputError(f"{out}: {error.strerror or error}") from None
    left = f"; {opened - ended:,} have not ended yet" if opened > ended else ""
    click.echo(f"{name}: {ended:,} task{'' if ended == 1 else 's'} in {out}{left}", err=True)
