"""Three agents write an article. Their model answers by itself, so nothing is needed but CrewAI."""

from __future__ import annotations

from typing import Any

from crewai import Agent, Crew, Task
from crewai.events.types.llm_events import LLMCallType
from crewai.llms.base_llm import BaseLLM, llm_call_context
from crewai.tools import tool


class Offline(BaseLLM):
    """Has an answer for each task. In a crew of your own: `LLM(model="gpt-5.4-mini")`."""

    def call(self, messages: Any, *args: Any, **options: Any) -> str:
        task, agent = options.get("from_task"), options.get("from_agent")
        with llm_call_context():
            self._emit_call_started_event(messages=messages, from_task=task, from_agent=agent)
            text = answer(task, str(messages))
            for word in text.split(" "):
                self._emit_stream_chunk_event(f"{word} ", from_task=task, from_agent=agent)
            usage = {"prompt_tokens": len(str(messages)) // 4, "completion_tokens": len(text) // 4}
            self._emit_call_completed_event(text, LLMCallType.LLM_CALL, task, agent, messages, usage=usage)
        return text


def answer(task: Task, messages: str) -> str:
    if task.name == "facts" and 'Action Input: {"words"' not in messages:
        return 'Thought: look it up\nAction: search\nAction Input: {"words": "how it keeps its warmth"}'
    texts = {
        "facts": "It weighs a ton, heats up in two hours and stays warm for twelve.",
        "draft": "Two hours of fire, twelve hours of warmth: a ton of clay and tiles does it all night.",
        "final": "Two hours of fire, twelve hours of warmth.",
    }
    shorter = "User feedback" in messages and task.name == "draft"
    return f"Thought: I know enough\nFinal Answer: {texts['final' if shorter else task.name]}"


@tool("search")
def search(words: str) -> str:
    """Looks something up."""
    return "mass 1,000 kg; fire 2 h; warm 12 h"


def crew() -> Crew:
    model = Offline(model="offline")
    researcher = Agent(role="Researcher", goal="Find facts", backstory="Reads much", llm=model, tools=[search])
    writer = Agent(role="Writer", goal="Write well", backstory="Wrote for papers", llm=model)
    editor = Agent(role="Editor", goal="Leave out", backstory="Cut many texts", llm=model)
    facts = Task(name="facts", description="Find facts about {topic}", expected_output="facts", agent=researcher)
    draft = Task(
        name="draft",
        description="Write about {topic}",
        expected_output="a paragraph",
        agent=writer,
        context=[facts],
        human_input=True,
    )
    final = Task(name="final", description="Edit it", expected_output="a line", agent=editor, context=[draft])
    return Crew(name="article", agents=[researcher, writer, editor], tasks=[facts, draft, final])
