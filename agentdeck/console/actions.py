"""Everything an operator can do, once: from here come bindings, footer, palette, help and the keymap file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from textual.binding import Binding, BindingType

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


ACTIONS: tuple[Action, ...] = (
    Action("everywhere.help", "Help", "What can be done, with which keys.", ("question_mark", "f1"), shown=True),
    Action("everywhere.palette", "Palette", "Find anything, or type a verb: hurry 17.", ("ctrl+p", "colon")),
    Action("everywhere.theme", "Theme", "Another look; the next of all themes.", ("f2",)),
    Action("everywhere.quit", "Quit", "Close the console. Runs go on unless you say otherwise.", ("ctrl+q",)),
    Action("deck.launch", "Launch", "Run the selected workflow, or open the run.", ("enter",), shown=True),
    Action("deck.edit", "Edit", "Open the workflow's file in $EDITOR.", ("e",), shown=True),
    Action("deck.history", "History", "All runs that the store knows.", ("h",), shown=True),
    Action("deck.letters", "Letters", "Steps that failed for good, of all runs.", ("l",), shown=True),
    Action("deck.leave", "Quit", "Close the console.", ("q",), shown=True),
    Action("run.pause", "Pause", "Start nothing new, or go on. What runs is not disturbed.", ("p",), shown=True),
    Action("run.retry", "Retry", "What failed, or from here on; an interrupted run goes on.", ("R",), shown=True),
    Action("run.cancel", "Cancel", "Stop what is selected: step, task, or agent.", ("c",), True, True),
    Action("run.cancel_run", "Cancel the run", "Stop everything in this run, for good.", ("X",), True),
    Action("run.drain", "Drain", "Let running steps finish and stop; the run can be resumed.", ("d",), True),
    Action("run.limits", "Limits", "Turn a limit while it binds.", ("t", "6"), shown=True),
    Action("run.more", "More workers", "A quarter more steps at once.", ("right_square_bracket",)),
    Action("run.fewer", "Fewer workers", "A quarter fewer; what runs is not stopped.", ("left_square_bracket",)),
    Action("run.hurry", "Hurry", "Let the selected task go before all others.", ("H",)),
    Action("run.release", "Release", "Let the selected join go with what has arrived.", ("J",), True),
    Action("run.skip", "Skip", "Go on without the selected step.", ("S",), True),
    Action("run.hold", "Hold agent", "Let the selected agent start nothing more, or go on.", ("P",)),
    Action("run.budget", "Budget", "Grant more of what the run may spend.", ("B",)),
    Action("run.why", "Why", "In a sentence: why the selected step waits, or failed.", ("w",), shown=True),
    Action("run.next", "Next in need", "Select the next step that needs a person.", ("exclamation_mark",)),
    Action("run.answer", "Answer", "Approve or reject the selected step that asks a person.", ("a",)),
    Action("run.letters", "Letters", "Steps of this run that failed for good.", ("L",), shown=True),
    Action("run.replay", "Replay", "Play the run again from its events; this changes nothing.", ("v",)),
    Action("run.zoom", "Zoom", "Only the focused pane, or all again.", ("z",)),
    Action("run.graph", "Graph", "The graph of agents.", ("1",)),
    Action("run.agents", "Agents", "The table of agents.", ("2",)),
    Action("run.tasks", "Tasks", "The table of tasks.", ("3",)),
    Action("run.timeline", "Timeline", "What ran when.", ("4",)),
    Action("run.log", "Log", "What agents said.", ("5",)),
    Action("run.up", "Up", "One level: zoom, pane, selection; then to the deck.", ("escape",)),
    Action("run.back", "Back", "To the deck; the run goes on.", ("q",), shown=True),
    Action("replay.play", "Play, stop", "Let the replay go on, or stop it.", ("space",), shown=True),
    Action("replay.next_event", "Next event", "One event forward.", ("full_stop",), shown=True),
    Action("replay.event_before", "Event before", "One event back.", ("comma",)),
    Action("replay.next_mark", "Next mark", "To the next failure, retry or limit.", ("right_curly_bracket",)),
    Action("replay.mark_before", "Mark before", "To the mark before.", ("left_curly_bracket",)),
    Action("replay.bar", "Bar", "Arrows step, + and - change the speed, a time goes there.", ("b",), shown=True),
    Action("letters.retry", "Retry", "Run the marked letters again, or the one selected.", ("R",), shown=True),
    Action("letters.try_one", "Try one", "One of the cause; if that went well, the rest.", ("1",), shown=True),
    Action("letters.edit", "Retry with", "Run them again with another input.", ("e",), shown=True),
    Action("letters.story", "Story", "The step whole: its attempts, what it was told, what it read.", ("o",)),
    Action("letters.drop", "Drop", "Close them with a reason; they do not run again.", ("D",), True, True),
    Action("letters.back", "Back", "To where you came from.", ("escape", "q"), shown=True),
    Action("history.open", "Open", "Look at the selected run.", ("enter",), shown=True),
    Action("history.filter", "Filter", "Words, state:failed, workflow:order, since:12h.", ("slash",), shown=True),
    Action("history.retry", "Retry", "Run again what failed in it.", ("R",), shown=True),
    Action("history.fork", "Fork", "A new run on its results, from whatever failed on.", ("f",), shown=True),
    Action("history.cancel", "Cancel", "End a run that executes.", ("X",), True, True),
    Action("history.delete", "Delete", "Delete it for good, with its events and logs.", ("D",), True, True),
    Action("history.back", "Back", "To where you came from.", ("escape", "q"), shown=True),
)  # fmt: skip

BY_ID = {action.id: action for action in ACTIONS}
#: Whatever a keymap says, this key closes the console: nobody can lock themselves in.
ALWAYS = {"everywhere.quit": "ctrl+q"}


def of(scope: str) -> Iterable[Action]:
    """The actions of one scope, in the order in which they are shown."""
    return (action for action in ACTIONS if action.scope == scope)


def bindings(scope: str) -> list[BindingType]:
    """The bindings of the screen (or the app) of this scope. Their ids let a keymap change their keys."""
    made: list[BindingType] = []
    for action in of(scope):
        method = f"app.{action.method}" if scope == EVERYWHERE else f"screen.{action.method}"
        made.append(
            Binding(
                ",".join(action.keys),
                method,
                action.title,
                show=action.shown,
                priority=action.id in ALWAYS,
                id=action.id,
                tooltip=action.help,
            )
        )
    return made
