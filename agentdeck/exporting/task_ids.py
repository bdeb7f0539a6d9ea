"""The ids of the tasks that a DAG has for an agent. The DAG, and what runs in its tasks, agree on them here."""

from __future__ import annotations

from typing import Literal

from agentdeck.workflow.model import Agent, Approve, SubWorkflow

#: What an agent becomes: one task, or a group of tasks.
Form = Literal["step", "each", "workflow", "approval"]
#: The task of a workflow's result. No agent can have this name, nor that of the inputs below.
OUTPUT = "output"
#: Of an agent with `each`: the numbers of its items, the mapped task, the list of the results.
NUMBERS, ITEM, RESULTS = "numbers", "item", "results"
#: Of a sub-workflow: its inputs. Its agents and its output have their own names.
INPUTS = "inputs"
#: The tasks of an approval: the question, its answer, the result of the agent.
QUESTION, ANSWER, DECISION = "question", "answer", "decision"

_RESULT: dict[Form, str] = {
    "step": "",
    "each": f".{RESULTS}",
    "workflow": f".{OUTPUT}",
    "approval": f".{DECISION}",
}


def form_of(agent: Agent) -> Form:
    """What an agent becomes. A sub-workflow with keys that apply to it as a whole stays one task, in which
    agentdeck runs its steps: a group of tasks can be neither repeated nor replaced."""
    if agent.each is not None:
        return "each"
    if isinstance(agent.does, Approve):
        return "approval"
    as_a_whole = agent.repeat or agent.once or agent.cache or agent.expect or agent.output
    if isinstance(agent.does, SubWorkflow) and not as_a_whole and agent.on_error.fallback is None:
        return "workflow"
    return "step"


def result_task(agent: Agent, group: str = "") -> str:
    """The id of the task that has the result of an agent. `group` is that of its workflow, with a dot."""
    return f"{group}{agent.name}{_RESULT[form_of(agent)]}"
