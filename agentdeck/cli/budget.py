"""`budget`: show the budget of a run and what the rest will cost; or change it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from agentdeck.cli.commands import send
from agentdeck.cli.options import command_options, json_option, run_argument, with_db
from agentdeck.cli.text_tables import out, print_document, table
from agentdeck.insight.formatting import dollars, plural
from agentdeck.operations.commands import change_budget
from agentdeck.operations.recorded_run import expected_tasks, load_run, open_store
from agentdeck.terminal_text import clean

if TYPE_CHECKING:
    from agentdeck.documents import command as documents
    from agentdeck.insight.budget_forecast import Forecast
    from agentdeck.limits.budget import Ledger
    from agentdeck.scheduler.budget_accounts import BudgetAccounts
    from agentdeck.store.run_list import RunRow

#: Tasks with a budget of their own that are listed.
TASKS = 10
#: Newest reservations among which the largest is searched.
LAST = 200


@click.command(context_settings={"ignore_unknown_options": True})
@run_argument
@click.argument("amount", required=False, metavar="[AMOUNT]")
@click.option("--tokens", is_flag=True, help="The amount is in tokens, not in dollars.")
@click.option("--task", is_flag=True, help="The budget of each task, not of the run.")
@click.option("--routing", is_flag=True, help="Send all remaining prompts to the routing tier.")
@command_options
@json_option("Print the budget and the forecast of the rest as one JSON object.")
def budget(
    run: str,
    amount: str | None,
    tokens: bool,
    task: bool,
    routing: bool,
    by: str,
    db: str | None,
    as_json: bool,
) -> int:
    """Show the budget of a run, what the rest will cost and which commands help; or change it.

    +0.40 adds 40 cents, 2.50 sets the whole budget. A run that was paused by its budget continues.

    \b
    Examples:
      agentdeck budget last
      agentdeck budget last +0.40
      agentdeck budget last +0.05 --routing
      agentdeck budget last +100k --tokens
    """
    if amount is not None or routing:
        command = change_budget(amount, tokens=tokens, of_task=task, lowest_tier=routing)
        return send(db, run, command, by=by)
    report = _BudgetReport(run, db)
    if as_json:
        print_document(report.document())
    else:
        for line in report.page():
            out(line)
    return 0


class _BudgetReport:
    """The budget of a run and a forecast of the rest, as JSON and as a page."""

    def __init__(self, run: str, db: str | None) -> None:
        from collections import deque
        from pathlib import Path

        from agentdeck.engine.launch import programs
        from agentdeck.engine.resume import nested_of
        from agentdeck.insight.budget_forecast import accounts_of, forecast, likely
        from agentdeck.providers.registry import complete
        from agentdeck.workflow.deck import deck_for

        with open_store(db) as reader:
            self.row: RunRow
            self.row, definition, self.view = load_run(reader, run)
            events = [event for _, event in reader.events(self.row.run)]
            nested = nested_of(reader, self.row)
        folder = Path(str(self.row.source.get("folder") or "."))
        self.accounts: BudgetAccounts = accounts_of(events, programs(definition, folder, {}, nested))
        deck = complete(deck_for(folder))
        self.left: Forecast = forecast(self.view, definition, deck, expected_tasks(self.row, self.view))
        last = deque(likely(events), LAST)
        self.largest = max((one[0] for one in last), default=0), max((one[1] for one in last), default=0.0)

    def document(self) -> documents.Budget:
        from agentdeck.documents import command as documents

        ledger = self.accounts.run
        if ledger is None:
            return documents.Budget.model_construct(None)
        totals: dict[str, Any] = {name: self.left.total(name) for name in documents.AgentLeft.model_fields}
        agents = {one.agent: documents.AgentLeft.of(one) for one in self.left.agents}
        left = documents.BudgetLeft.model_construct(**totals, unopened=self.left.unopened, agents=agents)
        tier = "routing" if self.accounts.lowest else None
        return documents.Budget.model_construct(documents.RunBudget.of(ledger, tier=tier, left=left))

    def page(self) -> Iterator[str]:
        row, ledger = self.row, self.accounts.run
        yield clean(f"{row.run}  {row.workflow}  {row.state}")
        if row.state == "paused":
            why = self.view.timeline.last("paused")
            yield clean(f"paused     {why}")
        if ledger is None and not self.accounts.tasks:
            yield f"{row.run} has no budget"
        if ledger is not None:
            yield f"budget     {_ledger(ledger)}"
        if self.accounts.lowest:
            yield "tier       all remaining prompts go to the routing tier"
        for name, one in list(self.accounts.tasks.items())[:TASKS]:
            yield clean(f"task {name:<6}{_ledger(one)}")
        if row.state not in ("done", "failed", "cancelled"):
            yield from self._rest()

    def _rest(self) -> Iterator[str]:
        """The prompts that are left, and the commands that pay for them or stop the run."""
        open_ = self.view.tasks.opened - self.view.tasks.ended
        more = self.left.unopened
        not_begun = (
            "; tasks that have not started are not counted"
            if more is None
            else f" and {more:,} not started"
            if more
            else ""
        )
        prompts = int(self.left.total("prompts") or 0)
        yield f"left       {plural(prompts, 'prompt')} of {plural(open_, 'open task')}{not_begun}"
        if not prompts:
            return
        yield ""
        rows = [
            (
                one.agent,
                f"{one.prompts:,}",
                _tokens(one.tokens and one.prompts * one.tokens),
                _usd(one.usd),
                *(_usd(value and one.prompts * value) for value in (one.usd, one.usd_routing)),
            )
            for one in self.left.agents
        ]
        total = self.left.total("tokens"), self.left.total("usd"), self.left.total("usd_routing")
        rows.append(("all", f"{prompts:,}", _tokens(total[0]), "", _usd(total[1]), _usd(total[2])))
        heads = ("agent", "left", "tokens", "each", "about", "on routing")
        yield from (clean(line) for line in table(heads, rows, right=range(1, 6)))
        yield ""
        yield "commands"
        yield from self._offers(*total)

    def _offers(self, tokens: float | None, usd: float | None, routing: float | None) -> Iterator[str]:
        from agentdeck.insight.budget_forecast import grant

        run, ledger = self.row.run, self.accounts.run
        cheaper = "the rest on the routing tier"
        offers: dict[str, str] = {}  # by command
        if ledger is None:
            offers[f"agentdeck budget {run} --routing"] = f"{cheaper}: about {_usd(routing)}"
        elif ledger.usd is not None:
            for rest, option, what in (
                (usd, "", "the rest with the same tiers"),
                (routing, " --routing", cheaper),
            ):
                amount = "AMOUNT" if rest is None else _up(grant(ledger, rest, "usd", self.largest[1]))
                offers[f"agentdeck budget {run} +{amount}{option}"] = f"{what}: about {_usd(rest)}"
        else:
            amount = "AMOUNT" if tokens is None else f"{grant(ledger, tokens, 'tokens', self.largest[0]):.0f}"
            command = f"agentdeck budget {run} +{amount} --tokens"
            offers[command] = f"the rest: about {_tokens(tokens)} tokens"
            offers[f"{command} --routing"] = f"{cheaper}, as many tokens"
        done = f"{plural(self.view.tasks.done, 'task')} done"
        results = sum(totals.steps["done"] for totals in self.view.agents.values())
        offers[f"agentdeck cancel {run}"] = f"stop the run: {done}, its {results:,} results stay in the store"
        named = {with_db(command): what for command, what in offers.items()}
        wide = max(map(len, named))
        for command, what in named.items():
            yield f"  {command:<{wide}}  {what}"


def _ledger(ledger: Ledger) -> str:
    return ledger.as_text() + (f"; in force: {', '.join(ledger.rungs)}" if ledger.rungs else "")


def _usd(value: float | None) -> str:
    return "unknown" if value is None else dollars(value)


def _up(value: float) -> str:
    """Dollars rounded up to cents, below 10 cents to hundredths of a cent."""
    import math

    digits = 2 if value >= 0.1 else 4
    return f"{math.ceil(value * 10**digits) / 10**digits:.{digits}f}"


def _tokens(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.0f}"
