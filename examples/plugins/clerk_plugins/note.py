"""`note`: an agent that appends a line to a file.

remember: { note: { file: notes.txt, text: "${confirm.id} is done" } }
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentdeck.workflow.agent_kind import AgentKind
from agentdeck.workflow.model import Agent, Work

if TYPE_CHECKING:
    from agentdeck.agents.verb import AttemptContext, WorkflowContext
    from agentdeck.workflow.file_model import FileModel


@dataclass(frozen=True, slots=True)
class Note(Work):
    """Append a line. Both fields are templates."""

    file: str
    text: str
    verb = "note"


class NoteKind(AgentKind):
    """Agents that append a line to a file."""

    work = Note
    heading = "notes"

    def keys(self) -> type[FileModel]:
        from agentdeck.workflow.file_model import ABSENT, FileModel, FilledTemplate

        class NoteSpec(FileModel):
            """A line, and the file that it is appended to."""

            file: FilledTemplate
            text: FilledTemplate

        class NoteKeys(FileModel):
            """The keys of agents that append a line to a file."""

            note: NoteSpec = ABSENT

        return NoteKeys

    def runner(self, agent: Agent, context: WorkflowContext) -> NoteRunner:
        assert isinstance(agent.does, Note)
        return NoteRunner(agent.does, context)


class NoteRunner:
    """Appends the line of each step."""

    def __init__(self, does: Note, context: WorkflowContext) -> None:
        from agentdeck.workflow.expressions import Template

        self._folder = context.folder
        self._file = Template(does.file)
        self._text = Template(does.text)

    async def run(self, work: AttemptContext) -> dict[str, str]:
        from anyio import to_thread

        from agentdeck.agents.template_rendering import render_text
        from agentdeck.errors import StepError

        file = self._folder / await render_text(self._file, work.scope)
        text = " ".join((await render_text(self._text, work.scope)).split())

        def append() -> None:
            with file.open("a", encoding="utf-8") as notes:
                notes.write(f"{text}\n")

        try:
            await to_thread.run_sync(append)
        except OSError as error:
            raise StepError("setup", f"{file} cannot be written: {error.strerror}") from None
        work.log(f"noted: {text}")
        return {"file": str(file), "text": text}
