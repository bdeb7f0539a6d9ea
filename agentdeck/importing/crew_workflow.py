"""The workflow of a crew: each task becomes an agent with a prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

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

    check_faithful(crew, findings)
    inputs, names = Names(KNOWN_PARAMETERS), Names(RESERVED_NAMES)
    found = ImportedWorkflow(crew.name, notes=_notes(crew, findings))

    def fill(name: str) -> Expression:
        found.inputs.setdefault(inputs.of(name), "string")
        return Expression(f"inputs.{inputs.of(name)}")

    for name, part in crew.agents.items():
        if all(task.agent is not None and task.agent.name != name for task in crew.tasks):
            findings.warn(part.place, f"the agent {name} has no task, so it is left out")
    found.agents, found.shared = crew_agents(crew, names.of, fill, findings, models)
    if crew.tasks:
        found.output = f"${{{names.of(crew.tasks[-1].name)}}}"  # as in CrewAI: the output of the last task
    return found


def crew_agents(
    crew: Crew,
    named: Callable[[str], str],
    fill: crew_prompts.Fill,
    findings: Findings,
    models: Mapping[str, str],
) -> tuple[list[ImportedAgent], dict[str, dict[str, Data]]]:
    """The agents of the tasks, and what several of them share. `named` gives the name of a task's agent."""
    users = Counter(task.agent.name for task in crew.tasks if task.agent is not None)
    anchors, found = Names(()), []
    shared: dict[str, dict[str, Data]] = {}
    order = task_inputs(crew.tasks)
    for task in crew.tasks:
        of_agent = _agent_keys(task.agent, findings, fill, models) if task.agent is not None else {}
        keys = _task_keys(task, order[task.name], named, findings, fill)
        shares = ""
        if task.agent is not None:
            if users[task.agent.name] > 1:
                shares = anchors.of(task.agent.name)
                shared[shares] = of_agent
            else:
                prompt = keys.pop("prompt")
                keys = {**keys, **of_agent, "prompt": prompt}
        notes = _task_notes(task, named, findings, models)
        found.append(ImportedAgent(named(task.name), keys, notes, shares))
    return found, shared


def check_faithful(crew: Crew, findings: Findings) -> None:
    """Notes what cannot run as in CrewAI."""
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
    task: CrewTask, given: TaskInput, named: Callable[[str], str], findings: Findings, fill: crew_prompts.Fill
) -> dict[str, Data]:
    keys: dict[str, Data] = {}
    needs: Sequence[str] = [named(name) for name in given.needs]
    if needs:
        keys["needs"] = needs[0] if len(needs) == 1 else needs
    reads = [named(name) for name in given.reads]
    keys["prompt"] = crew_prompts.task_text(task.part, findings, fill, reads)
    return keys


def _task_notes(
    task: CrewTask, named: Callable[[str], str], findings: Findings, models: Mapping[str, str]
) -> list[str]:
    """The comment above a task: where it comes from, and what is missing."""
    notes = []
    if named(task.name) != task.name:
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
