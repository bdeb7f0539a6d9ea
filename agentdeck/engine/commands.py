"""What other processes ask of a run: one verb each, turned into an event with who asked and when."""

from __future__ import annotations

from collections.abc import Mapping

from agentdeck.engine.reopened_steps import order_again
from agentdeck.errors import UsageError
from agentdeck.limits.provider_limits import NAMES as CAPS
from agentdeck.limits.provider_limits import told, turned
from agentdeck.limits.ranges import range_of
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import PERSON, complete, describe, refusal
from agentdeck.scheduler.machine import Machine
from agentdeck.scheduler.state import OPEN, WAITING
from agentdeck.scheduler.tiers import TIERS
from agentdeck.store.commands import Request
from agentdeck.workflow.model import Approve, Data, ProviderLimits
from agentdeck.workflow.units import show_duration


def order(request: Request, machine: Machine, at: float) -> tuple[list[ev.Event | ev.Signal], Data]:
    """The events that a request means now, and the answer to whoever asked. Raises UsageError, with what can be
    asked, when it makes no sense."""
    args, who = dict(request.args or {}), request.who
    match request.verb:
        case "pause":
            return [ev.RunPaused(at, "", who)], "paused"
        case "resume":
            return [ev.RunUnpaused(at, who)], "goes on"
        case "drain":
            return [ev.RunDrained(at, who)], f"draining: {len(machine.running)} steps finish"
        case "cancel":
            return _cancel(args, machine, at, who)
        case "skip":
            return _skip(args, machine, at, who)
        case "hurry":
            task = str(args["task"])
            if task not in machine.tasks:
                raise UsageError(f"task {task} is not open")
            return [ev.TaskHurried(at, task, who)], f"task {task} goes first"
        case "release":
            task, step = _find(args, machine, WAITING)
            return [ev.StepReleased(at, task, step, who)], f"{step} goes with what has arrived"
        case "approve":
            task, step = _find(args, machine, OPEN)
            answered = _answer(request, machine, task, step, at)
            return [answered], f"{step} of task {task}: {describe(answered)}"
        case "retry":
            together, answer = order_again(args, machine, at, who)
            return [together], answer
        case "limits":
            return _limits(args, machine, at, who)
        case "budget":
            return _budget(args, machine, at, who)
    raise UsageError(f"a run cannot be asked to {request.verb}")


def _answer(request: Request, machine: Machine, task: str, key: str, at: float) -> ev.StepAnswered:
    """The decision of a person, with the defaults of the fields that were not given. Raises UsageError where a
    field lacks that every answer gives, or does not fit its type."""
    args = dict(request.args or {})
    step = machine.tasks[task].step(key)
    does = step.acting.agent.does if step is not None else None
    if not isinstance(does, Approve):
        raise UsageError(f"{key} of task {task} asks no person")
    given = dict(args.get("fields") or {})
    if why := refusal(key, does, given):
        raise UsageError(why)
    fields, defaults = complete(does, given)
    return ev.StepAnswered(
        at, task, key, bool(args["approved"]), fields, request.who, PERSON, request.author, defaults
    )


def _cancel(
    args: Mapping[str, Data], machine: Machine, at: float, who: str
) -> tuple[list[ev.Event | ev.Signal], Data]:
    task, step, now = str(args.get("task") or ""), str(args.get("step") or ""), bool(args.get("now"))
    if task and task not in machine.tasks:
        raise UsageError(f"task {task} is not open")
    if not step:
        return [ev.CancelAsked(at, task, "", who, now)], f"{f'task {task}' if task else 'the run'} cancelled"
    found = {t.id: s for t in machine.tasks.values() if task in ("", t.id) and (s := t.step(step)) is not None}
    where = f"of task {task}" if task else "of any open task"
    if not found:
        raise UsageError(f"there is no step {step} {where}")
    live = [name for name, one in found.items() if not one.ended]
    if not live:
        raise UsageError(f"step {step} {where} is over ({', '.join(sorted({s.state for s in found.values()}))})")
    what = f"step {step} of task {task} cancelled" if task else f"{step} cancelled in {len(live)} tasks"
    return [ev.CancelAsked(at, name, step, who, now) for name in live], what


def _skip(
    args: Mapping[str, Data], machine: Machine, at: float, who: str
) -> tuple[list[ev.Event | ev.Signal], Data]:
    """A step that has not ended: what needs it goes on without it."""
    task, key = str(args["task"]), str(args["step"])
    found = machine.tasks.get(task)
    step = found.step(key) if found is not None else None
    if step is None or step.ended:
        raise UsageError(f"no step {key} of task {task} is open")
    return [ev.SkipAsked(at, task, key, who)], f"{key} of task {task} skipped"


