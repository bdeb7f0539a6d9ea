"""The stage of the run screen: its panes, which of them can be seen, who has the keys, and what is looked at."""

from __future__ import annotations

from typing import Any

from textual import events
from textual.widget import Widget

from agentdeck.console.graph.pane import GraphPane
from agentdeck.console.log.lines import LineStore
from agentdeck.console.log.tiles import LogTiles
from agentdeck.console.pane import Selection, SelectionChanged
from agentdeck.console.panes.agents import AgentsPane
from agentdeck.console.panes.header import Header
from agentdeck.console.panes.limits import LimitsPane
from agentdeck.console.panes.tasks import TasksPane
from agentdeck.console.panes.timeline import TimelinePane
from agentdeck.console.screens.base import Shown
from agentdeck.console.status_lines import Tabs
from agentdeck.scheduler.events import Event
from agentdeck.workflow.model import Definition

PANES = ("graph", "agents", "tasks", "timeline", "log", "limits")
SIDE = ("agents", "tasks", "timeline")


class Stage(Shown):
    """`panes` are there once the run's definition is known, the header among them. `main` has the keys, or is
    about to get them; `side` is the one of SIDE that stands beside others. `selected` is what all of them look
    at; `target` is what a key acts on. `given`, while it is set, is acted on instead."""

    DEFAULT_CSS = """
    Stage #header { height: 3; }
    Stage.middle #header { height: 2; } Stage.narrow #header { height: 1; }
    Stage #header > * { height: 100%; }
    Stage #stage { height: 1fr; }
    Stage #stage > .pane { border: round $line; border-title-color: $text-muted; }
    Stage #stage > .pane:focus, Stage #stage > .pane:focus-within {
        border: round $primary; border-title-color: $primary;
    }
    Stage.wide #stage { layout: grid; grid-size: 2; grid-columns: 1fr 1fr; grid-rows: 6fr 4fr 9; }
    Stage.wide #graph, Stage.wide #limits { column-span: 2; }
    Stage.middle #stage { layout: grid; grid-size: 1; grid-rows: 1fr 1fr; }
    Stage.narrow #stage > .pane, Stage.zoomed #stage > .pane { height: 1fr; width: 100%; }
    Stage.zoomed #stage, Stage.narrow #stage { layout: vertical; }
    Stage.narrow #stage > .pane { border: none; }
    Stage #limits { height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.panes: dict[str, Any] = {}
        self.header = Header(self.heard)
        self.lines = LineStore()
        self.selected = Selection()
        self.given: Selection | None = None
        self.side, self.main = "agents", "graph"
        self.zoomed = False

    # What the screen below knows ----------------------------------------------------------------------------

    def heard(self, task: str, step: str) -> float | None:
        """When a running step last said something."""
        raise NotImplementedError

    def recorded(self, task: str) -> list[tuple[int, Event]]:
        raise NotImplementedError

    def change(self, name: str, value: object) -> None:
        raise NotImplementedError

    def foresee(self, name: str, value: object) -> str:
        raise NotImplementedError

    def open(self, selection: Selection) -> None:
        raise NotImplementedError

    # The panes ----------------------------------------------------------------------------------------------

    def build(self, definition: Definition) -> None:
        """Put the panes on the stage."""
        talking = [name for name, agent in definition.agents.items() if agent.does.verb == "prompt"]
        self.lines = LineStore(streams=talking)
        made: dict[str, Widget] = {
            "graph": GraphPane(definition),
            "agents": AgentsPane(),
            "tasks": TasksPane(),
            "timeline": TimelinePane(self.recorded),
            "log": LogTiles(self.lines),
            "limits": LimitsPane(self.change, self.foresee),
        }
        for name, pane in made.items():
            pane.id = name
            pane.add_class("pane")
            pane.border_title = name
        self.query_one("#header").mount(self.header)
        self.query_one("#stage").mount(*made.values())
        self.panes = {"header": self.header, **made}
        self._lay_out()
        self.call_after_refresh(self._focus, self.main)

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self._lay_out()

    def _lay_out(self) -> None:
        """Which panes are on the stage: one when it is narrow or zoomed, else as many as fit."""
        if not self.panes:
            return
        self.set_class(self.zoomed, "zoomed")
        if self.zoomed or self.has_class("narrow"):
            on = {self.main}
        elif self.has_class("middle"):
            on = {"graph", self.side if self.main in ("graph", self.side) else self.main}
        else:
            on = {"graph", self.side, "log", "limits"}
        for name in PANES:
            self.panes[name].display = name in on
        self.query_one(Tabs).tell(self.main, on)

    def go(self, name: str) -> None:
        """Bring a pane to the stage and give it the keys."""
        self.main = name
        if name in SIDE:
            self.side = name
        self._lay_out()
        self._focus(name)

    def _focus(self, name: str) -> None:
        """Give a pane the keys, unless another one was wanted since."""
        pane = self.panes.get(name)
        if pane is None or name != self.main:
            return
        target = pane if pane.can_focus else next((w for w in pane.walk_children() if w.can_focus), None)
        if target is not None:
            target.focus()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        # What is told late is not true any more: somebody else may have the keys, or be about to get them.
        if event.widget is not self.focused:
            return
        for name in PANES if self.panes else ():
            pane = self.panes[name]
            if event.widget is pane or pane in event.widget.ancestors:
                self.main = name
                self.query_one(Tabs).tell(name, None)

    def on_tabs_chosen(self, event: Tabs.Chosen) -> None:
        self.go(event.name)

    # Panes tell each other ----------------------------------------------------------------------------------

    def on_selection_changed(self, event: SelectionChanged) -> None:
        event.stop()
        self.select(event.selection, event._sender)
        if event.opened:
            self.open(event.selection)

    def select(self, selection: Selection, sender: object = None) -> None:
        """All panes but the one that told of it look at this now."""
        self.selected = selection
        above = sender.ancestors_with_self if isinstance(sender, Widget) else ()
        for pane in self.panes.values():
            if pane not in above:
                pane.show_selection(selection)

    @property
    def target(self) -> Selection:
        """The selection under the cursor of the active pane."""
        if self.given is not None:
            return self.given
        pane = self.panes.get(self.main)
        here = pane.cursor_selection if pane is not None else None
        return self.selected if here is None else here

    def tell_target(self) -> None:
        """Name it above the panes. A highlighted task is selected as soon as its table has the keys."""
        target = self.target
        if self.main == "tasks" and target != self.selected and self.panes["tasks"].has_focus:
            self.select(target)
        step = target.step or target.agent
        task = f"task {target.task}" if target.task else ""
        numbers = not (self.main == "limits" and self.panes["limits"].editing)
        self.query_one(Tabs).tell_target(" › ".join(part for part in (task, step) if part), numbers=numbers)

    # Keys ---------------------------------------------------------------------------------------------------

    def action_graph(self) -> None:
        self.go("graph")

    def action_agents(self) -> None:
        self.go("agents")

    def action_tasks(self) -> None:
        self.go("tasks")

    def action_timeline(self) -> None:
        self.go("timeline")

    def action_log(self) -> None:
        self.go("log")

    def action_limits(self) -> None:
        self.deck.used("t")
        self.go("limits")

    def action_up(self) -> None:
        """One level: the zoom, the pane, what is selected, and then the screen."""
        selection = self.selected
        if self.zoomed:
            self.action_zoom()
        elif self.main != "graph":
            self.go("graph")
        elif selection != Selection():
            self.select(Selection(task=selection.task) if selection.agent or selection.step else Selection())
        else:
            self.dismiss()

    def action_zoom(self) -> None:
        self.zoomed = not self.zoomed
        self.go(self.main)
