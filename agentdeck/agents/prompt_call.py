"""One attempt's requests to a model: their usage, the log of their answers, their progress."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from agentdeck.agents.attempt_usage import CallUsage
from agentdeck.agents.foreign_code import contained
from agentdeck.agents.loop_interrupt import foreign
from agentdeck.agents.prompt_log import AnswerProgress, TextLog
from agentdeck.agents.verb import AttemptContext, WorkflowContext
from agentdeck.errors import StepError
from agentdeck.providers.keys import KeyMask
from agentdeck.providers.provider import PromptReply, PromptRequest, check_reply


class PromptCall:
    """The requests of an attempt to the model with this name in the deck. `also` gets the text of the answer
    without keys, as the log does."""

    def __init__(
        self, context: WorkflowContext, work: AttemptContext, name: str, also: Callable[[str], None] | None = None
    ) -> None:
        registry = context.registry
        self.model = registry.deck.models[name]
        self.simulated = registry.type_of(self.model.provider).simulated
        self._provider = registry.provider(self.model.provider)
        self._context = context
        self._work = work
        self.usage = CallUsage(name, registry.prices, work.expected_out, simulated=self.simulated)
        work.usages.append(self.usage)
        self._log = TextLog(work.log, work.alive)

        def out(piece: str) -> None:
            self._log(piece)
            if also is not None:
                also(piece)

        self._progress = AnswerProgress(work, out, self.usage)
        self._masked = KeyMask(registry.keys, self._progress)

    async def answer(self, request: PromptRequest) -> PromptReply:
        """The answer to a request. Raises StepError."""
        usage, work = self.usage, self._work

        def sent() -> None:
            usage.sent()
            work.sent()

        usage.begin(request)
        try:
            answering = self._provider.answer(request, self._masked, sent)
            reply = await _answer(self.model.provider, answering)
        except StepError as error:
            if error.overloaded:
                work.refused()
            if error.exception is None:  # else nothing says how far the request came: it counts as cut
                usage.failed(error)
            raise
        usage.answered(reply)
        self._context.record_headers(self.model.provider, reply.headers)
        return reply

    def restart(self) -> None:
        """Another request follows."""
        self._progress.restart()

    def close(self) -> None:
        """Log the rest of the answer."""
        self._masked.close()
        self._log.close()


@foreign
async def _answer(name: str, answer: Awaitable[object]) -> PromptReply:
    """The answer of a provider. Raises StepError with the provider's name where its code fails, also for
    SystemExit: it cannot end the run."""
    try:
        return check_reply(name, await answer)
    except BaseException as error:
        raised = contained(error)
        if isinstance(raised, StepError) and raised.exception is not None:
            raised.fault = raised.fault._replace(message=f"provider {name}: {raised.fault.message}")
        raise raised from None
