"""The budgets of a run and of its tasks: what is held, settled and in force."""

from __future__ import annotations

from agentdeck.limits.budget import Hold
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.budget_accounts import INFINITE, BudgetAccounts
from agentdeck.workflow.model import Budget
from tests.scheduler.driver import ledgers

LADDER = ((0.5, "reduce"), (0.8, "downgrade"), (1.0, "ask"))


def test_without_a_budget_nothing_binds() -> None:
    accounts = BudgetAccounts(None)
    assert accounts.of("1") == []
    assert accounts.left("1") == (INFINITE, INFINITE)
    assert accounts.refuses("1", Hold(10**9)) is None
    assert ledgers(accounts) == {}


def test_a_nested_task_uses_the_budget_of_the_task_that_contains_it() -> None:
    accounts = BudgetAccounts(Budget(tokens=100, task=Budget(tokens=40), ladder=LADDER))
    accounts.hold("3/review", Hold(30))
    assert {name: ledger.held_tokens for name, ledger in accounts.of("3")} == {"": 30, "3": 30}
    assert {name: ledger.held_tokens for name, ledger in accounts.of("4")} == {"": 30, "4": 0}
    accounts.settle("3/review", Hold(30), ev.Usage(10, 5), lost=False)
    assert accounts.left("3") == (25, INFINITE)
    accounts.close("3")
    assert "3" not in accounts.tasks
    assert accounts.left("4")[0] == 40


def test_unknown_use_counts_as_likely_where_the_attempt_is_lost() -> None:
    for lost, used in ((True, 20), (False, 0)):
        accounts = BudgetAccounts(Budget(tokens=100, ladder=LADDER))
        hold = Hold(50, 0.0, 15, 5)
        accounts.hold("1", hold)
        accounts.settle("1", hold, None, lost=lost)
        assert accounts.run is not None
        assert (accounts.run.used_tokens, accounts.run.held_tokens) == (used, 0)


def test_a_rung_is_in_force_until_more_is_granted() -> None:
    accounts = BudgetAccounts(Budget(tokens=100, ladder=LADDER))
    accounts.hold("1", Hold(60))
    accounts.enforce("", "reduce")
    assert accounts.in_force("1", "reduce")
    assert not accounts.in_force("1", "downgrade")
    assert accounts.savings("1") == ["reduce"]
    accounts.grant("tokens", 1000)
    assert not accounts.in_force("1", "reduce")
    assert accounts.bound("tokens") == 1000


def test_the_lowest_tier_takes_the_place_of_a_downgrade() -> None:
    accounts = BudgetAccounts(Budget(tokens=100, ladder=LADDER))
    accounts.enforce("", "downgrade")
    accounts.grant("tier", "routing")
    assert accounts.savings("1") == ["routing"]
