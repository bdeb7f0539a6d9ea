"""Commands typed into the palette with arguments: `hurry 17`, `cancel 3/pay`, `workers 12`, `budget +0.40`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from itertools import islice

from agentdeck.console.log.lines import agent_of
from agentdeck.console.palette import Found
from agentdeck.console.pane import Selection
from agentdeck.console.panes.limits import read
from agentdeck.console.screens.run_controls import RunControls
from agentdeck.insight.limits import limits
from agentdeck.operations.action_types import Action
from agentdeck.operations.actions import of
from agentdeck.scheduler.state import ENDED
from agentdeck.views.run_view import RunView

OFFERED = 12  # arguments that are offered for a verb


#: The commands that can be typed, by their first word.
TYPED = {action.name: action for action in of("run") if action.typed}
SELECTABLE = {"task", "agent", "step"}


def found(run: RunControls, query: str) -> Iterator[Found]:
    """Yields the commands that a typed line means for this run; none where its first word is no command."""
    word, _, rest = query.strip().partition(" ")
    rest = rest.strip()
    action = TYPED.get(word)
    if action is not None and SELECTABLE.issuperset(action.targets) and (rest or query.endswith(" ")):
        for text, selection in islice(_targets(run.state.view, action.targets, rest), OFFERED):
            yield Found(f"{word} {text}", action.typed, partial(_do, run, action, selection))
    elif action is not None and "amount" in action.arguments and rest:
        yield Found(f"{word} {rest}", action.typed, partial(run.actions.grant, rest))
    else:
        yield from _limits(run, word, rest)


def _do(run: RunControls, action: Action, selection: Selection) -> None:
    run.panes.select(selection)
    if action.id == "run.go":
        return
    run.panes.override = selection  # a pane that does not show it must not have its own row acted on
    try:
        run.command(action.method)()
    finally:
        run.panes.override = None


def _targets(view: RunView, takes: Collection[str], text: str) -> Iterator[tuple[str, Selection]]:
    """Tasks, agents and steps that begin with a text, as they are written; what is written whole comes first."""
    task, slash, step = text.rpartition("/")
    known = task in view.open or task in view.failed
    if "step" in takes and slash and known:
        for key in _steps(view, task):
            if key.startswith(step):
                yield f"{task}/{key}", Selection(agent_of(task, key), task, key)
    if "task" in takes:
        if text in view.open:
            yield text, Selection(task=text)
        for name in (*view.open, *view.failed):
            if name.startswith(text) and name != text:
                yield name, Selection(task=name)
    elif "step" in takes and not slash:
        for name in view.open:
            if name.startswith(text):
                for key in _steps(view, name):
                    yield f"{name}/{key}", Selection(agent_of(name, key), name, key)
    if "agent" in takes:
        for name in view.agents:
            if name.startswith(text):
                yield name, Selection(agent=name)


def _steps(view: RunView, task: str) -> list[str]:
    """A task's steps: those that have not ended first."""
    of = view.open.get(task) or view.failed[task]
    names = [key for key, tally in of.graph.agents.items() if tally.has_steps]
    keys = dict.fromkeys((*names, *of.steps))
    over = [key for key in keys if (step := of.steps.get(key)) is not None and step.state in ENDED]
    return [*(key for key in keys if key not in over), *over]


def _limits(run: RunControls, word: str, rest: str) -> Iterator[Found]:
    """`workers 12`, `workers=12`, `limits openai.requests=80/min`."""
    line = rest if word == "limits" else f"{word} {rest}".strip()
    name, _, text = line.replace("=", " ", 1).partition(" ")
    text = text.strip()
    if not name or not (text or word == "limits"):
        return
    for limit in limits(run.state.view, run.state.now):
        if limit.name != name and not (word == "limits" and limit.name.startswith(name)):
            continue
        try:
            value = read(limit, text)
        except ValueError as error:
            yield Found(f"{limit.name} = {text}", f"it is {limit.value} now; {error}", lambda: None)
        else:
            told = run.forecasts(limit.name, value)
            yield Found(f"{limit.name} = {text}", told, partial(run.actions.change_limit, limit.name, value))
