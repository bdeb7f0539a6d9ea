"""`command`: runs a program, never through a shell, and reads its result from stdout."""

from __future__ import annotations

from agentdeck.agents.command import Command
from agentdeck.agents.command_output import OutputLog, OutputStream, failure, result_of
from agentdeck.agents.program import Program, word
from agentdeck.agents.template_rendering import render_text
from agentdeck.agents.verb import AttemptContext, WorkflowContext
from agentdeck.errors import StepError
from agentdeck.workflow.expressions import Template
from agentdeck.workflow.model import Agent, Data


class CommandVerb:
    """Runs the agent's program once per attempt."""

    def __init__(self, agent: Agent, context: WorkflowContext) -> None:
        command = agent.does
        assert isinstance(command, Command)
        self._program = Program(context, command.env, command.cwd)
        self._accepted = frozenset(command.ok)
        self._args = [Template(arg) for arg in command.args]
        self._input = None if command.input is None else Template(command.input)

    async def run(self, work: AttemptContext) -> Data:
        """Run the program. Its process group has ended when this returns or is cancelled."""
        args = [await word(arg, work.scope, f"argument {n}") for n, arg in enumerate(self._args)]
        if not args or not args[0]:
            raise StepError("setup", "the command is empty; name a program first")
        env, data = await self._program.environment(work), None
        if self._input is not None:
            data = (await render_text(self._input, work.scope)).encode("utf-8", "replace")
        log = OutputLog(work, self._program.keys.hide)
        out, err = OutputStream(log, "out"), OutputStream(log, "err")

        def result(code: int) -> Data:
            if code not in self._accepted:
                raise failure(code, out, err)
            if code:
                work.log(f"exited with {code}, which `ok` accepts")
            return result_of(out)

        try:
            return await self._program.run(work, args, env, data, out, err, result)
        finally:
            log.finish()
