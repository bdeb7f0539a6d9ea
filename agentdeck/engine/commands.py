"""The commands that the owner of a run carries out.

Other processes put a request into the store: one command with its arguments. Its handler returns the events that
it means in the state the run is in, each with the time and the author. `COMMANDS` is the whole list. A test
checks that every command which an action of the registry (`operations/actions.py`) sends has a handler here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from agentdeck.engine.reopened_steps import reopen_order
from agentdeck.errors import UsageError
from agentdeck.limits.provider_limits import NAMES as CAPS
from agentdeck.limits.provider_limits import in_deck_notation, range_of, with_changes
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import PERSON, complete, decision, describe, refusal
from agentdeck.scheduler.questions import APPROVED, approval_of, by_decision, current, with_decision
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.scheduler.state import OPEN, WAITING
from agentdeck.scheduler.tiers import TIERS
from agentdeck.store.commands import Request
from agentdeck.workflow.model import Data, ProviderLimits
from agentdeck.workflow.units import show_duration, thousandths, whole_where_exact
from agentdeck.workflow.wording import did_you_mean

Events: TypeAlias = list[ev.Event | ev.Signal]
Outcome: TypeAlias = tuple[Events, Data]


class Command(NamedTuple):
    """A request as its handler sees it: the arguments, the state of the run, the time, and who asked."""

    args: Mapping[str, Data]
    scheduler: Scheduler
    at: float
    who: str
    author: ev.Author


def order(request: Request, scheduler: Scheduler, at: float) -> Outcome:
    """Returns the events that a request means now, and the answer to its sender. Raises UsageError, with what is
    possible, where the request cannot be carried out."""
    handler = COMMANDS.get(request.verb)
    if handler is None:
        raise UsageError(f"{request.verb} is not a command of a run")
    return handler(Command(dict(request.args or {}), scheduler, at, request.who, request.author))


def _pause(command: Command) -> Outcome:
    return [ev.RunPaused(command.at, "", command.who)], "paused"


def _resume(command: Command) -> Outcome:
    return [ev.RunUnpaused(command.at, command.who)], "continued"


def _drain(command: Command) -> Outcome:
    state = command.scheduler.state
    running = len(state.running) - state.calling
    return [ev.RunDrained(command.at, command.who)], f"draining: {running} running steps will finish"


def _hurry(command: Command) -> Outcome:
    task = str(command.args["task"])
    if task not in command.scheduler.state.tasks:
        raise UsageError(f"task {task} is not open")
    return [ev.TaskHurried(command.at, task, command.who)], f"task {task} runs before all others"


def _release(command: Command) -> Outcome:
    task, step = _find(command, WAITING)
    return [ev.StepReleased(command.at, task, step, command.who)], f"{step} starts with what has arrived"


def _retry(command: Command) -> Outcome:
    together, answer = reopen_order(command.args, command.scheduler, command.at, command.who)
    return [together], answer


def _approve(command: Command) -> Outcome:
    """The decision of an operator, with the defaults of the fields that were not given."""
    args = command.args
    task, key = _find(command, OPEN)
    step = command.scheduler.state.step(task, key)
    does, question = approval_of(step), current(step)
    if does is None:
        raise UsageError(f"{key} of task {task} asks nothing")
    approved, given = decision(key, args.get("approved")), dict(args.get("fields") or {})
    if question is not None and APPROVED in does.fields:
        given = with_decision(does, approved, given)
    elif question is not None and (not approved or not given):
        plain = by_decision(question, approved)
        if plain is None and not approved:
            raise UsageError(
                f"{key} of task {task} asks a question that is not answered with no; cancel the step"
            )
        given |= plain or {}
    if why := refusal(key, does, given):
        raise UsageError(why)
    fields, defaults = complete(does, given)
    answered = ev.StepAnswered(
        command.at, task, key, approved, fields, command.who, PERSON, command.author, defaults,
        "" if question is None else str(question["id"]),
    )  # fmt: skip
    return [answered], f"{key} of task {task}: {describe(answered)}"


def _cancel(command: Command) -> Outcome:
    """Cancels the run, a task, a step of a task, or a step in every open task, by the arguments given."""
    args, scheduler, at, who = command.args, command.scheduler, command.at, command.who
    task, step, now = str(args.get("task") or ""), str(args.get("step") or ""), bool(args.get("now"))
    if task and task not in scheduler.state.tasks:
        raise UsageError(f"task {task} is not open")
    if not step:
        return [ev.CancelAsked(at, task, "", who, now)], f"{f'task {task}' if task else 'run'} cancelled"
    found = {
        t.id: s for t in scheduler.state.tasks.values() if task in ("", t.id) and (s := t.step(step)) is not None
    }
    where = f"of task {task}" if task else "of any open task"
    if not found:
        raise UsageError(f"there is no step {step} {where}")
    live = [name for name, one in found.items() if not one.ended]
    if not live:
        raise UsageError(
            f"step {step} {where} has ended ({', '.join(sorted({s.state for s in found.values()}))})"
        )
    what = f"step {step} of task {task} cancelled" if task else f"{step} cancelled in {len(live)} tasks"
    return [ev.CancelAsked(at, name, step, who, now) for name in live], what


def _skip(command: Command) -> Outcome:
    """Skips a step that has not ended: the steps that need it go on without it."""
    task, key = str(command.args["task"]), str(command.args["step"])
    step = command.scheduler.state.find(task, key)
    if step is None or step.ended:
        raise UsageError(f"no step {key} of task {task} is open")
    return [ev.SkipAsked(command.at, task, key, command.who)], f"{key} of task {task} skipped"


def _find(command: Command, state: str) -> tuple[str, str]:
    """Returns the task and the step that are meant: in the task named, or in the only task whose step of this
    name is in this state."""
    step, task = str(command.args["step"]), str(command.args.get("task") or "")
    if "/" in step and not task:
        task, step = step.rsplit("/", 1)
    found = [
        t.id
        for t in command.scheduler.state.tasks.values()
        if (s := t.step(step)) is not None and s.state == state and (not task or t.id == task)
    ]
    if not found:
        raise UsageError(f"no step {step} is waiting" + (f" in task {task}" if task else ""))
    if len(found) > 1:
        raise UsageError(f"{step} waits in {len(found)} tasks ({', '.join(found[:5])}…); name one with --task")
    return found[0], step


def _limits(command: Command) -> Outcome:
    """Sets all the limits or none: a value out of range is refused, with the range, before anything changes."""
    events: Events = [_limit(command, name, value) for name, value in command.args.items()]
    return events, {name: _shown(name, value) for name, value in command.args.items()}


def _limit(command: Command, name: str, value: Data) -> ev.LimitChanged:
    scheduler, at, who = command.scheduler, command.at, command.who
    head, _, limit = name.partition(".")
    if head in scheduler.provider_limits:
        return ev.LimitChanged(at, name, *_provider_limit(name, head, limit, value, scheduler), who)
    if name in scheduler.state.resources.by_name:
        return ev.LimitChanged(at, name, *_resource_limit(name, value, scheduler), who)
    if name == "workers":
        old: Data = scheduler.state.workers
    else:
        try:
            rule, setting = scheduler.state.setting(name)
        except (KeyError, ValueError):
            raise UsageError(f"there is no limit {name}; {_known(name, scheduler)}") from None
        old = getattr(rule, setting)
    least, most = range_of(name)
    numbers = int | float if name.endswith(".timeout") else int
    fits = isinstance(value, numbers) and not isinstance(value, bool) and least <= value <= most
    if not fits and not (value is None and name.endswith(".max_parallel")):
        allowed = f"{_shown(name, least)} to {_shown(name, most)}" + (
            ", a whole number" if numbers is int else ""
        )
        raise UsageError(f"{name}={_shown(name, value)} is out of range: {allowed}")
    return ev.LimitChanged(at, name, old, value, who)


def _resource_limit(name: str, value: Data, scheduler: Scheduler) -> tuple[Data, Data]:
    """The old and the new limit of a shared resource. 0 holds the steps that use it."""
    try:
        new = whole_where_exact(thousandths(value) / 1000)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None
    return whole_where_exact(scheduler.state.resources.by_name[name].limit / 1000), new


def _shown(name: str, value: Data) -> Data:
    """The value as an operator writes it."""
    timed = name.endswith(".timeout") and isinstance(value, int | float) and 0 <= value < math.inf
    return show_duration(value) if timed else value


def _provider_limit(name: str, provider: str, limit: str, value: Data, scheduler: Scheduler) -> tuple[Data, Data]:
    """The old and the new value of a provider's limit, both as an operator writes them."""
    try:
        new = in_deck_notation(with_changes(ProviderLimits(), {limit: value})).get(limit)
    except KeyError:
        raise UsageError(f"{provider} has no limit {limit}; there are {', '.join(CAPS)}") from None
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None
    return scheduler.state.changed_limits.get(
        name, in_deck_notation(scheduler.provider_limits[provider]).get(limit)
    ), new


