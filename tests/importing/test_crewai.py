"""Crews become workflows with the needs, the prompts and the refusals of CrewAI 1.15.

What CrewAI sends was recorded once with the package and a model of our own: `NEWSROOM` is that crew.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from agentdeck.errors import InvalidFile
from agentdeck.importing.crewai import import_crewai
from agentdeck.importing.workflow_text import workflow_text
from agentdeck.workflow.expressions import Template
from agentdeck.workflow.loader import loads
from agentdeck.workflow.model import Definition, Prompt

DATA = Path(__file__).resolve().parents[1] / "data" / "crewai"
CREWS = ["job-posting", "recruitment", "engineering_team"]
AGENTS = """
boss: &base
  role: The {topic} lead
  goal: Know {topic}
  backstory: >
    Old hand
    at {topic}.
  max_execution_time: 90
writer:
  <<: *base
  role: Writer
helper: { role: Helper, goal: Help, backstory: Kind. }
"""
TASKS = """
plan:
  description: Plan {topic}.
  expected_output: A plan
  agent: boss
left: { description: "Left ${x} of {topic}", expected_output: l, agent: writer, async_execution: true }
right: { description: Right, expected_output: r, agent: helper, async_execution: true, context: [plan] }
join: { description: Join, expected_output: j, agent: boss }
tail: { description: Tail, expected_output: t, agent: boss, context: [] }
last: { description: Last, expected_output: z, agent: writer, async_execution: yes, context: [join, left] }
"""


def crew_py(tasks: list[str], *, agents: tuple[str, ...] = ("boss", "writer", "helper"), crew: str = "") -> str:
    """The Python file of a crew: each task is the body of its method, as `name: body`."""
    methods = [
        f"    @agent\n    def {n}(self):\n        return Agent(config=self.agents_config['{n}'])" for n in agents
    ]
    for task in tasks:
        name, _, body = task.partition(": ")
        body = body or f"return Task(config=self.tasks_config['{name}'])"
        methods.append(f"    @task\n    def {name}(self):\n        {body}")
    crew = crew or "agents=self.agents, tasks=self.tasks, process=Process.sequential"
    methods.append(f"    @crew\n    def crew(self):\n        return Crew({crew})")
    return "from crewai import Agent\n\n\n@CrewBase\nclass News:\n" + "\n\n".join(methods) + "\n"


def project(folder: Path, code: str = "", agents: str = AGENTS, tasks: str = TASKS) -> Path:
    """A crew in a folder as CrewAI makes it."""
    inner = folder / "src" / "news"
    (inner / "config").mkdir(parents=True)
    (inner / "config" / "agents.yaml").write_text(agents, encoding="utf-8")
    (inner / "config" / "tasks.yaml").write_text(tasks, encoding="utf-8")
    if code:
        (inner / "crew.py").write_text(code, encoding="utf-8")
    return folder


NEWSROOM = crew_py([
    "plan", "left", "right",
    'extra: return Task(description="Extra " "text", expected_output="e", agent=self.writer(), '
    "context=[self.plan(), self.left()])",
    "join", "tail", "last",
])  # fmt: skip


def imported(target: Path | str) -> tuple[Definition, list[str]]:
    """The workflow of a crew, read from its text, and the warnings."""
    workflow, findings = import_crewai(str(target), {})
    loaded = loads(workflow_text(workflow))
    assert not loaded.warnings
    return loaded.definition, [str(issue) for issue in findings.sorted()]


def refused(target: Path | str) -> str:
    with pytest.raises(InvalidFile) as raised:
        import_crewai(str(target), {})
    return str(raised.value)


def edges(found: Definition) -> set[tuple[str, str]]:
    return {(need, name) for name, agent in found.agents.items() for need in agent.needs}


def prompt(found: Definition, name: str) -> Prompt:
    does = found.agents[name].does
    assert isinstance(does, Prompt)
    return does


def published(name: str) -> dict[str, Any]:
    found = json.loads((DATA / name / "graph.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("name", CREWS)
def test_published_crews_have_their_graphs(name: str) -> None:
    found, warnings = imported(DATA / name)
    graph = published(name)["graph"]["yaml_only"]
    assert list(found.agents) == graph["nodes"]
    assert edges(found) == {(need, task) for need, task in graph["dag_edges"]}
    assert any("prompts have no role" in one for one in warnings) == (name != "engineering_team")


@pytest.mark.parametrize("name", CREWS)
def test_published_crews_have_their_graphs_with_the_class_that_binds_them(name: str, tmp_path: Path) -> None:
    crew = published(name)
    shutil.copytree(DATA / name, tmp_path / "config")
    tasks = []
    for task in crew["tasks"]:
        arguments = f"config=self.tasks_config['{task['id']}']"
        if task["agent_from"] == "crew.py":
            arguments += f", agent=self.{task['agent']}()"
        if task["context_from"] == "crew.py":
            arguments += f", context=[{', '.join(f'self.{one}()' for one in task['context'])}]"
        tasks.append(f"{task['method']}: return Task({arguments})")
    code = crew_py(tasks, agents=tuple(agent["id"] for agent in crew["agents"]))
    (tmp_path / "crew.py").write_text(code, encoding="utf-8")
    found, _ = imported(tmp_path)
    assert edges(found) == {(need, task) for need, task in crew["graph"]["with_crew_py"]["dag_edges"]}
    for task in crew["tasks"]:
        agent = next(one for one in crew["agents"] if one["id"] == task["agent"])
        assert agent["role"] in (prompt(found, task["id"]).system or "")
        assert prompt(found, task["id"]).text.count("${inputs.") == task["description"].count("{")


def test_tasks_need_their_context_and_else_all_before_them(tmp_path: Path) -> None:
    found, _ = imported(project(tmp_path, NEWSROOM))
    needs = {name: list(agent.needs) for name, agent in found.agents.items()}
    assert needs == {
        "plan": [],
        "left": ["plan"],  # asynchronous and without context: it only starts after plan
        "right": ["plan"],
        "extra": ["plan", "left"],
        "join": ["right", "extra"],  # without context: those need all tasks before it
        "tail": [],
        "last": ["join", "left"],
    }
    assert found.output == "${last}"


def test_prompts_are_those_that_crewai_sends(tmp_path: Path) -> None:
    found, _ = imported(project(tmp_path, NEWSROOM))
    scope: dict[str, Any] = {
        "inputs": {"topic": "jazz", "x": "$y"},
        **{name: name.upper() for name in found.agents},
    }
    sent = {name: Template(prompt(found, name).text).render(scope) for name in found.agents}
    assert "Current Task: Left $$y of jazz\n" in sent["left"]
    assert "context" not in sent["left"] + sent["plan"] + sent["tail"]
    context = "This is the context you're working with:\n"
    divider = "\n\n----------\n\n"
    assert f"{context}{divider.join(['PLAN', 'LEFT', 'RIGHT', 'EXTRA'])}\n" in sent["join"]
    assert f"{context}JOIN{divider}LEFT\n" in sent["last"]
    assert "Current Task: Extra text\n\nThis is the expected criteria for your final answer: e\n" in sent["extra"]
    system = Template(prompt(found, "plan").system).render(scope)
    assert system == "You are The jazz lead. Old hand at jazz.\nYour personal goal is: Know jazz"
    assert found.agents["left"].timeout.attempt == 90


def test_the_file_says_where_everything_comes_from(tmp_path: Path) -> None:
    workflow, _ = import_crewai(str(project(tmp_path, NEWSROOM)), {})
    text = workflow_text(workflow)
    assert "x-writer: &writer\n" in text
    assert text.count("<<: *writer") == 3
    assert "# The task of " in text
    assert "crew.py:19 by the agent of" in text
    assert "${x}" not in text  # a value of CrewAI, not an expression: `${'$'}${inputs.x}`


def test_settings_that_are_lost_are_named(tmp_path: Path) -> None:
    tasks = (
        "one:\n  description: d\n  expected_output: e\n  agent: boss\n  output_file: out.md\n"
        "  human_input: true\n  markdown: true\n"
    )
    code = crew_py(["one: return Task(config=self.tasks_config['one'], tools=[Search(), self.files()])"])
    code = code.replace(
        "config=self.agents_config['boss']", "config=self.agents_config['boss'], llm=LLM(model='gpt-9')"
    )
    code = code.replace("Process.sequential", "Process.sequential, memory=True, max_rpm=10")
    code += "\n    @before_kickoff\n    def prepare(self, inputs):\n        return inputs\n"
    found, warnings = imported(project(tmp_path, code, tasks=tasks))
    said = "\n".join(warnings)
    for lost in (
        "warning: llm of the agent boss is not carried over: gpt-9",
        "tools of the task one is not carried over: Search(), files()",
        "tasks.yaml:5:3: warning: output_file of the task one",
        "human_input of the task one",
        "memory of the crew",
        "max_rpm of the crew",
        "prepare is code that CrewAI calls (@before_kickoff)",
        "the agent writer has no task",
    ):
        assert lost in said
    assert any("crew.py:8:" in one and "llm" in one for one in warnings)
    assert "MUST be formatted in Markdown" in prompt(found, "one").text


def test_a_model_of_the_deck_is_used(tmp_path: Path) -> None:
    agents = AGENTS.replace("role: Helper", "llm: openai/gpt-9, role: Helper")
    workflow, findings = import_crewai(str(project(tmp_path, NEWSROOM, agents=agents)), {"gpt-9": "big"})
    found = loads(workflow_text(workflow)).definition
    assert prompt(found, "right").model == "big"
    assert findings.issues == []


def test_tasks_are_chosen_and_ordered_by_the_crew(tmp_path: Path) -> None:
    crew = "tasks=[self.tail(), self.plan(), self.join()]"
    found, _ = imported(project(tmp_path, crew_py(["plan", "join", "tail"], crew=crew)))
    assert edges(found) == {("tail", "plan"), ("plan", "join")}


def test_several_faults_are_reported_at_once_with_file_and_line(tmp_path: Path) -> None:
    tasks = TASKS.replace("agent: boss\nleft", "agent: bos\nleft").replace("[plan]", "[plam]")
    said = refused(project(tmp_path, tasks=tasks))
    assert (
        "tasks.yaml:5:3: the task plan has the agent bos, which the crew does not have; did you mean boss?"
        in said
    )
    assert "tasks.yaml:7:" in said
    assert "right has the context plam, which is not a task; did you mean plan?" in said


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("plan: return TASK", "plan does not return a call such as Task(…)"),
        ("plan: pass", "plan does not return a call such as Task(…)"),
        ("plan: return Task(**settings)", "**settings in plan cannot be read"),
        ("plan: return Task('Plan', expected_output='e', agent=self.boss())", "without its name cannot be read"),
        ("plan: return Task(config=load('x'))", "the config of plan is code (load('x'))"),
        (
            "plan: return Task(config=self.tasks_config['plam'])",
            "there is no plam in the tasks of the crew; did you mean",
        ),
        (
            "plan: return Task(description=TEXT, expected_output='e', agent=self.boss())",
            "the description of plan is code (TEXT)",
        ),
        ("plan: return Task(description='d', agent=self.boss())", "the task plan has no expected_output"),
        (
            "plan: return Task(description='d', expected_output='e')",
            "the task plan has no agent; CrewAI refuses that",
        ),
        ("plan: return Task(description='d', expected_output='e', agent=self.bos())", "did you mean boss?"),
        (
            "plan: return Task(description='d', expected_output='e', agent=pick())",
            "the agent of plan is code (pick())",
        ),
        (
            "plan: return Task(config=self.tasks_config['plan'], context=[self.plan()])",
            "plan has itself as context",
        ),
        (
            "plan: return Task(config=self.tasks_config['plan'], context=[self.last()])",
            "the context last, which is not a task",
        ),
        (
            "plan: return Task(config=self.tasks_config['plan'], context=find())",
            "the context of plan is code (find())",
        ),
        (
            "plan: return Task(config=self.tasks_config['plan'], async_execution=FAST)",
            "async_execution of plan is code",
        ),
        (
            "plan: return ConditionalTask(config=self.tasks_config['plan'], condition=f)",
            "plan is a ConditionalTask",
        ),
    ],
)
def test_tasks_that_are_not_imported(task: str, said: str, tmp_path: Path) -> None:
    text = refused(project(tmp_path, crew_py([task])))
    assert said in text
    assert "crew.py:" in text


@pytest.mark.parametrize(
    ("crew", "said"),
    [
        ("tasks=self.tasks, process=Process.hierarchical, manager_llm='x'", "a manager decides in the run"),
        ("tasks=self.tasks, process=pick()", "process pick() is not known"),
        ("tasks=make()", "the tasks of the crew are code (make())"),
        ("tasks=[self.plan(), self.joi()]", "joi is not a task of News; did you mean join?"),
        ("tasks=[self.plan(), self.plan()]", "plan is among the tasks twice"),
        ("agents=self.agents", "News has no task"),
        ("tasks=[self.join(), self.right()]", "right has the context plan, which is not a task of this crew"),
    ],
)
def test_crews_that_are_not_imported(crew: str, said: str, tmp_path: Path) -> None:
    assert said in refused(project(tmp_path, crew_py(["plan", "join", "right"], crew=crew)))


def test_contexts_in_a_circle_and_asynchronous_ones(tmp_path: Path) -> None:
    tasks = TASKS.replace("agent: boss\nleft", "agent: boss\n  context: [join]\nleft").replace(
        "expected_output: j", "expected_output: j, context: [plan]"
    )
    assert "the two wait for each other (plan -> join -> plan)" in refused(project(tmp_path / "a", tasks=tasks))
    tasks = TASKS.replace("context: [plan]", "context: [left]")
    assert "right runs at the same time as its context left" in refused(project(tmp_path / "b", tasks=tasks))
    tasks = TASKS.replace("context: [] }", "async_execution: true }").replace("[join, left]", "[join]")
    assert "ends with more than one asynchronous task" in refused(project(tmp_path / "c", tasks=tasks))


def test_names_that_a_workflow_does_not_allow(tmp_path: Path) -> None:
    tasks = (
        "output: { description: 'Write {item} and {topic-1}, not { this }', expected_output: e, agent: boss }\n"
        "1-st task: { description: d, expected_output: e, agent: boss, context: output }\n"
    )
    found, _ = imported(project(tmp_path, tasks=tasks))
    assert list(found.agents) == ["output_2", "n1_st_task"]
    assert list(found.inputs) == ["topic", "item_2", "topic_1"]
    assert found.agents["n1_st_task"].needs == ("output_2",)
    assert "${inputs.item_2} and ${inputs.topic_1}, not { this }" in prompt(found, "output_2").text


def test_twice_the_same_name(tmp_path: Path) -> None:
    said = refused(
        project(tmp_path / "a", tasks=TASKS + "plan: { description: d, expected_output: e, agent: boss }\n")
    )
    assert "plan is here twice, first in line 2" in said
    said = refused(project(tmp_path / "b", crew_py(["plan", "join", "plan"])))
    assert "the task plan is here twice, first in line 19" in said


def test_many_tasks(tmp_path: Path) -> None:
    """A context each: imported. Without: each gets the outputs of all before it, which no file can hold."""
    entry = "t{0}: {{ description: d{0}, expected_output: e, agent: boss, context: [{1}] }}\n"
    tasks = "".join(entry.format(n, f"t{n - 1}" if n else "") for n in range(330))
    workflow, _ = import_crewai(str(project(tmp_path / "a", tasks=tasks)), {})
    assert [agent.keys.get("needs") for agent in workflow.agents][:2] == [None, "t0"]
    tasks = "".join(f"t{n}: {{ description: d, expected_output: e, agent: boss }}\n" for n in range(330))
    assert "each of these 330 tasks without context gets" in refused(project(tmp_path / "b", tasks=tasks))


@pytest.mark.parametrize(
    ("agents", "tasks", "said"),
    [
        (AGENTS, "plan: [1\n", "tasks.yaml:2:1: not YAML"),
        (AGENTS, "", "the file is empty"),
        (AGENTS, "- plan\n", "a map of tasks is needed here"),
        (AGENTS, "plan: text\n", "tasks.yaml:1:1: plan has no settings"),
        (
            AGENTS,
            "plan: { description: 5, expected_output: e, agent: boss }\n",
            "the description of plan is not text",
        ),
        (
            "boss: { role: r, goal: g }\n",
            "plan: { description: d, expected_output: e, agent: boss }\n",
            "has no backstory",
        ),
        (
            "boss: { role: r, goal: g, backstory: b, max_execution_time: 0 }\n",
            "plan: { description: d, expected_output: e, agent: boss }\n",
            "has to be a whole number above 0, not 0",
        ),
    ],
)
def test_yaml_that_is_not_imported(agents: str, tasks: str, said: str, tmp_path: Path) -> None:
    assert said in refused(project(tmp_path, agents=agents, tasks=tasks))


def test_folders_without_a_crew_or_with_several(tmp_path: Path) -> None:
    assert "no such folder" in refused(tmp_path / "missing")
    assert "there is no crew in this folder" in refused(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert "a link that leads nowhere" in refused(tmp_path / "self")
    assert "there is no crew in this folder" in refused(tmp_path)
    file = project(tmp_path / "a", NEWSROOM) / "src" / "news" / "crew.py"
    assert len(imported(tmp_path)[0].agents) == 7
    project(tmp_path / "b", NEWSROOM)
    assert "there are several crews" in refused(tmp_path)
    file.write_text(NEWSROOM + NEWSROOM.replace("class News", "class Other"), encoding="utf-8")
    assert f"write {file}:News" in refused(file)
    assert imported(f"{file}:Other")[0].name == "Other"
    assert "there is no crew Othr; did you mean Other?" in refused(f"{file}:Othr")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x00\x01CrewBase", "not Python"),
        (b"CrewBase \xff\xfe", "is not UTF-8 text (byte 9)"),
        (b"@CrewBase\nclass A:\n    def (", "crew.py:3:9: not Python"),
        (b"x = " + b"(" * 100_000 + b"CrewBase", "not Python"),
    ],
)
def test_files_that_are_not_python(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "crew.py").write_bytes(content)
    assert said in refused(tmp_path)
