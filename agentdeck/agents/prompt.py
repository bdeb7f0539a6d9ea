"""`prompt`: ask a model."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from agentdeck.agents.answer_check import parsed
from agentdeck.agents.attempt_usage import CallUsage, length_of
from agentdeck.agents.template_rendering import render, render_text
from agentdeck.agents.text_stream import TextLog
from agentdeck.agents.verb import AttemptContext, VerbResult, WorkflowContext
from agentdeck.errors import StepError
from agentdeck.providers.keys import KeyMask
from agentdeck.providers.output_limit import output_limit, unless_limited
from agentdeck.providers.output_schema import instruction, schema_of
from agentdeck.providers.provider import Message, PromptReply, PromptRequest, ToolCall, ToolSpec
from agentdeck.providers.registry import SIMULATED, ProviderRegistry, models_for
from agentdeck.providers.tools import named
from agentdeck.scheduler.tiers import tier_of
from agentdeck.workflow.deck import Model
from agentdeck.workflow.expressions import compile_template, show
from agentdeck.workflow.model import Agent, Data, Prompt

#: For a length that is not counted.
CHARACTERS_PER_TOKEN = 4
#: How often a model may ask for tools before it has to answer.
ROUNDS = 10
#: Seconds between two lines of the log that tell of a tool's progress.
PROGRESS_EVERY = 0.5


class _ProviderSession:
    """The room all prompts of a run share; it stands in the setting's `closing`, and is found there."""

    def __init__(self, room: ProviderRegistry) -> None:
        self.room = room

    @classmethod
    def of(cls, setting: WorkflowContext) -> ProviderRegistry:
        for close in setting.closing:
            if isinstance(close, cls):
                return close.room
        shared = cls(ProviderRegistry(setting.deck, setting.sleep, keys=setting.keys, children=setting.children))
        setting.closing.append(shared)
        return shared.room

    async def __call__(self) -> None:
        await self.room.close()


class PromptVerb:
    """Asks once for each attempt, and again for each round of tools."""

    def __init__(self, agent: Agent, setting: WorkflowContext) -> None:
        assert isinstance(agent.does, Prompt)
        self._does = agent.does
        self._setting = setting
        self._room = _ProviderSession.of(setting)
        self._text = compile_template(agent.does.text)
        self._system = compile_template(agent.does.system or "")
        self._images = [compile_template(image) for image in agent.does.images]
        self._schema = schema_of(agent.output) if agent.output else None
        self._tools = {named(tool): tool for tool in agent.does.tools}

    async def run(self, work: AttemptContext) -> VerbResult:
        room = self._room
        name = work.model or models_for(self._setting.deck, work.agent, work.tier_up)[0]
        model = room.deck.models[name]
        provider = room.provider(model.provider)
        simulated = room.deck.providers[model.provider].type == SIMULATED
        tools = [] if simulated else await room.tools.tools(self._does.tools)
        question = await self._question(work, model, tools)
        spending = CallUsage(name, room.prices, work.expected_out, simulated=simulated)
        work.usages.append(spending)
        called = 0
        saying = TextLog(work)
        counted = _Counted(work, saying, spending)
        curtain = KeyMask(room.keys, counted)

        def sent() -> None:
            spending.sent()
            work.sent()

        try:
            for turn in range(ROUNDS + 1):
                spending.begin(question)
                try:
                    reply = await provider.answer(question, curtain, sent)
                except StepError as error:
                    spending.failed(error)
                    raise
                spending.answered(reply)
                self._setting.record_headers(model.provider, reply.told)
                self._refuse_unusable(work, reply, question, model)
                if not reply.calls or not tools:
                    break
                curtain.close()
                saying.close()
                if turn == ROUNDS:
                    raise StepError("invalid", f"{name} still wants tools after {ROUNDS} rounds of them")
                turns = [*question.turns, Message("assistant", reply.text, calls=reply.calls)]
                for call in reply.calls:
                    turns.append(Message("tool", await self._call(work, call), call=call.id))
                    called += 1
                question = await self._more(work, replace(question, turns=turns), spending, reply)
                counted.restart()
        finally:
            curtain.close()
            saying.close()
        if called:
            work.log(f"{called} calls of tools in {turn} rounds")
        if reply.ended == "length":
            work.log("the answer was cut at its longest allowed length (max_output)", "warning")
        elif reply.ended not in ("stop", "tools"):
            work.log(room.keys.hide(f"the answer ended for a reason that is not known: {reply.ended}"), "warning")
        return VerbResult(self._output(room.keys.hide(reply.text)), spending.usage())

    async def _more(
        self, work: AttemptContext, question: PromptRequest, spending: CallUsage, reply: PromptReply
    ) -> PromptRequest:
        """The question of the next round of tools, once the budget and the limits have room for it."""
        if work.afford is not None:
            most = await work.afford(spending, length_of(question))
            if most is not None:
                question = replace(question, max_output=most)
        await work.next_request(reply.tokens_in, reply.tokens_out)
        return question

    def _refuse_unusable(
        self, work: AttemptContext, reply: PromptReply, question: PromptRequest, model: Model
    ) -> None:
        """Raises StepError for an answer that is complete and yet none: cut where a part is of no use, empty, or
        with calls that cannot be made."""
        useless, hide = not reply.text and not reply.calls, self._room.keys.hide
        detail = hide(reply.text[:2000])
        if reply.ended == "length" and (reply.wrong or useless or self._broken(reply.text)):
            most, anthropic = output_limit(model), self._room.deck.providers[model.provider].type == "anthropic"
            allowed = question.max_output or (unless_limited(model.id) if anthropic else most)
            raise cut(reply, detail, allowed, most, escalate=work.agent.retry.escalate)
        if reply.wrong:
            raise StepError("invalid", hide(reply.wrong), detail=detail)
        if reply.calls and not question.tools:
            names = ", ".join(dict.fromkeys(call.name for call in reply.calls))
            what = f"the model wants tools called that it was not offered: {names[:200]}"
            raise StepError("invalid", hide(what), detail=detail)
        if useless:
            rest = ", only reasoning" if reply.thought else ""
            raise StepError("invalid", f"the answer is empty{rest} (it ended with: {reply.ended})")

    def _broken(self, text: str) -> bool:
        """Whether this is no answer of the type that was asked for."""
        try:
            return self._schema is not None and not isinstance(parsed(text), dict)
        except StepError:
            return True

    async def _question(self, work: AttemptContext, model: Model, tools: Sequence[ToolSpec]) -> PromptRequest:
        does, scope = self._does, work.scope
        text = await render_text(self._text, scope)
        if work.fault and not work.cut_at:
            again = f"An answer to this was refused: {work.fault}."
            text += f"\n\n{again}" + (f" {instruction(self._schema)}" if self._schema else "")
        images: list[str] = []
        for template in self._images:
            value = await render(template, scope)
            files = value if isinstance(value, list) else [value]
            images += [str(self._setting.folder / show(file)) for file in files if file is not None]
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
                raise StepError("budget", f"{what}, and the budget allows no more", cut_at=work.cut_at)
            raise StepError("context", f"{what}, and {model.id} gives no more", cut_at=work.cut_at)
        return longest

    async def _call(self, work: AttemptContext, call: ToolCall) -> str:
        """What the tool answers, for the model to read."""
        name = self._tools.get(call.name)
        if name is None:
            return f"There is no tool {call.name}."
        hide = self._room.keys.hide
        work.log(hide(f"→ {name} {json.dumps(call.arguments, ensure_ascii=False)}"[:1000]))
        progress = _Progress(work, name)
        result = await self._room.tools.call(name, call.arguments, progress)
        first = result.text.strip().partition("\n")[0][:500]
        work.log(f"← {name} {'failed: ' if result.wrong else ''}{first}", "warning" if result.wrong else "info")
        return result.text

    def _output(self, text: str) -> Data:
        """Parsed where it is typed. What does not parse stays text: the check of outputs says what is wrong."""
        if self._schema is None:
            return text
        try:
            return parsed(text)
        except StepError:
            return text


