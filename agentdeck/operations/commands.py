"""Commands to the process that holds a run.

Each function returns a command from what the operator typed or chose; `send` writes it into the store and waits
for the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from agentdeck.errors import UsageError
from agentdeck.limits.provider_limits import SPACED, is_resource
from agentdeck.operations.inputs import pair, read
from agentdeck.scheduler.events import Author
from agentdeck.store.command_client import CommandAnswer, send_and_wait
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from agentdeck.workflow.model import Approve, Data, Type
from agentdeck.workflow.units import (
    duration,
    rate,
    rate_without_burst,
    show_rate,
    size,
    thousandths,
    whole_where_exact,
)
from agentdeck.workflow.wording import did_you_mean

#: Limits of a provider that are rates, such as 80/min.
RATES = ("requests", "tokens", "input_tokens", "output_tokens")


class RunCommand(NamedTuple):
    """The verb and the arguments of a command, as `engine/commands.py` reads them."""

    verb: str
    args: dict[str, Data]


def send(db: Path, run: str, command: RunCommand, author: Author) -> CommandAnswer:
    """Send a command to the process that holds the run, and wait for its answer. Its `ok` is False if no process
    holds the run. Raises UsageError for an unknown run, StoreError if the store cannot be used."""
    return send_and_wait(db, run, command.verb, command.args, author)


def pause() -> RunCommand:
    """Start no more steps."""
    return RunCommand("pause", {})


def unpause() -> RunCommand:
    """Continue after a pause."""
    return RunCommand("resume", {})


def drain() -> RunCommand:
    """Let running steps finish, then end the process."""
    return RunCommand("drain", {})


def cancel(task: str | None = None, step: str | None = None, *, now: bool = False) -> RunCommand:
    """Cancel the run, a task, or a step in one task or in all. `now` kills programs without a grace period."""
    given = {"task": task, "step": step, "now": now}
    return RunCommand("cancel", {name: value for name, value in given.items() if value})


def skip(step: str, task: str) -> RunCommand:
    """Skip a step that has not ended."""
    return RunCommand("skip", {"task": task, "step": step})


def hurry(task: str) -> RunCommand:
    """Give a task the highest priority."""
    return RunCommand("hurry", {"task": task})


def release(step: str, task: str | None = None) -> RunCommand:
    """Let a join start with the results that have arrived."""
    return RunCommand("release", {"step": step, **_task(task)})


def approve(
    reader: Reader, row: RunRow, step: str, task: str | None, approved: bool, fields: Iterable[str]
) -> RunCommand:
    """Answer an approval; `fields` are `name=value`. Raises UsageError if a field is unknown, missing or of the
    wrong type."""
    # It imports the engine, which the other commands do without.
    from agentdeck.operations.questions import question_of
    from agentdeck.scheduler.approvals import refusal
    from agentdeck.scheduler.questions import with_decision

    found = question_of(reader, row, step, task)
    question = None if found is None else found.does
    values = _field_values(question, step, fields)
    if found is not None and found.own:
        values = with_decision(found.does, approved, values)
    if question is not None and (why := refusal(step, question, values)):
        raise UsageError(why)
    return answer(step, task, approved, values)


def answer(step: str, task: str | None, approved: bool, fields: Mapping[str, Data]) -> RunCommand:
    """Answer an approval with values that were checked already."""
    return RunCommand("approve", {"step": step, "approved": approved, "fields": dict(fields), **_task(task)})


def _field_values(question: Approve | None, step: str, fields: Iterable[str]) -> dict[str, Data]:
    declared = question.fields if question is not None else {}
    values: dict[str, Data] = {}
    for text in fields:
        name, value = pair(text, "--field")
        if declared and name not in declared:
            known = did_you_mean(name, declared, f"it has {', '.join(declared)}")
            raise UsageError(f"{step} has no field {name}; {known}")
        try:
            values[name] = read(value, declared.get(name, Type()))
        except ValueError as error:
            raise UsageError(f"--field {name}: {error}") from None
    return values


def set_limits(changes: Mapping[str, Data]) -> RunCommand:
    """Change limits by name, such as `agents.extract.timeout`."""
    return RunCommand("limits", dict(changes))


def limit_change(text: str) -> tuple[str, Data]:
    """Name and value of `name=value`, such as `openai.requests=80/min`. Raises UsageError."""
    name, value = pair(text, "limits")
    if is_resource(name):
        return name, _amount(name, value)
    try:
        return name, _limit_value(name, value)
    except ValueError as error:
        named = any(word in str(error) for word in ("duration", "rate", "burst"))
        raise UsageError(f"{name}: {error if named else f'{value!r} is not a whole number'}") from None


def _amount(name: str, text: str) -> float:
    """The limit of a shared resource."""
    try:
        number = float(text)
    except ValueError:
        raise UsageError(f"{name}: {text!r} is not a number") from None
    try:
        return whole_where_exact(thousandths(number) / 1000)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def _limit_value(name: str, value: str) -> Data:
    last = name.rsplit(".", 1)[-1]
    if last == "timeout":
        return duration(value)
    if last in RATES and not name.startswith("agents."):
        return (
            None if value == "none" else show_rate(rate(value) if last in SPACED else rate_without_burst(value))
        )
    if last == "concurrent" and value in ("auto", "none"):
        return value
    return int(value)


def change_budget(
    amount: str | None, *, tokens: bool = False, of_task: bool = False, lowest_tier: bool = False
) -> RunCommand:
    """Grant more (`+0.40`) or set the whole budget (`2.50`), in dollars or tokens, of the run or of each task;
    `lowest_tier` sends the rest of the prompts to the routing tier. Raises UsageError."""
    measure = ("task." if of_task else "") + ("tokens" if tokens else "usd")
    more = amount is not None and amount.startswith("+")
    value = None if amount is None else budget_amount(amount.removeprefix("+"), tokens)
    return RunCommand("budget", {"measure": measure, "amount": value, "more": more, "lowest": lowest_tier})


def set_budget(measure: str, amount: Data) -> RunCommand:
    """Set the whole budget of a measure, such as `usd` or `task.tokens`."""
    return RunCommand("budget", {"measure": measure, "amount": amount, "more": False})


def budget_from(text: str) -> RunCommand:
    """The change of the budget in one line: `+0.40`, `2.50`, `+100k tokens`. Raises UsageError."""
    tokens = text.endswith("tokens")
    amount = text.removesuffix("tokens").strip()
    if not 0 < budget_amount(amount.removeprefix("+"), tokens) < float("inf"):
        raise UsageError(f"{amount} is not an amount; write what is more than nothing")
    return change_budget(amount, tokens=tokens)


def budget_amount(text: str, tokens: bool) -> float:
    """Dollars (`0.40`, `$2`) or tokens (`100k`). Raises UsageError."""
    try:
        return size(text) if tokens else float(text.removeprefix("$"))
    except ValueError:
        what = "a number of tokens like 100k" if tokens else "dollars like 0.40"
        raise UsageError(f"{text!r} is not an amount; write {what}") from None


def _task(task: str | None) -> dict[str, Data]:
    return {"task": task} if task else {}