def _budget(command: Command) -> Outcome:
    """Raises or replaces a bound of the budget, or moves the rest of the run to the lowest tier. A run that
    paused because its budget was used up goes on."""
    args, scheduler, at, who = command.args, command.scheduler, command.at, command.who
    events: Events = []
    done: dict[str, Data] = {}
    if args.get("lowest"):
        events.append(ev.LimitChanged(at, "budget.tier", None, TIERS[0], who))
        done["budget.tier"] = TIERS[0]
    if args.get("amount") is not None:
        changed, new = _bound(command)
        events.append(changed)
        done[changed.name] = new
    if scheduler.state.paused and scheduler.state.pause_reason.startswith("budget"):
        events.append(ev.RunUnpaused(at, who))
    return events, done


def _bound(command: Command) -> tuple[ev.LimitChanged, float]:
    args = command.args
    measure, amount = str(args["measure"]), args["amount"]
    if measure not in ("usd", "tokens", "task.usd", "task.tokens"):
        raise UsageError(f"there is no budget in {measure}; there are usd, tokens, task.usd and task.tokens")
    old = command.scheduler.state.accounts.bound(measure)
    new = (old or 0) + amount if args.get("more") else amount
    if not isinstance(amount, int | float) or isinstance(amount, bool) or not 0 <= new < 1e12:
        raise UsageError(f"a budget of {new} {measure} is not possible")
    if args.get("more") and old is None:
        raise UsageError(f"there is no budget in {measure} to add to; give the whole amount, without +")
    new = int(new) if measure.endswith("tokens") else round(new, 6)
    return ev.LimitChanged(command.at, f"budget.{measure}", old, new, command.who), new


def _known(name: str, scheduler: Scheduler) -> str:
    """The limit that was meant, or examples of the names of limits, for a refusal."""
    agents, settings = scheduler.state.program.index, ("timeout", "attempts", "max_parallel")
    caps = [f"{provider}.{limit}" for provider in scheduler.provider_limits for limit in CAPS]
    of_run = ["workers", *scheduler.state.resources.by_name, *caps]
    of_agents = [f"agents.{agent}.{setting}" for agent in agents for setting in settings]
    return did_you_mean(
        name, [*of_run, *of_agents], f"there are {', '.join([*of_run, *of_agents[: len(settings)], '…'])}"
    )


COMMANDS: dict[str, Callable[[Command], Outcome]] = {
    "pause": _pause,
    "resume": _resume,
    "drain": _drain,
    "cancel": _cancel,
    "skip": _skip,
    "hurry": _hurry,
    "release": _release,
    "approve": _approve,
    "retry": _retry,
    "limits": _limits,
    "budget": _budget,
}
