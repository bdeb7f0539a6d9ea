"""One step of a run: its attempts, prompt, inputs and output."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from textual.app import ComposeResult, SuspendNotSupported
from textual.containers import Vertical
from textual.screen import ModalScreen

from agentdeck.console.actions import bindings
from agentdeck.console.outline import OutlineItem, OutlineView, outline, prose
from agentdeck.console.screens.base import ScrollPage
from agentdeck.console.state_style import GLYPHS
from agentdeck.errors import AgentdeckError
from agentdeck.insight.formatting import clock, moment, seconds
from agentdeck.insight.step import attempt_line, excerpt_line, fault_line, inner_counts, inner_line
from agentdeck.operations.step_page import page
from agentdeck.scheduler.state import ENDED
from agentdeck.terminal_text import clean
from agentdeck.views.inner_place import inside
from agentdeck.views.inner_tree import InnerNode
from agentdeck.views.step_story import AttemptStory, StepStory
from agentdeck.workflow.model import Data

AGAIN = 1.0  # seconds after which a step that has not ended is read again
SHORT = 12  # lines of inputs that are shown unfolded


class StepDetail(ModalScreen[None]):
    """Shows the story that `read` returns, and reads it again while the step has not ended."""

    DEFAULT_CSS = """
    StepDetail { align: center middle; }
    StepDetail > Vertical {
        width: 94%; max-width: 150; height: 92%; border: round $primary; padding: 0 1; background: $surface;
        border-subtitle-color: $text-muted;
    }
    StepDetail VerticalScroll { display: none; }
    """
    BINDINGS = bindings("step")

    def __init__(self, read: Callable[[], Awaitable[StepStory]]) -> None:
        super().__init__()
        self._read = read
        self.story: StepStory | None = None
        self._shown = 0  # the number of the last event that is shown
        self.sheet = OutlineView([OutlineItem("reading …", "dim")])
        self.formatted = ScrollPage()

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_subtitle = "m Markdown · o pager · e $EDITOR · y copy · esc close"
            yield self.sheet
            yield self.formatted

    async def on_mount(self) -> None:
        self.sheet.focus()
        self.run_worker(self._follow(), exclusive=True)

    async def _follow(self) -> None:
        """Read the story, and again until the step has ended."""
        while True:
            try:
                story = await self._read()
            except AgentdeckError as error:
                self.sheet.show([OutlineItem(str(error), "bad")])
                return
            if story.seq != self._shown:
                self.story, self._shown = story, story.seq
                self.sheet.show(items_of(story))
            if story.state in ENDED:
                return
            await asyncio.sleep(AGAIN)

    async def action_markdown(self) -> None:
        """Show the output as Markdown, or as it is."""
        if self.story is None:
            return
        if self.formatted.display:
            self.formatted.display, self.sheet.display = False, True
            self.sheet.focus()
            return
        from textual.widgets import Markdown

        await self.formatted.remove_children()
        await self.formatted.mount(Markdown(markdown_of(self.story.output), open_links=False))
        self.formatted.display, self.sheet.display = True, False
        self.formatted.focus()

    def action_pager(self) -> None:
        default = next((name for name in ("less", "more") if shutil.which(name)), "cat")
        self._hand_over(os.environ.get("PAGER") or default)

    def action_editor(self) -> None:
        default = next((name for name in ("nano", "vim", "vi") if shutil.which(name)), "ed")
        self._hand_over(os.environ.get("VISUAL") or os.environ.get("EDITOR") or default)

    def _hand_over(self, program: str) -> None:
        """Suspend the console while a program shows the story."""
        if self.story is None:
            return
        with tempfile.TemporaryDirectory(prefix="agentdeck-") as folder:
            file = Path(folder) / "step.txt"
            file.write_text("\n".join(page(self.story)) + "\n", encoding="utf-8")
            try:
                with self.app.suspend():
                    subprocess.run([*shlex.split(program), str(file)], check=False)
            except SuspendNotSupported:
                self.app.notify("this terminal cannot be suspended for another program", severity="warning")
            except (OSError, ValueError) as error:
                self.app.notify(f"{program} does not start: {error}", severity="error")


def items_of(story: StepStory) -> list[OutlineItem]:
    """The story as a page that folds."""
    state = story.display_state
    glyph = GLYPHS.get(state, "?")
    verb = f" · {story.verb}" if story.verb else ""
    place = f" at {story.place}" if story.place else ""
    title = f"{glyph} {state}  ·  task {story.task}{verb}{place}  ·  run {story.run}"
    items = [OutlineItem(title, state, 0, story.step)]
    if story.opened is not None:
        times = f"task opened {moment(story.opened)}"
        if story.ended is not None:
            times += f", step ended {clock(story.ended)}"
        items.append(OutlineItem(times, "dim"))
    if story.fault is not None:
        items.append(OutlineItem(inside(story.inside, fault_line(story.fault)), "failed"))
        if story.fault.detail:
            items += prose(story.fault.detail, 1, role="dim")
    if story.attempts:
        items += [OutlineItem(), OutlineItem(str(len(story.attempts)), "dim", 0, "attempts")]
        for one in story.attempts:
            items += _attempt(one)
    if story.notes:
        items += [OutlineItem(), OutlineItem("", "dim", 0, "notes")]
        items += [OutlineItem(text, "text", 1, clock(at)) for at, text in story.notes]
    for name, value in story.asked.items():
        items += [OutlineItem(), *_section(name, value)]
    if story.inputs:
        inputs = outline(story.inputs, 0, "inputs")
        items += [OutlineItem(), inputs[0]._replace(shut=len(inputs) > SHORT), *inputs[1:]]
    if story.state == "done" or story.output is not None:
        items += [OutlineItem(), *_section("output", story.output)]
    return items


def _section(label: str, value: Data) -> list[OutlineItem]:
    if isinstance(value, str):
        lines = list(prose(value, 1))
        return [OutlineItem(f"{len(value):,} characters", "dim", 0, label), *lines]
    return outline(value, 0, label)


def _attempt(one: AttemptStory) -> Iterator[OutlineItem]:
    role = {"lost": "warn", "running": "running"}.get(one.state, "bad" if one.fault else "text")
    yield OutlineItem(attempt_line(one, seconds), role, 1, clock(one.started))
    if one.fault is not None and one.fault.detail:
        for line in prose(one.fault.detail, 2, "detail", "dim"):
            yield line._replace(shut=line.depth == 2)
    if one.inner.count:
        role = "bad" if one.inner.failed else "dim"
        yield OutlineItem(inner_counts(one), role, 2, "inside", shut=one.state != "failed")
        nodes = list(one.inner.nodes())
        for (depth, node), (below, _) in zip(nodes, [*nodes[1:], (0, None)], strict=True):
            plain = below <= depth and node.state == "done"  # only its values are inside it
            yield from _inner(depth + 3, node, shut=plain)


def _inner(depth: int, node: InnerNode, *, shut: bool) -> Iterator[OutlineItem]:
    """An inner step, with the beginning of what it got and gave."""
    glyph = GLYPHS.get(node.state, "?")  # also of one that asked
    role = node.state if node.state in ("running", "failed") else "text"
    text = f"{inner_line(node, seconds)}  {clock(node.started)}"
    yield OutlineItem(text, role, depth, f"{glyph} {node.name}", shut)
    for label, value in (("in", node.inputs), ("out", node.output)):
        if value is not None:
            yield OutlineItem(excerpt_line(value), "dim", depth + 1, label)


def markdown_of(output: Data) -> str:
    """An output as Markdown: text as it is, the texts of an object under their names, the rest as JSON."""
    import json

    if isinstance(output, str):
        return clean(output, lines=True)
    if isinstance(output, dict) and any(isinstance(value, str) for value in output.values()):
        return "\n\n".join(f"## {clean(str(key))}\n\n{markdown_of(value)}" for key, value in output.items())
    return f"```json\n{clean(json.dumps(output, indent=2, ensure_ascii=False), lines=True)}\n```"
