"""The workflow of a crew: each task becomes an agent with a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agentdeck.importing import crew_prompts
from agentdeck.importing.crew import Crew, CrewTask, TaskInput, task_inputs
from agentdeck.importing.crew_code import Part
from agentdeck.importing.imported import (
    Expression,
    Findings,
    ImportedAgent,
    ImportedWorkflow,
    Names,
)
from agentdeck.workflow.model import KNOWN_PARAMETERS, Data


def crew_workflow(crew: Crew, findings: Findings, models: Mapping[str, str]) -> ImportedWorkflow:
    """The workflow of a valid crew. What a workflow cannot do as CrewAI does is a fault; what is lost, a warning.
    `models` are the names of the deck's models, by their ids."""
    from agentdeck.workflow.workflow_file import RESERVED_NAMES

    _check_faithful(crew, findings)
    inputs, names = Names(KNOWN_PARAMETERS), Names(RESERVED_NAMES)
    anchors = Names(())
    found = ImportedWorkflow(crew.name, notes=_notes(crew, findings))

    def fill(name: str) -> Expression:
        found.inputs.setdefault(inputs.of(name), "string")
        return Expression(f"inputs.{inputs.of(name)}")

    users: dict[str, list[str]] = {}
    for task in crew.tasks:
        if task.agent is not None:
            users.setdefault(task.agent.name, []).append(task.name)
    for name, part in crew.agents.items():
        if name not in users and all(task.agent is not None for task in crew.tasks):
            findings.warn(part.place, f"the agent {name} has no task, so it is left out")
        elif len(users.get(name, ())) > 1:
            found.shared[anchors.of(name)] = _agent_keys(part, findings, fill, models)
    order = task_inputs(crew.tasks)
    for task in crew.tasks:
        keys = _task_keys(task, order[task.name], names, findings, fill)
        shares = ""
        if task.agent is not None and len(users[task.agent.name]) > 1:
            shares = anchors.of(task.agent.name)
        elif task.agent is not None:
            prompt = keys.pop("prompt")
            keys = {**keys, **_agent_keys(task.agent, findings, fill, models), "prompt": prompt}
        found.agents.append(
            ImportedAgent(names.of(task.name), keys, _task_notes(task, names, findings, models), shares)
        )
    if crew.tasks:
        found.output = f"${{{names.of(crew.tasks[-1].name)}}}"  # as in CrewAI: the output of the last task
    return found


def _check_faithful(crew: Crew, findings: Findings) -> None:
    process = crew.settings.get("process")
    if process is not None and "sequential" not in str(process.value):
        if "hierarchical" in str(process.value):
            what = "process hierarchical: a manager decides in the run which agent works on a task"
        else:
            what = f"process {process.value} is not known"
        fix = "run the crew as one agent: python: module:function, where the function returns the crew"
        findings.fault(process.place, what, fix)
    for task in crew.tasks:
        if task.part.calls not in ("", "Task"):
            what = f"{task.name} is a {task.part.calls}, whose condition is code"
            findings.fault(
                task.part.place, what, "write the condition as when: in the workflow, and make it a Task"
            )


def _notes(crew: Crew, findings: Findings) -> list[str]:
    settings = Part("crew", crew.place, crew.settings)
    lost = crew_prompts.not_carried(settings, crew_prompts.CREW_KEYS, findings, "crew")
    return [
        f"The CrewAI crew {crew.name}, imported from {crew.place}.",
        *[f"Not carried over: {one}" for one in lost],
        "",
        "A task with a context needs those tasks, one without the tasks before it. CrewAI runs one task after",
        "the other; here tasks that need nothing of each other run at the same time. mode: sequential runs them",
        "one after the other.",
    ]


def _agent_keys(
    agent: Part, findings: Findings, fill: crew_prompts.Fill, models: Mapping[str, str]
) -> dict[str, Data]:
    keys: dict[str, Data] = {"system": crew_prompts.system_text(agent, findings, fill)}
    llm = agent.settings.get("llm")
    model = crew_prompts.model_of(llm.value if llm else None, models)
    return {**keys, **({"model": model} if model else {}), **crew_prompts.call_keys(agent, findings)}


def _task_keys(
    task: CrewTask, given: TaskInput, names: Names, findings: Findings, fill: crew_prompts.Fill
) -> dict[str, Data]:
    keys: dict[str, Data] = {}
    needs: Sequence[str] = [names.of(name) for name in given.needs]
    if needs:
        keys["needs"] = needs[0] if len(needs) == 1 else needs
    reads = [names.of(name) for name in given.reads]
    keys["prompt"] = crew_prompts.task_text(task.part, findings, fill, reads)
    return keys


def _task_notes(task: CrewTask, names: Names, findings: Findings, models: Mapping[str, str]) -> list[str]:
    """The comment above a task: where it comes from, and what is missing."""
    notes = []
    if names.of(task.name) != task.name:
        notes.append(f"In CrewAI: {task.name}")
    lost = crew_prompts.not_carried(task.part, crew_prompts.TASK_KEYS, findings, "task")
    if task.agent is not None:
        llm = task.agent.settings.get("llm")
        known = crew_prompts.AGENT_KEYS | ({"llm"} if llm and crew_prompts.model_of(llm.value, models) else set())
        lost += crew_prompts.not_carried(task.agent, known, findings, "agent")
        notes.append(f"The task of {task.part.place} by the agent of {task.agent.place}.")
    else:
        notes.append(f"The task of {task.part.place}.")
    return [*notes, *[f"Not carried over: {one}" for one in lost]]