def _find(args: Mapping[str, Data], machine: Machine, state: str) -> tuple[str, str]:
    """The step meant: in the task named, or in the only task where it stands in that state."""
    step, task = str(args["step"]), str(args.get("task") or "")
    if "/" in step and not task:
        task, step = step.rsplit("/", 1)
    found = [
        t.id
        for t in machine.tasks.values()
        if (s := t.step(step)) is not None and s.state == state and (not task or t.id == task)
    ]
    if not found:
        raise UsageError(f"no step {step} stands there waiting" + (f" in task {task}" if task else ""))
    if len(found) > 1:
        raise UsageError(f"{step} waits in {len(found)} tasks ({', '.join(found[:5])}…); say which with --task")
    return found[0], step


def _limits(
    args: Mapping[str, Data], machine: Machine, at: float, who: str
) -> tuple[list[ev.Event | ev.Signal], Data]:
    """All or none: what is out of range is refused with the range before anything changes."""
    events: list[ev.Event | ev.Signal] = []
    for name, value in args.items():
        head, _, limit = name.partition(".")
        if head in machine.caps:
            events.append(ev.LimitChanged(at, name, *_turned(name, head, limit, value, machine), who))
            continue
        if name == "workers":
            old: Data = machine.workers
        else:
            try:
                rule, setting = machine.setting(name)
            except (KeyError, ValueError):
                raise UsageError(f"there is no limit {name}; there are {', '.join(_names(machine))}") from None
            old = getattr(rule, setting)
        least, most = range_of(name)
        fits = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
        if not fits and not (value is None and name.endswith(".max_parallel")):
            allowed = f"{_shown(name, least)} to {_shown(name, most)}"
            raise UsageError(f"{name}={_shown(name, value)} is out of range: {allowed}")
        events.append(ev.LimitChanged(at, name, old, value, who))
    return events, {name: _shown(name, value) for name, value in args.items()}


def _shown(name: str, value: Data) -> Data:
    """As a person writes it."""
    timed = name.endswith(".timeout") and isinstance(value, int | float)
    return show_duration(value) if timed else value


def _turned(name: str, provider: str, limit: str, value: Data, machine: Machine) -> tuple[Data, Data]:
    """A provider's limit as it is and as it shall be, both as a person writes them."""
    try:
        new = told(turned(ProviderLimits(), {limit: value})).get(limit)
    except KeyError:
        raise UsageError(f"{provider} has no limit {limit}; there are {', '.join(CAPS)}") from None
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None
    return machine.turned.get(name, told(machine.caps[provider]).get(limit)), new


def _budget(
    args: Mapping[str, Data], machine: Machine, at: float, who: str
) -> tuple[list[ev.Event | ev.Signal], Data]:
    """More, or another bound, or the rest on the lowest tier; a run that was parked for it goes on."""
    events: list[ev.Event | ev.Signal] = []
    done: dict[str, Data] = {}
    if args.get("lowest"):
        events.append(ev.LimitChanged(at, "budget.tier", None, TIERS[0], who))
        done["budget.tier"] = TIERS[0]
    if args.get("amount") is not None:
        changed, new = _bound(args, machine, at, who)
        events.append(changed)
        done[changed.name] = new
    if machine.paused and machine.why.startswith("budget"):
        events.append(ev.RunUnpaused(at, who))
    return events, done


def _bound(args: Mapping[str, Data], machine: Machine, at: float, who: str) -> tuple[ev.LimitChanged, float]:
    measure, amount = str(args["measure"]), args["amount"]
    if measure not in ("usd", "tokens", "task.usd", "task.tokens"):
        raise UsageError(f"there is no budget in {measure}; there are usd, tokens, task.usd and task.tokens")
    old = machine.accounts.bound(measure)
    new = (old or 0) + amount if args.get("more") else amount
    if not isinstance(amount, int | float) or isinstance(amount, bool) or not 0 <= new < 1e12:
        raise UsageError(f"a budget of {new} {measure} makes no sense")
    if args.get("more") and old is None:
        raise UsageError(f"there is no budget in {measure} that could grow; give it without +")
    new = int(new) if measure.endswith("tokens") else round(new, 6)
    return ev.LimitChanged(at, f"budget.{measure}", old, new, who), new


def _names(machine: Machine) -> list[str]:
    first = next(iter(machine.program.index))
    caps = [f"{provider}.{limit}" for provider in machine.caps for limit in CAPS]
    return [
        "workers",
        *caps,
        *(f"agents.{first}.{setting}" for setting in ("timeout", "attempts", "max_parallel")),
        "…",
    ]
