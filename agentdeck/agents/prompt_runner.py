"""`prompt`: asks a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from agentdeck.agents.answer_check import parsed
from agentdeck.agents.attempt_usage import CallUsage, length_of
from agentdeck.agents.prompt_call import PromptCall
from agentdeck.agents.prompt_log import ANSWER, CALL, FAILED, ToolProgressLog
from agentdeck.agents.template_rendering import render, render_text
from agentdeck.agents.verb import AttemptContext, VerbResult, WorkflowContext
from agentdeck.errors import StepError
from agentdeck.providers.model_facts import output_limit
from agentdeck.providers.provider import (
    Message,
    PromptReply,
    PromptRequest,
    ToolCall,
    ToolSpec,
    instruction,
    schema_of,
)
from agentdeck.providers.registry import models_for
from agentdeck.providers.tools import named
from agentdeck.scheduler.tiers import tier_of
from agentdeck.workflow.deck import Model
from agentdeck.workflow.expressions import Template, show
from agentdeck.workflow.model import Agent, Data, Prompt

#: For answers whose tokens are not progress.
CHARACTERS_PER_TOKEN = 4
#: Rounds of tool calls after which a model has to answer.
ROUNDS = 10


class PromptVerb:
    """Sends one request per attempt, and one more for each round of tool calls."""

    def __init__(self, agent: Agent, context: WorkflowContext) -> None:
        assert isinstance(agent.does, Prompt)
        self._does = agent.does
        self._context = context
        self._registry = context.registry
        self._text = Template(agent.does.text)
        self._system = Template(agent.does.system or "")
        self._images = [Template(image) for image in agent.does.images]
        self._schema = schema_of(agent.output) if agent.output else None
        self._tools = {named(tool): tool for tool in agent.does.tools}

    async def run(self, work: AttemptContext) -> VerbResult:
        registry = self._registry
        name = work.model or models_for(self._context.deck, work.agent, work.tier_up)[0]
        call = PromptCall(self._context, work, name)
        model = call.model
        tools = [] if call.simulated else await registry.tools.tools(self._does.tools)
        request = await self._request(work, model, tools)
        called = 0
        try:
            for turn in range(ROUNDS + 1):
                reply = await call.answer(request)
                self._check_usable(work, reply, request, model)
                if not reply.calls or not tools:
                    break
                call.close()
                if turn == ROUNDS:
                    raise StepError("invalid", f"{name} still calls tools after {ROUNDS} rounds")
                messages = [*request.messages, Message("assistant", reply.text, calls=reply.calls)]
                for one in reply.calls:
                    messages.append(Message("tool", await self._call(work, one), call=one.id))
                    called += 1
                request = await self._more(work, replace(request, messages=messages), call.usage, reply)
                call.restart()
        finally:
            call.close()
        if called:
            work.log(f"{called} tool calls in {turn} rounds")
        if reply.ended == "length":
            work.log("the answer was cut at its longest allowed length (max_output)", "warning")
        elif reply.ended not in ("stop", "tools"):
            what = f"the answer ended for an unknown reason: {reply.ended}"
            work.log(registry.keys.hide(what), "warning")
        return VerbResult(self._output(registry.keys.hide(reply.text)), call.usage.usage())

    async def _more(
        self, work: AttemptContext, request: PromptRequest, usage: CallUsage, reply: PromptReply
    ) -> PromptRequest:
        """The request of the next round of tools, once the budget and the limits admit it."""
        if work.afford is not None:
            most = await work.afford(usage, length_of(request))
            if most is not None:
                request = replace(request, max_output=most)
        await work.next_request(reply.tokens_in, reply.tokens_out)
        return request

    def _check_usable(
        self, work: AttemptContext, reply: PromptReply, request: PromptRequest, model: Model
    ) -> None:
        """Raise StepError for a complete answer that cannot be used: cut where a part is useless, empty, or with
        calls of tools that were not offered."""
        useless, hide = not reply.text and not reply.calls, self._registry.keys.hide
        detail = hide(reply.text[:2000])
        if reply.ended == "length" and (reply.wrong or useless or self._broken(reply.text)):
            kind, most = self._registry.type_of(model.provider), output_limit(model)
            allowed = request.max_output or kind.default_max_output(model.id) or most
            raise cut(reply, detail, allowed, most, escalate=work.agent.retry.escalate)
        if reply.wrong:
            raise StepError("invalid", hide(reply.wrong), detail=detail)
        if reply.calls and not request.tools:
            names = ", ".join(dict.fromkeys(call.name for call in reply.calls))
            what = f"the model called tools that it was not offered: {names[:200]}"
            raise StepError("invalid", hide(what), detail=detail)
        if useless:
            rest = ", only reasoning" if reply.thought else ""
            raise StepError("invalid", f"the answer is empty{rest} (it ended with: {reply.ended})")

    def _broken(self, text: str) -> bool:
        """Whether the text is not an answer of the requested type."""
        try:
            return self._schema is not None and not isinstance(parsed(text), dict)
        except StepError:
            return True

    async def _request(self, work: AttemptContext, model: Model, tools: Sequence[ToolSpec]) -> PromptRequest:
        does, scope = self._does, work.scope
        text = await render_text(self._text, scope)
        if work.fault and not work.cut_at:
            again = f"A previous answer was invalid: {work.fault}."
            text += f"\n\n{again}" + (f" {instruction(self._schema)}" if self._schema else "")
        images: list[str] = []
        for template in self._images:
            value = await render(template, scope)
            files = value if isinstance(value, list) else [value]
            images += [str(self._context.folder / show(file)) for file in files if file is not None]
        return PromptRequest(
            model.id,
            (Message("user", text, images),),
            await render_text(self._system, scope),
            self._schema,
            does.temperature,
            self._longest(work, model),
            does.stop,
            tools,
            tier_of(work.agent, work.tier_up),
            work.seed,
        )

    def _longest(self, work: AttemptContext, model: Model) -> int | None:
        """The output tokens that this attempt may use; None for the model's own maximum."""
        wanted = max(self._does.max_output or 0, 2 * work.cut_at) or model.max_output
        bounds = [most for most in (wanted, output_limit(model), work.max_output) if most is not None]
        if wanted is None and work.max_output is None:
            return None
        longest = min(bounds)
        if longest <= work.cut_at:
            what = f"the answer was cut at {work.cut_at:,} output tokens"
            if work.max_output is not None and work.max_output <= work.cut_at:
                raise StepError("budget", f"{what}; the budget does not allow more", cut_at=work.cut_at)
            raise StepError("context", f"{what}; {model.id} cannot give more", cut_at=work.cut_at)
        return longest

    async def _call(self, work: AttemptContext, call: ToolCall) -> str:
        """The tool's answer, for the model."""
        name = self._tools.get(call.name)
        if name is None:
            return f"There is no tool {call.name}."
        hide = self._registry.keys.hide
        work.log(hide(f"{CALL}{name} {json.dumps(call.arguments, ensure_ascii=False)}"[:1000]))
        progress = ToolProgressLog(work, name)
        result = await self._registry.tools.call(name, call.arguments, progress)
        first = result.text.strip().partition("\n")[0][:500]
        work.log(f"{ANSWER}{name} {FAILED if result.wrong else ''}{first}", "warning" if result.wrong else "info")
        return result.text

    def _output(self, text: str) -> Data:
        """The output, parsed where it is typed. Text that cannot be parsed stays text: the output check reports
        why."""
        if self._schema is None:
            return text
        try:
            return parsed(text)
        except StepError:
            return text


def cut(reply: PromptReply, detail: str, allowed: int | None, most: int | None, *, escalate: bool) -> StepError:
    """For an answer that was cut at its longest allowed length. The next attempt may use twice as much, up to
    what the model can give; where it can give no more, a model a tier up is asked or another one of the tier."""
    at = allowed or reply.tokens_out or len(reply.text) // CHARACTERS_PER_TOKEN + 1
    what = f"the answer was cut at {at:,} output tokens and cannot be used"
    if allowed is None or (most is not None and allowed >= most):
        fix = "the model cannot give more; ask for a shorter answer, or name a model with a larger maximum"
        kind = "invalid" if escalate else "context"
        return StepError(kind, f"{what}: {fix}", detail=detail, cut_at=at)
    more = 2 * at if most is None else min(2 * at, most)
    then = f"the next attempt may use {more:,}; set `max_output` to what it needs"
    return StepError("invalid", f"{what}: {then}", detail=detail, cut_at=at)
