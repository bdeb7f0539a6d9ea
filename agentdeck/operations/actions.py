"""The registry of everything an operator can do.

Each action is described once. The console makes its bindings, footer, palette, help and keymap ids from it; the
palette's typed commands (`hurry 17`) follow `targets` and `arguments`; the engine carries out `commands`; and the
command line takes the one-line help of its verbs from `verb_help`. The module is data and imports nothing heavy,
because `agentdeck --version` imports it too.
"""

from __future__ import annotations

from collections.abc import Iterator

from agentdeck.operations.action_types import Action
from agentdeck.operations.pane_actions import DIALOGS, PANES

SCREENS = (
    Action("everywhere.help", "Help", "What can be done, with which keys.", ("question_mark", "f1"), footer=True),
    Action("everywhere.palette", "Palette", "Find anything, or type a verb: hurry 17.", ("ctrl+p", "colon")),
    Action("everywhere.theme", "Theme", "Another look; the next of all themes.", ("f2",)),
    Action("everywhere.quit", "Quit", "Close the console. Runs go on unless you say otherwise.", ("ctrl+q",)),

    Action(
        "deck.launch", "Launch", "Run the selected workflow, or open the run.", ("enter",), footer=True,
        targets=("workflow", "run"), verb="run", verb_help="Run a workflow, and stay until it is over.",
    ),
    Action(
        "deck.edit", "Edit", "Open the workflow's file in $EDITOR.", ("e",), footer=True, targets=("workflow",)
    ),
    Action(
        "deck.history", "History", "All runs that the store knows.", ("h",), footer=True,
        verb="runs", verb_help="List runs, newest first.",
    ),
    Action(
        "deck.letters", "Letters", "Steps that failed for good, of all runs.", ("l",), footer=True,
        verb="letters", verb_help="Dead letters: list, show, retry, drop, export.",
    ),
    Action("deck.leave", "Quit", "Close the console.", ("q",), footer=True),

    Action(
        "run.pause", "Pause", "Start nothing new, or go on. What runs is not disturbed.", ("p",), footer=True,
        does="command('pause')", targets=("run",), commands=("pause", "resume"),
        verb="pause", verb_help="Start nothing new in a run; what runs goes on.",
    ),
    Action(
        "run.retry", "Retry", "What failed, or from here on; an interrupted run goes on.", ("R",), footer=True,
        does="command('retry')",
        targets=("task", "agent", "step"), typed="tells first what goes again", commands=("retry",),
        verb="retry", verb_help="Run again what failed, or an agent and all after it.",
    ),
    Action(
        "run.cancel", "Cancel", "Stop what is selected: step, task, or agent.", ("c",), True, True,
        does="command('cancel')",
        targets=("task", "agent", "step"), typed="tells first what it stops", commands=("cancel",),
        verb="cancel", verb_help="Cancel a run, a task, or a step.",
    ),
    Action(
        "run.cancel_run", "Cancel the run", "Stop everything in this run, for good.", ("X",), True,
        does="command('cancel_run')", targets=("run",), commands=("cancel",),
    ),
    Action(
        "run.drain", "Drain", "Let running steps finish and stop; the run can be resumed.", ("d",), True,
        does="command('drain')", targets=("run",), commands=("drain",), verb="drain",
    ),
    Action(
        "run.limits", "Limits", "Turn a limit while it binds.", ("t", "6"), footer=True, does="show('limits')",
        targets=("limit",), arguments=("value",), typed="what it is set to", commands=("limits", "budget"),
        verb="limits", verb_help="Print or change the limits of a run.",
    ),
    Action(
        "run.more", "More workers", "A quarter more steps at once.", ("right_square_bracket",),
        does="command('more')", targets=("run",), commands=("limits",),
    ),
    Action(
        "run.fewer", "Fewer workers", "A quarter fewer; what runs is not stopped.", ("left_square_bracket",),
        does="command('fewer')", targets=("run",), commands=("limits",),
    ),
    Action(
        "run.hurry", "Hurry", "Let the selected task go before all others.", ("H",),
        does="command('hurry')", targets=("task",), typed="goes before all others", commands=("hurry",),
        verb="hurry", verb_help="Let a task go before all others.",
    ),
    Action(
        "run.release", "Release", "Let the selected join go with what has arrived.", ("J",), True,
        does="command('release')",
        targets=("agent", "step"), typed="goes with what has arrived", commands=("release",),
        verb="release", verb_help="Let a join go with what has arrived.",
    ),
    Action(
        "run.skip", "Skip", "Go on without the selected step.", ("S",), True,
        does="command('skip')", targets=("step",), typed="its task goes on without it", commands=("skip",),
        verb="skip", verb_help="Go on without a step.",
    ),
    Action(
        "run.hold", "Hold agent", "Let the selected agent start nothing more, or go on.", ("P",),
        does="command('hold')", targets=("agent",), typed="starts nothing more, or goes on", commands=("limits",),
    ),
    Action(
        "run.budget", "Budget", "Grant more of what the run may spend.", ("B",),
        does="command('budget')",
        targets=("run",), arguments=("amount",), typed="what the run may spend", commands=("budget",),
        verb="budget", verb_help="Show the budget of a run, or grant more.",
    ),
    Action(
        "run.why", "Why", "In a sentence: why the selected step waits, or failed.", ("w",), footer=True,
        does="command('why')", targets=("agent", "step"), typed="one sentence on it",
        verb="why", verb_help="Say why a step waits, was skipped, or failed.",
    ),
    Action(
        "run.next", "Next in need", "Select the next step that needs a person.", ("exclamation_mark",),
        does="command('next')",
    ),
    Action(
        "run.answer", "Answer", "Approve or reject the selected step that asks a person.", ("a",),
        does="command('answer')", targets=("step",), typed="approve or reject", commands=("approve",),
        verb="approve", verb_help="Answer a step that asks a person.",
    ),
    Action("run.letters", "Letters", "Steps of this run that failed for good.", ("L",), footer=True),
    Action("run.replay", "Replay", "Play the run again from its events; this changes nothing.", ("v",)),
    Action("run.zoom", "Zoom", "Only the focused pane, or all again.", ("z",), does="command('zoom')"),
    Action("run.graph", "Graph", "The graph of agents.", ("1",), does="show('graph')"),
    Action("run.agents", "Agents", "The table of agents.", ("2",), does="show('agents')"),
    Action("run.tasks", "Tasks", "The table of tasks.", ("3",), does="show('tasks')"),
    Action("run.timeline", "Timeline", "What ran when.", ("4",), does="show('timeline')"),
    Action(
        "run.log", "Log", "What agents said.", ("5",), does="show('log')",
        verb="logs", verb_help="Print what agents logged.",
    ),
    Action("run.up", "Up", "One level: zoom, pane, selection; then to the deck.", ("escape",)),
    Action("run.back", "Back", "To the deck; the run goes on.", ("q",), footer=True),
    Action(
        "run.go", "Select", "Select a task, an agent or a step in every pane.",
        targets=("task", "agent", "step"), typed="select it in every pane",
    ),
    Action(
        "run.resume", "Resume", "Go on with a run that was interrupted, drained or paused.",
        targets=("run",), commands=("resume",), verb="resume",
    ),

    Action("replay.play", "Play, stop", "Let the replay go on, or stop it.", ("space",), footer=True),
    Action("replay.next_event", "Next event", "One event forward.", ("full_stop",), footer=True, does="step(1)"),
    Action("replay.event_before", "Event before", "One event back.", ("comma",), does="step(-1)"),
    Action(
        "replay.next_mark", "Next mark", "To the next failure, retry or limit.", ("right_curly_bracket",),
        does="jump(1)",
    ),
    Action("replay.mark_before", "Mark before", "To the mark before.", ("left_curly_bracket",), does="jump(-1)"),
    Action(
        "replay.bar", "Bar", "Arrows step, + and - change the speed, a time goes there.", ("b",), footer=True
    ),

    Action(
        "letters.retry", "Retry", "Run the marked letters again, or the one selected.", ("R",), footer=True,
        targets=("letter",),
    ),
    Action(
        "letters.try_one", "Try one", "One of the cause; if that went well, the rest.", ("1",), footer=True,
        targets=("letter",),
    ),
    Action(
        "letters.edit", "Retry with", "Run them again with another input.", ("e",), footer=True,
        targets=("letter",),
    ),
    Action("letters.story", "Story", "The step whole: its attempts, what it was told, what it read.", ("o",)),
    Action(
        "letters.drop", "Drop", "Close them with a reason; they do not run again.", ("D",), True, True,
        targets=("letter",),
    ),
    Action("letters.back", "Back", "To where you came from.", ("escape", "q"), footer=True),

    Action("history.open", "Open", "Look at the selected run.", ("enter",), footer=True, targets=("run",)),
    Action(
        "history.filter", "Filter", "Words, state:failed, workflow:order, since:12h.", ("slash",), footer=True
    ),
    Action("history.retry", "Retry", "Run again what failed in it.", ("R",), footer=True, targets=("run",)),
    Action(
        "history.fork", "Fork", "A new run on its results, from whatever failed on.", ("f",), footer=True,
        targets=("run",), verb="fork", verb_help="Start a new run that shares the results of another one.",
    ),
    Action(
        "history.cancel", "Cancel", "End a run that executes.", ("X",), True, True,
        targets=("run",), commands=("cancel",),
    ),
    Action(
        "history.delete", "Delete", "Delete it for good, with its events and logs.", ("D",), True, True,
        targets=("run",), verb="prune", verb_help="Delete old runs, and give their space back.",
    ),
    Action("history.back", "Back", "To where you came from.", ("escape", "q"), footer=True),
)  # fmt: skip

ACTIONS: tuple[Action, ...] = SCREENS + PANES + DIALOGS

BY_ID = {action.id: action for action in ACTIONS}


def of(scope: str, widget: str = "") -> Iterator[Action]:
    """Yields the actions of one scope, or of one widget in it, in the order in which they are shown."""
    return (action for action in ACTIONS if action.scope == scope and widget in ("", action.widget))


def verb_help(verb: str) -> str:
    """The one-line help of a verb of the command line; empty for a verb that is no action."""
    return next((action.verb_help or action.help for action in ACTIONS if action.verb == verb), "")
