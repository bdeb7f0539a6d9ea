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
    Action(
        "everywhere.help", "Help", "Show what can be done here, with its keys.",
        ("question_mark", "f1"), footer=True,
    ),
    Action(
        "everywhere.palette", "Palette", "Find any action, agent or run, or type a command: hurry 17.",
        ("ctrl+p", "colon"),
    ),
    Action("everywhere.theme", "Theme", "Switch to the next theme.", ("f2",)),
    Action("everywhere.quit", "Quit", "Close the console. Runs continue unless you stop them.", ("ctrl+q",)),

    Action(
        "deck.launch", "Launch", "Run the selected workflow, or open the run.", ("enter",), footer=True,
        targets=("workflow", "run"), verb="run", verb_help="Run a workflow and wait until it ends.",
    ),
    Action(
        "deck.edit", "Edit", "Open the workflow's file in $EDITOR.", ("e",), footer=True, targets=("workflow",)
    ),
    Action(
        "deck.history", "History", "List all runs in the store.", ("h",), footer=True,
        verb="runs", verb_help="List runs, newest first.",
    ),
    Action(
        "deck.letters", "Letters", "List the dead letters of all runs: steps that failed for good.",
        ("l",), footer=True,
        verb="letters", verb_help="Dead letters: list, show, retry, drop, export.",
    ),
    Action(
        "deck.questions", "Questions", "List what all runs ask: approvals, questions of agents, budgets.",
        ("a",), footer=True,
        verb="questions", verb_help="List what runs ask: approvals, questions of agents, used-up budgets.",
    ),
    Action("deck.leave", "Quit", "Close the console.", ("q",), footer=True),

    Action(
        "run.pause", "Pause", "Pause or continue the run. Running steps are not interrupted.",
        ("p",), footer=True,
        does="command('pause')", targets=("run",), commands=("pause", "resume"),
        verb="pause", verb_help="Pause a run: running steps finish, no new ones start.",
    ),
    Action(
        "run.retry", "Retry",
        "Retry what failed, or the selected agent and all after it; resume an interrupted run.",
        ("R",), footer=True,
        does="command('retry')",
        targets=("task", "agent", "step"), typed="shows what will run again, and asks", commands=("retry",),
        verb="retry", verb_help="Run again what failed, or an agent and all after it.",
    ),
    Action(
        "run.cancel", "Cancel", "Cancel the selected step, task or agent.", ("c",), True, True,
        does="command('cancel')",
        targets=("task", "agent", "step"), typed="shows what will be stopped, and asks", commands=("cancel",),
        verb="cancel", verb_help="Cancel a run, a task, or a step.",
    ),
    Action(
        "run.cancel_run", "Cancel the run", "Cancel the whole run; it cannot be resumed.", ("X",), True,
        does="command('cancel_run')", targets=("run",), commands=("cancel",),
    ),
    Action(
        "run.drain", "Drain", "Stop the run once its running steps have finished; it can be resumed.",
        ("d",), True,
        does="command('drain')", targets=("run",), commands=("drain",), verb="drain",
    ),
    Action(
        "run.limits", "Limits", "Change a limit while the run executes.",
        ("t", "6"), footer=True, does="show('limits')",
        targets=("limit",), arguments=("value",), typed="the new value", commands=("limits", "budget"),
        verb="limits", verb_help="Print or change the limits of a run.",
    ),
    Action(
        "run.more", "More workers", "Allow a quarter more steps at once.", ("right_square_bracket",),
        does="command('more')", targets=("run",), commands=("limits",),
    ),
    Action(
        "run.fewer", "Fewer workers", "Allow a quarter fewer steps at once; running steps finish.",
        ("left_square_bracket",),
        does="command('fewer')", targets=("run",), commands=("limits",),
    ),
    Action(
        "run.hurry", "Hurry", "Run the selected task before all others.", ("H",),
        does="command('hurry')", targets=("task",), typed="runs before all others", commands=("hurry",),
        verb="hurry", verb_help="Run a task before all others.",
    ),
    Action(
        "run.release", "Release", "Start the selected step with what has arrived, without waiting for the rest.",
        ("J",), True,
        does="command('release')",
        targets=("agent", "step"), typed="starts with what has arrived", commands=("release",),
        verb="release", verb_help="Start a step with what has arrived, without waiting for the rest.",
    ),
    Action(
        "run.skip", "Skip", "Skip the selected step; its task continues without it.", ("S",), True,
        does="command('skip')", targets=("step",), typed="its task continues without it", commands=("skip",),
        verb="skip", verb_help="Skip a step; its task continues without it.",
    ),
    Action(
        "run.hold", "Hold agent", "Hold the selected agent, so that it starts no more steps; or let it continue.",
        ("P",),
        does="command('hold')", targets=("agent",),
        typed="starts no more steps, or continues", commands=("limits",),
    ),
    Action(
        "run.budget", "Budget", "Raise the budget of the run.", ("B",),
        does="command('budget')",
        targets=("run",), arguments=("amount",), typed="how much the run may spend", commands=("budget",),
        verb="budget", verb_help="Show or raise the budget of a run.",
    ),
    Action(
        "run.why", "Why", "Explain in a sentence why the selected step waits or failed.", ("w",), footer=True,
        does="command('why')", targets=("agent", "step"), typed="explains its state in a sentence",
        verb="why", verb_help="Say why a step waits, was skipped, or failed.",
    ),
    Action(
        "run.next", "Attention", "Select the next step that needs attention.", ("exclamation_mark",),
        does="command('next')",
    ),
    Action(
        "run.answer", "Answer", "Answer what the selected step asks: approve, reject, or give values.", ("a",),
        does="command('answer')", targets=("step",), typed="answer what it asks", commands=("approve",),
        verb="approve", verb_help="Approve or reject a step that asks for it.",
    ),
    Action(
        "run.letters", "Letters", "List the dead letters of this run: steps that failed for good.",
        ("L",), footer=True,
    ),
    Action("run.replay", "Replay", "Replay the run from its events; this changes nothing.", ("v",)),
    Action("run.zoom", "Zoom", "Show only the focused pane, or all panes.", ("z",), does="command('zoom')"),
    Action("run.graph", "Graph", "Show the graph of agents.", ("1",), does="show('graph')"),
    Action("run.agents", "Agents", "Show the table of agents.", ("2",), does="show('agents')"),
    Action("run.tasks", "Tasks", "Show the table of tasks.", ("3",), does="show('tasks')"),
    Action("run.timeline", "Timeline", "Show what ran when.", ("4",), does="show('timeline')"),
    Action(
        "run.log", "Log", "Show what agents logged.", ("5",), does="show('log')",
        verb="logs", verb_help="Print what agents logged.",
    ),
    Action("run.up", "Up", "Go up one level: zoom, pane, selection, deck.", ("escape",)),
    Action("run.back", "Back", "Go back to the deck; the run continues.", ("q",), footer=True),
    Action(
        "run.go", "Select", "Select a task, an agent or a step in every pane.",
        targets=("task", "agent", "step"), typed="select it in every pane",
    ),
    Action(
        "run.resume", "Resume", "Continue a run that was interrupted, drained or paused.",
        targets=("run",), commands=("resume",), verb="resume",
    ),

    Action("replay.play", "Play, stop", "Play or stop the replay.", ("space",), footer=True),
    Action("replay.next_event", "Next event", "One event forward.", ("full_stop",), footer=True, does="step(1)"),
    Action("replay.event_before", "Previous event", "One event back.", ("comma",), does="step(-1)"),
    Action(
        "replay.next_mark", "Next mark", "Go to the next failure, retry or limit change.",
        ("right_curly_bracket",),
        does="jump(1)",
    ),
    Action(
        "replay.mark_before", "Previous mark", "Go to the previous failure, retry or limit change.",
        ("left_curly_bracket",), does="jump(-1)",
    ),
    Action(
        "replay.bar", "Bar",
        "Focus the bar: arrows move by events, + and - change the speed, a time jumps there.",
        ("b",), footer=True
    ),

    Action(
        "letters.retry", "Retry", "Retry the marked dead letters, or the selected one.", ("R",), footer=True,
        targets=("letter",),
    ),
    Action(
        "letters.try_one", "Try one", "Retry one dead letter of this cause, and the rest if it succeeds.",
        ("1",), footer=True,
        targets=("letter",),
    ),
    Action(
        "letters.edit", "Retry with", "Retry with a changed input.", ("e",), footer=True,
        targets=("letter",),
    ),
    Action("letters.story", "Open step", "Open the step: its attempts, what it was asked, what it read.", ("o",)),
    Action(
        "letters.drop", "Drop", "Close dead letters with a reason, without a retry.", ("D",), True, True,
        targets=("letter",),
    ),
    Action("letters.back", "Back", "Go back to the previous screen.", ("escape", "q"), footer=True),

    Action(
        "questions.answer", "Answer", "Answer the selected question.", ("a", "enter"), footer=True,
        targets=("step",), commands=("approve",), verb="answer", verb_help="Answer a question of a run.",
    ),
    Action("questions.open", "Open run", "Open the run that asks.", ("o",), footer=True),
    Action("questions.back", "Back", "Go back to the previous screen.", ("escape", "q"), footer=True),

    Action("history.open", "Open", "Open the selected run.", ("enter",), footer=True, targets=("run",)),
    Action(
        "history.filter", "Filter", "Filter runs: words, state:failed, workflow:order, since:12h.",
        ("slash",), footer=True
    ),
    Action(
        "history.retry", "Retry", "Retry what failed in the selected run.", ("R",), footer=True, targets=("run",)
    ),
    Action(
        "history.fork", "Fork", "Start a new run that reuses its results and runs what failed.",
        ("f",), footer=True,
        targets=("run",), verb="fork", verb_help="Start a new run that reuses the results of another one.",
    ),
    Action(
        "history.cancel", "Cancel", "Cancel a run that is executing.", ("X",), True, True,
        targets=("run",), commands=("cancel",),
    ),
    Action(
        "history.delete", "Delete", "Delete the run with its events and logs.", ("D",), True, True,
        targets=("run",), verb="prune", verb_help="Delete old runs and free their disk space.",
    ),
    Action("history.back", "Back", "Go back to the previous screen.", ("escape", "q"), footer=True),
)  # fmt: skip

ACTIONS: tuple[Action, ...] = SCREENS + PANES + DIALOGS

BY_ID = {action.id: action for action in ACTIONS}


def of(scope: str, widget: str = "") -> Iterator[Action]:
    """Yields the actions of one scope, or of one widget in it, in the order in which they are shown."""
    return (action for action in ACTIONS if action.scope == scope and widget in ("", action.widget))


def verb_help(verb: str) -> str:
    """The one-line help of a verb of the command line; empty for a verb that is no action."""
    return next((action.verb_help or action.help for action in ACTIONS if action.verb == verb), "")
