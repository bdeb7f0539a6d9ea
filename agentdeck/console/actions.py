"""Everything an operator can do, once: from here come bindings, footer, palette, help and the keymap file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from textual.binding import Binding

EVERYWHERE = "everywhere"


@dataclass(frozen=True, slots=True)
class Action:
    """`id` is `scope.method`: the screen of this scope (the app, for those of everywhere) has an
    `action_method`. `keys` are the default ones, as Textual names them. `danger`: it stops or loses something,
    and asks first. `shown` in the footer."""

    id: str
    title: str
    help: str
    keys: tuple[str, ...] = ()
    danger: bool = False
    shown: bool = False

    @property
    def scope(self) -> str:
        return self.id.partition(".")[0]

    @property
    def method(self) -> str:
        return self.id.partition(".")[2]


def _everywhere(name: str, *rest: object, **more: object) -> Action:
    return Action(f"{EVERYWHERE}.{name}", *rest, **more)  # type: ignore[arg-type]


def _deck(name: str, *rest: object, **more: object) -> Action:
    return Action(f"deck.{name}", *rest, **more)  # type: ignore[arg-type]


def _run(name: str, *rest: object, **more: object) -> Action:
    return Action(f"run.{name}", *rest, **more)  # type: ignore[arg-type]


def _history(name: str, *rest: object, **more: object) -> Action:
    return Action(f"history.{name}", *rest, **more)  # type: ignore[arg-type]


ACTIONS: tuple[Action, ...] = (
    _everywhere("help", "Help", "What can be done here, and with which keys.", ("question_mark", "f1"), shown=True),
    _everywhere("palette", "Palette", "Find an action, an agent, a run, a workflow, a theme.", ("ctrl+p", "colon")),
    _everywhere("theme", "Theme", "Another look; the next of all themes.", ("f2",)),
    _everywhere("quit", "Quit", "Close the console. Runs go on unless you say otherwise.", ("ctrl+q",)),
    _deck("launch", "Launch", "Run the selected workflow, or open the selected run.", ("enter",), shown=True),
    _deck("edit", "Edit", "Open the workflow's file in $EDITOR; it is read again afterwards.", ("e",), shown=True),
    _deck("history", "History", "All runs that the store knows.", ("h",), shown=True),
    _deck("leave", "Quit", "Close the console.", ("q",), shown=True),
    _run("pause", "Pause", "Start nothing new, or go on. What runs is not disturbed.", ("p",), shown=True),
    _run("resume", "Resume", "Go on with a run that was interrupted or drained.", ("r",)),
    _run("cancel", "Cancel", "Stop what is selected: a step, a task, an agent's steps.", ("c",), True, True),
    _run("cancel_run", "Cancel the run", "Stop everything in this run, for good.", ("C",), True),
    _run("drain", "Drain", "Let running steps finish and stop; the run can be resumed.", ("d",), True),
    _run("limits", "Limits", "Turn a limit while it binds.", ("l",), shown=True),
    _run("workers_up", "More workers", "A quarter more steps at once.", ("right_square_bracket",)),
    _run("workers_down", "Fewer workers", "A quarter fewer; what runs is not stopped.", ("left_square_bracket",)),
    _run("hurry", "Hurry", "Let the selected task go before all others.", ("H",)),
    _run("release", "Release", "Let the selected join go with what has arrived.", ("J",), True),
    _run("approve", "Approve", "Answer the selected step that asks a person: yes.", ("Y",), True),
    _run("reject", "Reject", "Answer the selected step that asks a person: no.", ("N",), True),
    _run("zoom", "Zoom", "Only the focused pane, or all again.", ("z",)),
    _run("graph", "Graph", "The graph of agents.", ("1",)),
    _run("agents", "Agents", "The table of agents.", ("2",)),
    _run("tasks", "Tasks", "The table of tasks.", ("3",)),
    _run("timeline", "Timeline", "What ran when.", ("4",)),
    _run("log", "Log", "What agents said.", ("5",)),
    _run("back", "Back", "To the deck; the run goes on.", ("escape", "q"), shown=True),
    _history("open", "Open", "Look at the selected run.", ("enter",), shown=True),
    _history("filter", "Filter", "Only runs whose id, workflow or source hold a text.", ("slash",), shown=True),
    _history("back", "Back", "To where you came from.", ("escape", "q"), shown=True),
)  # fmt: skip

BY_ID = {action.id: action for action in ACTIONS}
#: Whatever a keymap says, these keys close the console: nobody can lock themselves in.
ALWAYS = {"everywhere.quit": "ctrl+q"}


def of(scope: str) -> Iterable[Action]:
    """The actions of one scope, in the order in which they are shown."""
    return (action for action in ACTIONS if action.scope == scope)


def bindings(scope: str) -> list[Binding]:
    """The bindings of the screen (or the app) of this scope. Their ids let a keymap change their keys."""
    made = []
    for action in of(scope):
        method = f"app.{action.method}" if scope == EVERYWHERE else f"screen.{action.method}"
        made += [
            Binding(key, method, action.title, show=action.shown, id=action.id, tooltip=action.help, system=False)
            for key in (",".join(action.keys),)
            if key
        ]
    made += [
        Binding(key, f"app.{BY_ID[name].method}", "", show=False, priority=True, system=True)
        for name, key in ALWAYS.items()
        if scope == EVERYWHERE
    ]
    return made
