"""Crews and flows of the tests, in the interpreter of CrewAI. They note in a file what their models and methods
do."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from crewai import Agent, Crew, Task
from crewai.events.types.llm_events import LLMCallType
from crewai.flow.flow import Flow, listen, start
from crewai.flow.human_feedback import human_feedback
from crewai.llms.base_llm import BaseLLM, llm_call_context
from crewai.tools import tool

USAGE = {"prompt_tokens": 10, "completion_tokens": 4, "cached_tokens": 3}
USE_TOOL = 'Thought: how long is it?\nAction: count\nAction Input: {"text": "tea"}'


def note(what: str) -> None:
    with Path(os.environ["AGENTDECK_TEST_EFFECTS"]).open("a") as file:
        file.write(f"{what}\n")


class Made(BaseLLM):
    """Answers by itself. It calls the tool of a task once."""

    seconds: float = 0
    fault: str = ""

    def call(self, messages: Any, tools: Any = None, *args: Any, **options: Any) -> str:
        task, agent = options.get("from_task"), options.get("from_agent")
        with llm_call_context():
            self._emit_call_started_event(messages=messages, from_task=task, from_agent=agent)
            note(f"model-{task.name if task else 'outcome'}")
            time.sleep(self.seconds)
            if self.fault:
                self._emit_call_failed_event(self.fault, task, agent)
                raise ConnectionError(self.fault)
            text = self.answer(task, str(messages))
            if self.stream:
                for word in text.split(" "):
                    self._emit_stream_chunk_event(f"{word} ", from_task=task, from_agent=agent)
            self._emit_call_completed_event(text, LLMCallType.LLM_CALL, task, agent, messages, usage=USAGE)
        return text

    def answer(self, task: Any, messages: str) -> str:
        if task is None:
            return "approved"
        if task.tools and "Observation: 3" not in messages:
            return USE_TOOL
        said = ", shorter" if "User feedback: shorter" in messages else ""
        return f"Thought: it is clear\nFinal Answer: the {task.name}{said}"


@tool("count")
def count(text: str) -> str:
    """The characters of a text."""
    note("tool")
    return str(len(text))


def press(human: bool = False, stream: bool = False, **model: Any) -> Crew:
    made = Made(model="made-up", **model)
    writer = Agent(role="Writer", goal="write", backstory="wrote", llm=made, max_retry_limit=0)
    editor = Agent(role="Editor", goal="edit", backstory="edited", llm=made, max_retry_limit=0)
    draft = Task(
        name="draft", description="Write on {topic}", expected_output="text", agent=writer, tools=[count]
    )
    edit = Task(
        name="edit", description="Edit", expected_output="text", agent=editor, context=[draft], human_input=human
    )
    proof = Task(name="proof", description="Proof", expected_output="text", agent=writer)
    return Crew(name="press", agents=[writer, editor], tasks=[draft, edit, proof], stream=stream)


def asks() -> Crew:
    return press(human=True)


def streams() -> Crew:
    return press(stream=True)


def slow() -> Crew:
    note(f"pid-{os.getpid()}")
    return press(seconds=60)


def broken() -> Crew:
    return press(fault="no quota left")


#: Not made for each attempt, but called many times at once.
crew = press()


class Review(Flow):
    @start()
    def make(self) -> str:
        note("make")
        self.state["made"] = 1
        return f"draft on {self.state['topic']}"

    @listen(make)
    @human_feedback(message="Is it good?")
    def check(self, draft: str) -> str:
        note("check")
        return f"{draft}!"

    @listen(check)
    def finish(self, result: Any) -> dict[str, Any]:
        note("finish")
        return {"text": result.output, "said": result.feedback, "made": self.state["made"]}


class Routed(Flow):
    @start()
    @human_feedback(message="Publish?", emit=["approved", "rejected"], llm=Made(model="made-up"))
    def make(self) -> str:
        note("make")
        return "draft"

    @listen("approved")
    def publish(self) -> str:
        return f"published with {self.ask('Which title?')}"

    @listen("rejected")
    def drop(self) -> str:
        return "dropped"


def environment() -> dict[str, str | None]:
    """What the interpreter sets for CrewAI."""
    return {name: os.environ.get(name) for name in ("CREWAI_DISABLE_TELEMETRY", "CREWAI_TRACING_ENABLED")}
