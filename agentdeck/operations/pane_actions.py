"""The actions of panes, lists and dialogs: part of the registry in `actions`."""

from __future__ import annotations

from agentdeck.operations.action_types import Action

PANES = (
    Action("table.up", "Up", "To the row above.", ("up", "k"), does="walk(-1)"),
    Action("table.down", "Down", "To the row below.", ("down", "j"), does="walk(1)"),
    Action("table.page_up", "Page up", "One page up.", ("pageup",), does="page(-1)"),
    Action("table.page_down", "Page down", "One page down.", ("pagedown",), does="page(1)"),
    Action("table.first", "First", "To the first row.", ("home", "g"), does="go(0)"),
    Action("table.last", "Last", "To the last row.", ("end", "G"), does="go(-1)"),
    Action("table.open", "Open", "Open what the row shows.", ("enter",)),
    Action("table.mark", "Mark", "Mark or unmark the row.", ("space",), footer=True),
    Action("table.filter", "Filter", "Show only rows that contain a text.", ("slash",), footer=True),
    Action(
        "table.sort_before", "Sort by previous column", "Sort by the column to the left.", ("less_than_sign",),
        does="sort(-1)",
    ),
    Action("table.sort", "Sort", "Sort by the next column.", ("greater_than_sign",), does="sort(1)"),
    Action("table.reverse", "Reverse", "Reverse the order.", ("r",)),
    Action("table.copy", "Copy row", "Copy the row, or the marked rows.", ("y",)),
    Action("table.clear", "Clear filter, marks", "Remove the filter, then the marks.", ("escape",)),

    Action(
        "inside.fold", "Inside", "Show or hide the steps inside the agent.", ("space",), footer=True,
    ),

    Action("limits.less", "Less", "Lower the limit by one step.", ("left", "minus"), does="turn(-1)"),
    Action("limits.more", "More", "Raise the limit by one step.", ("right", "plus"), footer=True, does="turn(1)"),
    Action("limits.much_less", "Much less", "Lower the limit by ten steps.", ("shift+left",), does="turn(-10)"),
    Action("limits.much_more", "Much more", "Raise the limit by ten steps.", ("shift+right",), does="turn(10)"),
    Action("limits.undo", "Undo", "Undo the last change of a limit.", ("u",), footer=True),
    Action(
        "limits.open", "Edit, apply", "Edit the value, or apply it.", ("enter",),
        footer=True, targets=("limit",), commands=("limits", "budget"),
    ),

    Action("list.down", "Down", "To the row below.", ("down", "j"), does="move(1)"),
    Action("list.up", "Up", "To the row above.", ("up", "k"), does="move(-1)"),
    Action("list.page_down", "Page down", "One page down.", ("pagedown",), does="page(1)"),
    Action("list.page_up", "Page up", "One page up.", ("pageup",), does="page(-1)"),
    Action("list.first", "First", "To the first row.", ("home", "g"), does="edge(0)"),
    Action("list.last", "Last", "To the last row.", ("end", "G"), does="edge(1)"),

    Action("graph.left", "to a need", "Go to an agent that this one needs.", ("left",), does="walk('left')"),
    Action(
        "graph.right", "to a dependent", "Go to an agent that needs this one.", ("right",), does="walk('right')"
    ),
    Action("graph.up", "up the layer", "Go to the agent above.", ("up",), does="walk('up')"),
    Action("graph.down", "down the layer", "Go to the agent below.", ("down",), does="walk('down')"),
    Action("graph.open", "open", "Open a step of the agent.", ("enter",)),
    Action(
        "graph.zoom_in", "zoom", "Show more details of each agent.", ("plus", "equals_sign"), footer=True,
        does="zoom(-1)",
    ),
    Action("graph.zoom_out", "less", "Show fewer details of each agent.", ("minus",), does="zoom(1)"),
    Action("graph.fit", "fit", "Show as many details as fit.", ("0",)),
    Action(
        "graph.slack", "slack", "Show how much later each agent may end without a delay.", ("s",), footer=True
    ),
    Action("graph.page_up", "page up", "Scroll one page up.", ("pageup",)),
    Action("graph.page_down", "page down", "Scroll one page down.", ("pagedown",)),
    Action("graph.page_left", "page left", "Scroll one page to the left.", ("ctrl+pageup",)),
    Action("graph.page_right", "page right", "Scroll one page to the right.", ("ctrl+pagedown",)),
    Action("graph.top", "top", "Scroll to the top.", ("home",), does="scroll_home"),
    Action("graph.bottom", "bottom", "Scroll to the bottom.", ("end",), does="scroll_end"),

    Action("timeline.up", "Up", "To the row above.", ("up", "k"), does="walk(-1)"),
    Action("timeline.down", "Down", "To the row below.", ("down", "j"), does="walk(1)"),
    Action("timeline.open", "Open", "Open what the row shows.", ("enter",)),
    Action("timeline.earlier", "Earlier", "Show an earlier time.", ("left", "h"), does="pan(-1)"),
    Action("timeline.later", "Later", "Show a later time.", ("right", "l"), does="pan(1)"),
    Action(
        "timeline.zoom_in", "Zoom", "Show a shorter time.", ("plus", "equals_sign"), footer=True, does="zoom(1)"
    ),
    Action("timeline.zoom_out", "Zoom out", "Show a longer time.", ("minus",), does="zoom(-1)"),
    Action("timeline.fit", "All", "Show the whole run.", ("0",), footer=True),

    Action("log.up", "Up", "To the line above.", ("up", "k"), does="move(-1)", widget="lines"),
    Action("log.down", "Down", "To the line below.", ("down", "j"), does="move(1)", widget="lines"),
    Action("log.page_up", "Page up", "One page up.", ("pageup",), does="page(-1)", widget="lines"),
    Action("log.page_down", "Page down", "One page down.", ("pagedown", "space"), does="page(1)", widget="lines"),
    Action("log.first", "First line", "To the first line.", ("home", "g"), widget="lines"),
    Action(
        "log.follow", "Follow", "Go to the end, and follow new lines.", ("end", "G"), footer=True,
        widget="lines",
    ),
    Action("log.left", "Left", "Scroll to the left.", ("left",), does="shift(-8)", widget="lines"),
    Action("log.right", "Right", "Scroll to the right.", ("right",), does="shift(8)", widget="lines"),
    Action("log.wrap", "Wrap", "Wrap long lines, or cut them.", ("W",), widget="lines"),
    Action("log.show_time", "Time", "Show or hide the time.", ("T",), does="column('time')", widget="lines"),
    Action("log.show_level", "Level", "Show or hide the level.", ("V",), does="column('level')", widget="lines"),
    Action("log.show_agent", "Agent", "Show or hide the agent.", ("A",), does="column('agent')", widget="lines"),
    Action("log.next", "Next match", "Go to the next match.", ("n",), does="match(1)", widget="lines"),
    Action(
        "log.previous", "Previous match", "Go to the previous match.", ("N",), does="match(-1)", widget="lines"
    ),
    Action("log.copy", "Copy line", "Copy the line.", ("y",), widget="lines"),
    Action("log.open", "Full line", "Show the full line; JSON as an outline.", ("enter",), widget="lines"),
    Action("log.find", "Find", "Find a regular expression.", ("slash",), footer=True, widget="pane"),
    Action("log.clear", "Clear", "Clear the search, then the filters.", ("escape",), widget="pane"),
    Action("log.level", "Minimum level", "Hide lines below a level.", ("l",), widget="pane"),
    Action("log.task", "This task", "Show only the lines of this task, or of all tasks.", ("f",), widget="pane"),
    Action("log.around", "Context", "Show lines before and after each match.", ("C",), widget="pane"),
    Action("log.step", "Open step", "Open the step of the line.", ("o",), footer=True, widget="pane"),
    Action("log.save", "Save", "Save the lines shown to a file.", ("S",), widget="pane"),
    Action("log.pin", "Pin", "Pin or unpin the log of an agent.", ("i",), footer=True, widget="tiles"),
    Action("log.unpin_all", "Unpin all", "Close all pinned logs.", ("I",), widget="tiles"),

    Action("sheet.up", "Up", "To the line above.", ("up", "k"), does="move(-1)"),
    Action("sheet.down", "Down", "To the line below.", ("down", "j"), does="move(1)"),
    Action("sheet.page_up", "Page up", "Scroll one page up.", ("pageup",)),
    Action("sheet.page_down", "Page down", "Scroll one page down.", ("pagedown",)),
    Action("sheet.first", "Top", "To the first line.", ("home", "g"), does="move(-1000000)"),
    Action("sheet.last", "End", "To the last line.", ("end", "G"), does="move(1000000)"),
    Action("sheet.fold", "Fold", "Fold or unfold the line.", ("enter", "space"), footer=True),
    Action("sheet.unfold_all", "Unfold all", "Show everything.", ("right", "plus"), does="fold_all(False)"),
    Action(
        "sheet.fold_all", "Fold all", "Show only the outermost lines.", ("left", "minus"), does="fold_all(True)"
    ),
    Action("sheet.copy", "Copy", "Copy the line and what is inside it.", ("y",), footer=True),

    Action("page.up", "Up", "Scroll one line up.", ("up",), does="scroll_up"),
    Action("page.down", "Down", "Scroll one line down.", ("down",), does="scroll_down"),
    Action("page.page_up", "Page up", "Scroll one page up.", ("pageup",)),
    Action("page.page_down", "Page down", "Scroll one page down.", ("pagedown",)),
    Action("page.first", "Top", "Scroll to the top.", ("home",), does="scroll_home"),
    Action("page.last", "End", "Scroll to the end.", ("end",), does="scroll_end"),

    Action("playbar.play", "Play, stop", "Play or stop the replay.", ("space",), footer=True),
    Action("playbar.next_event", "Next event", "One event forward.", ("right",), does="step(1)"),
    Action("playbar.event_before", "Previous event", "One event back.", ("left",), does="step(-1)"),
    Action(
        "playbar.next_mark", "Next mark", "Go to the next failure, retry or limit change.",
        ("shift+right", "greater_than_sign"), footer=True, does="jump(1)",
    ),
    Action(
        "playbar.mark_before", "Previous mark", "Go to the previous failure, retry or limit change.",
        ("shift+left", "less_than_sign"),
        does="jump(-1)",
    ),
    Action("playbar.faster", "Faster", "Play faster.", ("up", "plus"), does="speed(1)"),
    Action("playbar.slower", "Slower", "Play slower.", ("down", "minus"), does="speed(-1)"),
    Action("playbar.begin", "Begin", "To the first event.", ("home",), does="go(0)"),
    Action("playbar.end", "End", "To the last event.", ("end",), does="go(1)"),
    Action(
        "playbar.go_to", "Go to", "Type a time, a percentage or the number of an event: 30, 2m, 50%, #1200.",
        (*"0123456789", "number_sign"),
    ),
)  # fmt: skip