class _Progress:
    """Writes what a tool says of its progress to the step's log, of a flood one line in a while. Each counts as a
    sign of life."""

    def __init__(self, work: AttemptContext, name: str) -> None:
        self._work = work
        self._name = name
        self._next = 0.0

    def __call__(self, text: str) -> None:
        self._work.alive()
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + PROGRESS_EVERY
            self._work.log(f"… {self._name} {text[:500]}")


def cut(reply: PromptReply, detail: str, allowed: int | None, most: int | None, *, escalate: bool) -> StepError:
    """For an answer that was cut at its longest allowed length. The next attempt may use twice as much, up to
    what the model can give; where it can give no more, a model a tier up is asked or another one of the tier."""
    at = allowed or reply.tokens_out or len(reply.text) // CHARACTERS_PER_TOKEN + 1
    what = f"the answer was cut at {at:,} output tokens and cannot be used"
    if allowed is None or (most is not None and allowed >= most):
        fix = "the model gives no more; ask for less, or name a model that gives more"
        kind = "invalid" if escalate else "context"
        return StepError(kind, f"{what}: {fix}", detail=detail, cut_at=at)
    more = 2 * at if most is None else min(2 * at, most)
    then = f"the next attempt may use {more:,}; set `max_output` to what it needs"
    return StepError("invalid", f"{what}: {then}", detail=detail, cut_at=at)


class _Counted:
    """Passes text on, and reports that the answer has begun and how long it has become."""

    def __init__(self, work: AttemptContext, out: Callable[[str], None], spending: CallUsage) -> None:
        self._work = work
        self._spending = spending
        self._out = out
        self.restart()

    def restart(self) -> None:
        """Another request begins."""
        self._began = False
        self._said = 0
        self._report_at = 0

    def __call__(self, piece: str) -> None:
        if not self._began:
            self._began = True
            self._work.answered()
            self._report_at = self._work.grew(0)
        self._out(piece)
        self._said += len(piece)
        self._spending.said(piece)
        if self._said >= self._report_at:
            self._report_at = self._work.grew(self._said)
