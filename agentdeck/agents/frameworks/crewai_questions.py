"""Questions of CrewAI: feedback on a method of a flow, `Flow.ask()`, and tasks of a crew with `human_input`. What
is needed to go on at such a question is kept in the SQLite file of checkpoints.

Imports CrewAI only when a call is under way.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from typing import Any

from agentdeck.agents.frameworks import saved_state
from agentdeck.agents.frameworks.framework import Asked, CallInput, make_private

#: The questions of the call that is under way.
_current: ContextVar[Questions | None] = ContextVar("agentdeck_crewai_questions", default=None)
#: An empty answer accepts what is shown, as it does on CrewAI's console.
FEEDBACK = {"type": "string", "default": ""}
#: Attributes of a crew or an agent that are models, beside the `llm` of an agent.
MODELS = ("manager_llm", "planning_llm", "chat_llm", "function_calling_llm")


class Paused(BaseException):
    """A question has to be answered first. CrewAI retries, or swallows, what is an Exception."""


@dataclass
class State:
    """Where a call was at its question. Some questions come again when the call begins anew: `repeats` says
    whether this is one, `answers` are those to earlier ones. At others the call goes on, with `feedback`: `flow`
    is the id of a flow that waits for it; `outputs` are those of the tasks of a crew, and `held` is what the
    agent had answered when its task asked."""

    question: dict[str, Any] | None = None
    repeats: bool = False
    answers: dict[str, str] = field(default_factory=dict)
    feedback: str = ""
    flow: str = ""
    outputs: list[dict[str, Any] | None] = field(default_factory=list)
    held: dict[str, Any] | None = None

    @classmethod
    async def load(cls, given: CallInput) -> State:
        """The state of this piece of work; an empty one where it has not asked yet, or the file is gone."""
        try:
            return cls(**json.loads(await saved_state.load(given)))
        except LookupError:
            return cls()

    async def save(self, given: CallInput) -> None:
        await saved_state.save(given, json.dumps(asdict(self), default=str))

    async def drop(self, given: CallInput) -> None:
        """The call has ended with a result."""
        if self.question is not None:
            await saved_state.drop(given)

    def waits_for_another(self, answers: Mapping[str, Any]) -> bool:
        """Whether the question has no answer: the process ended before the question was recorded."""
        return self.question is not None and self.question["id"] not in answers

    def asked(self) -> Asked:
        assert self.question is not None
        return Asked(**self.question)

    def take(self, answers: Mapping[str, Any]) -> None:
        """Take the answer to the question."""
        if self.question is None:
            return
        name = self.question["id"]
        answer = str(answers[name] or "")
        if self.repeats:
            self.answers[name] = answer
        else:
            self.feedback = answer


class Questions:
    """The questions of one call, of an object that goes on from `state`."""

    def __init__(self, state: State, given: CallInput) -> None:
        self._state = state
        self._given = given
        self._counts = dict[str, int]()
        self._crew: Any = None
        state.take(given.answers)

    def install(self) -> None:
        """Answer what CrewAI asks in this context; elsewhere it asks on the console, as before."""
        from crewai.core.providers.human_input import set_provider
        from crewai.flow.flow_config import flow_config

        _current.set(self)
        set_provider(_task_feedback(self))
        if not isinstance(flow_config.hitl_provider, _FlowQuestions):
            flow_config.hitl_provider = _FlowQuestions(flow_config.hitl_provider)
        if not isinstance(flow_config.input_provider, _FlowQuestions):
            flow_config.input_provider = _FlowQuestions(flow_config.input_provider)

    # Flows

    async def run_flow(self, flow: Any, values: dict[str, Any]) -> Any:
        """The result of a flow, from its beginning or from where it waits for feedback. Raises Paused."""
        from crewai.flow.async_feedback import HumanFeedbackPending

        options = {name: getattr(flow, name) for name in flow.model_fields_set - {"persistence"}}
        definition = None if type(flow).flow_definition().methods else flow._definition
        persistence = flow.persistence or _kept_flows(self._given.checkpoints)
        if self._state.flow:
            made = _pending(type(flow), self._state.flow, persistence, definition, options)
            result = await made.resume_async(self._state.feedback)
        else:
            made = _fresh(type(flow), definition, options)
            made.persistence = persistence
            _name(made.state, self._given.thread)
            result = await made.kickoff_async(inputs=values)
        if isinstance(result, HumanFeedbackPending):
            context = result.context
            self._state.flow = context.flow_id
            self._ask(_with_outcomes(context), context.method_output)
        return result

    def request_feedback(self, context: Any, flow: Any) -> Any:
        """CrewAI asks for feedback on a method: the flow is kept, and its call ends."""
        from crewai.flow.async_feedback import HumanFeedbackPending

        raise HumanFeedbackPending(context=context)

    def request_input(self, message: str, flow: Any, metadata: Any) -> str:
        """The answer to `Flow.ask()`. Raises Paused; the flow begins anew afterwards."""
        from crewai.flow.flow_context import current_flow_method_name

        return self._again(f"ask {current_flow_method_name.get('')}", message, metadata)

    # Crews

    async def run_crew(self, crew: Any, values: dict[str, Any]) -> Any:
        """The result of a crew. After a question it goes on at the task that asked."""
        self._crew = made = _copy(crew)
        if made.stream:
            from crewai.crews.utils import enable_agent_streaming

            made.stream = False
            enable_agent_streaming(made.agents)
        if self._state.held is not None:
            _restore(made, self._state.outputs)
        output = await made.akickoff(inputs=values)
        return output.pydantic or output.json_dict or output.raw

    def begin_task(self, executor: Any) -> bool:
        """Whether the agent's task is the one that asked: its conversation goes on where it was."""
        held = self._state.held
        if held is None or self._index(executor.task) != held["task"]:
            return False
        from crewai.agents.parser import AgentFinish

        executor.messages.extend(held["messages"])
        if self._state.feedback.strip():
            executor.messages.append(executor._format_feedback_message(self._state.feedback))
            self._state.held = None
        else:
            # An agent that has finished asks its model no more.
            executor.state.current_answer = AgentFinish(thought="", output=held["text"], text=held["text"])
            executor.state.is_finished = True
        return True

    def held_answer(self, answer: Any, executor: Any) -> bool:
        """Whether the agent's answer is the one that was accepted. Raises Paused for another one of the crew that
        was called: the crew goes on there. False for a task of another crew, inside of a flow."""
        task, held = executor.task, self._state.held
        index = self._index(task)
        if index < 0:
            return False
        if held is not None and held["task"] == index:
            self._state.held = None
            return True
        text = answer.output if isinstance(answer.output, str) else answer.output.model_dump_json()
        messages = json.loads(json.dumps(executor.messages, default=str))
        self._state.outputs = [_saved(one.output) for one in self._crew.tasks]
        self._state.held = {"task": index, "text": text, "messages": messages}
        self._ask(_about(task), text)
        return False

    def task_feedback(self, answer: Any, executor: Any) -> str:
        """The recorded feedback on a task of another crew. Raises Paused."""
        name = executor.task.name or executor.task.description
        return self._again(f"task {name}", _about(executor.task), answer.output)

    def _index(self, task: Any) -> int:
        """The place of a task in the crew that was called; -1 for one of another crew, inside of a flow."""
        tasks = [] if self._crew is None else self._crew.tasks
        return next((index for index, one in enumerate(tasks) if one is task), -1)

    def _ask(self, text: str, shows: Any, repeats: str = "") -> None:
        name = repeats or uuid.uuid4().hex
        self._state.question = {"id": name, "question": text, "schema": FEEDBACK, "shows": shows}
        self._state.repeats = bool(repeats)
        raise Paused

    def _again(self, name: str, text: str, shows: Any) -> str:
        """The recorded answer to a question that comes again when the call begins anew."""
        self._counts[name] = count = self._counts.get(name, 0) + 1
        question = f"{name} {count}"
        if question not in self._state.answers:
            self._ask(text, shows, question)
        return self._state.answers[question]


