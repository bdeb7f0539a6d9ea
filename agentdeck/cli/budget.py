"""`budget`: what a run may use, and granting more."""

from __future__ import annotations

import click

from agentdeck.cli.options import db_option, json_option, run_argument

SHOWN = ("usd", "used_usd", "held_usd", "tokens", "used_tokens", "held_tokens", "rungs")


@click.command(context_settings={"ignore_unknown_options": True})
@run_argument
@click.argument("amount", required=False, metavar="[AMOUNT]")
@click.option("--tokens", is_flag=True, help="The amount is in tokens, not in dollars.")
@click.option("--task", is_flag=True, help="The budget of each task, not of the run.")
@db_option
@json_option("The budget as one JSON object.")
def budget(run: str, amount: str | None, tokens: bool, task: bool, db: str | None, as_json: bool) -> int:
    """Show the budget of a run, or change it: +0.40 grants 40 cents more, 2.50 is the whole of it from now on.
    A run that was parked for its budget goes on.

    \b
    Examples:
      agentdeck budget last
      agentdeck budget last +0.40
      agentdeck budget last +100k --tokens
    """
    from agentdeck.cli.ask import ask
    from agentdeck.cli.options import store
    from agentdeck.cli.pages import dump, out
    from agentdeck.insight.money import accounts_of
    from agentdeck.workflow.model import restored

    if amount is not None:
        measure = ("task." if task else "") + ("tokens" if tokens else "usd")
        more = amount.startswith("+")
        value = amount_of(amount.removeprefix("+"), tokens)
        return ask(db, run, "budget", {"measure": measure, "amount": value, "more": more})
    with store(db) as reader:
        row = reader.run(run)
        definition = restored(reader.definition(row.identity))
        ledger = accounts_of((event for _, event in reader.events(row.run)), definition.budget).run
    if as_json:
        dump(None if ledger is None else {name: getattr(ledger, name) for name in SHOWN})
    elif ledger is None:
        out(f"{row.run} has no budget")
    else:
        out(ledger.told() + (f"; in force: {', '.join(ledger.rungs)}" if ledger.rungs else ""))
    return 0


def amount_of(text: str, tokens: bool) -> float:
    from agentdeck.errors import UsageError
    from agentdeck.workflow.units import size

    try:
        return size(text) if tokens else float(text.removeprefix("$"))
    except ValueError:
        what = "a number of tokens like 100k" if tokens else "dollars like 0.40"
        raise UsageError(f"{text!r} is not an amount; write {what}") from None