DIALOGS = (
    Action(
        "help.close", "Close", "Close the help.", ("escape", "q", "question_mark", "f1", "enter"), does="dismiss"
    ),
    Action("line.close", "Close", "Close the line.", ("escape", "q"), does="dismiss"),
    Action("ask.leave", "Leave", "Close without an answer.", ("escape",), does="dismiss('')"),

    Action("why.close", "Close", "Close the explanation.", ("escape", "w", "q"), does="dismiss(False)"),
    Action(
        "why.story", "Open step", "Open the step: its attempts, inputs and output.", ("enter", "o"),
        does="dismiss(True)",
    ),

    Action("step.close", "Close", "Close the step.", ("escape", "q"), does="dismiss"),
    Action("step.markdown", "Markdown", "Show the output as Markdown, or as it is.", ("m",)),
    Action("step.pager", "Pager", "Open the step in $PAGER.", ("o", "p")),
    Action("step.editor", "Editor", "Open the step in $EDITOR.", ("e",)),

    Action("answer.approve", "Approve", "Approve; y works while no field is edited.", ("ctrl+y", "y")),
    Action("answer.reject", "Reject", "Reject; n works while no field is edited.", ("ctrl+n", "n")),
    Action("answer.later", "Not now", "Answer later.", ("escape",), does="dismiss"),

    Action("launch.launch", "Launch", "Start the run.", ("ctrl+r", "f5")),
    Action("launch.save", "Save to file", "Write the changed limits into the file.", ("ctrl+s",)),
    Action("launch.back", "Back", "Go back without a launch.", ("escape",), does="dismiss"),

    Action("confirm.next", "Next", "To the next choice.", ("down", "j", "tab", "right"), does="move(1)"),
    Action(
        "confirm.previous", "Previous", "To the previous choice.",
        ("up", "k", "shift+tab", "left"), does="move(-1)"
    ),
    Action("confirm.choose", "Choose", "Take the choice under the cursor.", ("enter",)),
    Action("confirm.leave", "Leave", "Close without a change.", ("escape",), does="dismiss('')"),

    Action("choice.yes", "Yes", "Do it.", ("y",)),
    Action("choice.no", "No", "Change nothing.", ("n",)),
    Action("choice.keep", "Keep running", "Close the console; its runs continue in the background.", ("k",)),
    Action(
        "choice.drain", "Drain", "Close the console; its runs stop once their running steps have finished.",
        ("d",),
    ),
    Action("choice.cancel", "Cancel", "Close the console and cancel its runs.", ("x",), danger=True),
    Action("choice.stay", "Stay", "Do not close the console.", ("s",)),
    Action("choice.resume", "Resume", "Resume the run where it stopped, without a retry.", ("g",)),
    Action(
        "choice.took_effect", "It took effect", "Record a result for a `once` step, and do not execute it.",
        ("t",),
    ),
    Action("choice.execute_again", "Execute again", "Execute a `once` step again.", ("a",), danger=True),
    *(
        Action(f"choice.number_{n}", f"Choice {n}", f"Take choice {n} of a numbered list.", (str(n),))
        for n in range(1, 10)
    ),
)  # fmt: skip
