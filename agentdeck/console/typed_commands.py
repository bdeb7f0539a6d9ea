"""Commands typed into the palette with arguments: `hurry 17`, `cancel 3/pay`, `workers 12`, `budget +0.40`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from itertools import islice
from typing import TypeAlias

from agentdeck.console.log.lines import agent_of
from agentdeck.console.palette import PaletteEntry
from agentdeck.console.pane import Selection
from agentdeck.console.panes.limits import read
from agentdeck.console.screens.run_controls import RunControls
from agentdeck.insight.limits import limits
from agentdeck.operations.action_types import Action
from agentdeck.operations.actions import of
from agentdeck.scheduler.state import ENDED
from agentdeck.views.run_view import RunView

OFFERED = 12  # targets that are offered for a command
#: The commands that can be typed, by their first word.
TYPED = {action.name: action for action in of("run") if action.typed}
#: Kinds of targets that are selected on the screen before the command acts on them.
SELECTABLE = {"task", "agent", "step"}
Match: TypeAlias = tuple[str, Selection]


def typed_entries(run: RunControls, query: str) -> Iterator[PaletteEntry]:
    """Yields the commands that a typed line means for this run; none where its first word is no command."""
    word, _, rest = query.strip().partition(" ")
    rest = rest.strip()
    action = TYPED.get(word)
    if action is not None and SELECTABLE.issuperset(action.targets) and (rest or query.endswith(" ")):
        for text, selection in islice(_matches(run.state.view, action.targets, rest), OFFERED):
            yield PaletteEntry(f"{word} {text}", action.typed, partial(_run, run, action, selection))
    elif action is not None and "amount" in action.arguments and rest:
        yield PaletteEntry(f"{word} {rest}", action.typed, partial(run.actions.grant, rest))
    else:
        yield from _limit_entries(run, word, rest)


def _run(run: RunControls, action: Action, selection: Selection) -> None:
    run.panes.select(selection)
    if action.id == "run.go":
        return
    # Without the override, a pane that does not show the target would have its own row acted on.
    run.panes.override = selection
    try:
        run.command(action.method)()
    finally:
        run.panes.override = None


def _matches(view: RunView, kinds: Collection[str], text: str) -> Iterator[Match]:
    """Yields the tasks, agents and steps of these kinds whose name begins with a text."""
    task, slash, step = text.rpartition("/")
    if "step" in kinds and slash:
        yield from _steps_of_task(view, task, step)
    if "task" in kinds:
        yield from _tasks(view, text)
    elif "step" in kinds and not slash:
        for name in view.open:
            if name.startswith(text):
                yield from _steps_of_task(view, name, "")
    if "agent" in kinds:
        yield from ((name, Selection(agent=name)) for name in view.agents if name.startswith(text))


def _tasks(view: RunView, text: str) -> Iterator[Match]:
    """Yields the open task of exactly this name first, then those that begin with it."""
    if text in view.open:
        yield text, Selection(task=text)
    for name in (*view.open, *view.failed):
        if name.startswith(text) and name != text:
            yield name, Selection(task=name)


def _steps_of_task(view: RunView, task: str, text: str) -> Iterator[Match]:
    """Yields the steps of a task whose name begins with a text, those that have not ended first."""
    shown = view.open.get(task) or view.failed.get(task)
    if shown is None:
        return
    names = [key for key, tally in shown.graph.agents.items() if tally.has_steps]
    keys = dict.fromkeys((*names, *shown.steps))
    ended = [key for key in keys if (step := shown.steps.get(key)) is not None and step.state in ENDED]
    for key in (*(key for key in keys if key not in ended), *ended):
        if key.startswith(text):
            yield f"{task}/{key}", Selection(agent_of(task, key), task, key)


def _limit_entries(run: RunControls, word: str, rest: str) -> Iterator[PaletteEntry]:
    """Yields changes of limits: `workers 12`, `workers=12`, `limits sage.tokens=80k/min`."""
    line = rest if word == "limits" else f"{word} {rest}".strip()
    name, _, text = line.replace("=", " ", 1).partition(" ")
    text = text.strip()
    if not name or not (text or word == "limits"):
        return
    for limit in limits(run.state.view, run.state.now):
        if limit.name != name and not (word == "limits" and limit.name.startswith(name)):
            continue
        title = f"{limit.name} = {text}"
        try:
            value = read(limit, text)
        except ValueError as error:
            yield PaletteEntry(title, f"it is {limit.value} now; {error}", lambda: None)
        else:
            change = partial(run.actions.change_limit, limit.name, value)
            yield PaletteEntry(title, run.forecasts(limit.name, value), change)
