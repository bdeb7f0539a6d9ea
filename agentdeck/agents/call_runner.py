"""Answers a call through the gateway: asks the model, and passes on what comes to the client that waits."""

from __future__ import annotations

from dataclasses import replace

from agentdeck.agents.prompt_call import PromptCall
from agentdeck.agents.verb import AttemptContext, VerbResult, WorkflowContext
from agentdeck.errors import StepError
from agentdeck.gateway.open_call import OpenCall
from agentdeck.providers.model_facts import output_limit
from agentdeck.providers.provider import PromptReply, PromptRequest
from agentdeck.providers.registry import models_for
from agentdeck.scheduler.tiers import tier_of
from agentdeck.workflow.deck import Model
from agentdeck.workflow.model import Agent, Data


class CallVerb:
    """Sends one request per attempt. The request is only in memory, with the client that waits for its answer."""

    def __init__(self, agent: Agent, context: WorkflowContext) -> None:
        self._context = context

    async def run(self, work: AttemptContext) -> VerbResult:
        waiting = self._context.calls.find(work.task)
        if waiting is None:
            raise StepError("lost", "the client that made this call is gone")
        name = work.model or models_for(self._context.deck, work.agent, work.tier_up)[0]
        call = PromptCall(self._context, work, name, waiting.add_text)
        try:
            reply = await call.answer(_request(work, waiting, call.model))
            hide = self._context.registry.keys.hide
            if reply.wrong and reply.ended != "length":
                raise StepError("invalid", hide(reply.wrong), detail=hide(reply.text[:2000]))
        except StepError as error:
            if waiting.said:  # the client has text that another attempt would repeat
                error.fault = error.fault._replace(retry=False)
            raise
        finally:
            call.close()
        waiting.reply = replace(reply, text=hide(reply.text))
        for made in reply.calls:
            work.log(hide(f"calls {made.name} {dict(made.arguments)}"[:1000]))
        return VerbResult(_output(waiting.reply), call.usage.usage())


def _request(work: AttemptContext, waiting: OpenCall, model: Model) -> PromptRequest:
    """The client's request, to this model, with the longest answer that the budget allows."""
    asked = waiting.request.prompt
    bounds = [
        most for most in (asked.max_output or model.max_output, output_limit(model), work.max_output) if most
    ]
    unbound = asked.max_output is None and model.max_output is None and work.max_output is None
    return replace(
        asked,
        model=model.id,
        max_output=None if unbound else min(bounds),
        tier=tier_of(work.agent, work.tier_up),
        seed=work.seed,
    )


def _output(reply: PromptReply) -> Data:
    """The result of the step: the text, with the calls of tools where there are some."""
    if not reply.calls:
        return reply.text
    return {"text": reply.text, "calls": [{"name": c.name, "arguments": dict(c.arguments)} for c in reply.calls]}