class _FlowQuestions:
    """CrewAI's provider of answers for flows: the questions of the call that is under way, else what was set
    before."""

    def __init__(self, before: Any) -> None:
        self._before = before

    def request_feedback(self, context: Any, flow: Any) -> Any:
        questions = _current.get()
        return (questions or self._other()).request_feedback(context, flow)

    def request_input(self, message: str, flow: Any, metadata: Any = None) -> Any:
        questions = _current.get()
        return (questions or self._other()).request_input(message, flow, metadata)

    def _other(self) -> Any:
        from crewai.flow.async_feedback import ConsoleProvider

        return self._before or ConsoleProvider()


def _task_feedback(questions: Questions) -> Any:
    """CrewAI's provider of feedback on tasks, with the answers of this call."""
    from crewai.core.providers.human_input import SyncHumanInputProvider

    class TaskFeedback(SyncHumanInputProvider):  # type: ignore[misc]
        def setup_messages(self, context: Any) -> bool:
            return questions.begin_task(context)

        def handle_feedback(self, formatted_answer: Any, context: Any) -> Any:
            if questions.held_answer(formatted_answer, context):
                return formatted_answer
            feedback = questions.task_feedback(formatted_answer, context)
            return self._handle_regular_feedback(formatted_answer, feedback, context)

        async def handle_feedback_async(self, formatted_answer: Any, context: Any) -> Any:
            if questions.held_answer(formatted_answer, context):
                return formatted_answer
            feedback = questions.task_feedback(formatted_answer, context)
            return await self._handle_regular_feedback_async(formatted_answer, feedback, context)

    return TaskFeedback()


