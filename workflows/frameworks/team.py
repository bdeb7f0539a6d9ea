"""An AutoGen team: a writer with a tool, and a critic."""

import asyncio

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.conditions import MaxMessageTermination, TextMentionTermination
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_core import FunctionCall
from autogen_core.models import ChatCompletionClient, CreateResult, RequestUsage


async def look_up(topic: str) -> str:
    """What is known about a topic."""
    await asyncio.sleep(0.2)
    return f"{topic} is drunk hot"


def team() -> RoundRobinGroupChat:
    # With autogen-ext, a real model is OpenAIChatCompletionClient(model="gpt-5-mini").
    writer = AssistantAgent(
        "writer",
        Playing(("look_up", '{"topic": "it"}'), "Draft: it is drunk hot.", "Second draft: hot, and all day."),
        tools=[look_up],
        reflect_on_tool_use=True,
        model_client_stream=True,
    )
    critic = AssistantAgent("critic", Playing("Say when.", "APPROVE"), model_client_stream=True)
    end = TextMentionTermination("APPROVE") | MaxMessageTermination(10)
    return RoundRobinGroupChat([writer, critic], termination_condition=end)


def count(text: str, messages: list) -> dict:
    return {"said": text, "messages": len(messages)}


class Playing(ChatCompletionClient):
    """A model that gives its answers one after the other, word by word; a pair is a call of a tool."""

    def __init__(self, *answers):
        self.answers = answers

    async def create(self, messages, **options):
        number = sum(message.type == "AssistantMessage" for message in messages)
        answer = self.answers[min(number, len(self.answers) - 1)]
        usage = RequestUsage(sum(len(str(message.content)) for message in messages) // 4, 12)
        if isinstance(answer, str):
            return CreateResult(finish_reason="stop", content=answer, usage=usage, cached=False)
        calls = [FunctionCall(id=f"call-{number}", name=answer[0], arguments=answer[1])]
        return CreateResult(finish_reason="function_calls", content=calls, usage=usage, cached=False)

    async def create_stream(self, messages, **options):
        result = await self.create(messages)
        if isinstance(result.content, str):
            for word in result.content.split():
                await asyncio.sleep(0.05)
                yield f"{word} "
        yield result

    @property
    def model_info(self):
        able = {"vision": False, "function_calling": True, "json_output": False, "structured_output": False}
        return {**able, "family": "unknown"}

    capabilities = model_info

    async def close(self):
        pass

    def actual_usage(self):
        return RequestUsage(0, 0)

    total_usage = actual_usage

    def count_tokens(self, messages, **options):
        return 0

    remaining_tokens = count_tokens
