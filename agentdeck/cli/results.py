"""`results`: the final state of every task of a run, as `run --out` writes it."""

from __future__ import annotations

import click

from agentdeck.cli.options import db_option, out_option, run_argument


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
    from agentdeck.errors import OutputError
    from agentdeck.operations.out_file import refuse_input, write_results
    from agentdeck.operations.recorded_run import open_store
    from agentdeck.operations.settings import database
    from agentdeck.store.final_states import final_states

    refuse_input(out, database(db))
    with open_store(db) as reader:
        name = reader.run(run).run
    states = final_states(database(db), name)
    if out is None:
        for state in states:
            if state.state != "open":
                print_line(state.line)
        return
    try:
        ended, opened = write_results(out, states)
    except OSError as error:
        raise OutputError(f"{out}: {error.strerror or error}") from None
    left = f"; {opened - ended:,} have not ended" if opened > ended else ""
    click.echo(f"{name}: {ended:,} task{'' if ended == 1 else 's'} in {out}{left}", err=True)