def _about(task: Any) -> str:
    name = " ".join(str(task.name or task.description).split())
    return f"Is the result of the task {name} as you want it? If not, what is to be changed?"


def _with_outcomes(context: Any) -> str:
    """The question of a method of a flow, with the outcomes to which CrewAI's model assigns the answer."""
    return f"{context.message} ({', '.join(context.emit)})" if context.emit else str(context.message)


def _copy(crew: Any) -> Any:
    """A copy of a crew, which is changed by a call. CrewAI's own makes other models of those in MODELS."""
    made = crew.copy()
    agents = zip(made.agents, crew.agents, strict=True)
    for one, original in ((made, crew), (made.manager_agent, crew.manager_agent), *agents):
        for name in MODELS:
            if (model := getattr(original, name, None)) is not None:
                setattr(one, name, model)
    return made


def _restore(crew: Any, outputs: list[dict[str, Any] | None]) -> None:
    """Put a crew where it was: it starts at the first task without an output."""
    from crewai.tasks.task_output import TaskOutput

    if len(outputs) != len(crew.tasks):
        what = f"the crew has {len(crew.tasks)} tasks, and had {len(outputs)} when it asked"
        raise ValueError(f"{what}; fork the run to begin anew")
    for task, saved in zip(crew.tasks, outputs, strict=True):
        if saved is None:
            continue
        output = TaskOutput(**saved)
        if task.output_pydantic is not None and saved.get("pydantic") is not None:
            output.pydantic = task.output_pydantic.model_validate(saved["pydantic"])
        task.output = output
    crew.checkpoint_kickoff_event_id = uuid.uuid4().hex


def _saved(output: Any) -> dict[str, Any] | None:
    return None if output is None else output.model_dump(mode="json", exclude={"messages"})


def _fresh(kind: Any, definition: Any, options: dict[str, Any]) -> Any:
    """A flow in its first state: one that runs cannot be called a second time."""
    if definition is None:
        return kind(**options)
    return kind.from_declaration(contents=definition, **options)


def _name(state: Any, thread: str) -> None:
    """Give a flow the id under which its states are found, to delete them with their run."""
    if thread and isinstance(state, dict):
        state["id"] = thread
    elif thread and isinstance(getattr(state, "id", None), str):
        state.id = thread


def _pending(kind: Any, flow: str, persistence: Any, definition: Any, options: dict[str, Any]) -> Any:
    """A flow at the method that waits for feedback."""
    made = kind.from_pending(flow, persistence, definition=definition, **options)
    context = made.pending_feedback
    asks = made._definition.methods[context.method_name].human_feedback
    if asks is not None and asks.llm is not None:
        context.llm = asks.llm  # that of the program: what was saved of it has no keys
    return made


def _kept_flows(path: str) -> Any:
    """CrewAI's own store of flows, in our file. A flow whose process ends while it goes on can do so again."""
    from crewai.flow.persistence import SQLiteFlowPersistence

    class KeptFlows(SQLiteFlowPersistence):  # type: ignore[misc]
        def clear_pending_feedback(self, flow_uuid: str) -> None:
            """It goes with its run."""

    make_private(path)
    return KeptFlows(path)
