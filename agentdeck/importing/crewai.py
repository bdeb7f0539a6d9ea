"""`import crewai`: a crew in YAML files, bound together by a Python class or by the files alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agentdeck.errors import InvalidFile
from agentdeck.importing.crew import Crew, CrewTask, check_order
from agentdeck.importing.crew_code import Config, CrewCode, Method, Part, Setting, crew_classes, read_crew
from agentdeck.importing.crew_workflow import crew_workflow
from agentdeck.importing.imported import Findings, ImportedWorkflow, Place
from agentdeck.importing.python_source import Code, read_python
from agentdeck.workflow.wording import likely_fix
from agentdeck.workflow.yaml_source import Source, read_file, refusal

#: How deep below the folder crews are looked for (src/NAME/crews/NAME/crew.py), and in how many files.
DEPTH, FILES = 5, 2_000
#: Folders that hold other people's code.
SKIPPED = {"node_modules", "__pycache__", "site-packages", "venv", "env", "tests", "build", "dist"}


def import_crewai(target: str, models: Mapping[str, str]) -> tuple[ImportedWorkflow, Findings]:
    """The workflow of a crew: in a folder, in a Python file, or `FILE.py:Class`. `models` are the names of the
    deck's models, by their ids. Raises InvalidFile."""
    findings = Findings()
    code, folder = _locate(target, findings)
    crew = _from_code(code, findings) if code is not None else _from_files(folder, target, findings)
    findings.raise_faults()
    check_order(crew, findings)
    findings.raise_faults()
    workflow = crew_workflow(crew, findings, models)
    findings.raise_faults()
    return workflow, findings


# Where the crew is ---------------------------------------------------------------------------------------------


def _locate(target: str, findings: Findings) -> tuple[CrewCode | None, Path]:
    """The class of the crew, else the folder of its YAML files. Raises InvalidFile."""
    name, _, chosen = target.partition(".py:")
    path = Path(f"{name}.py" if chosen else target)
    try:
        if path.suffix == ".py" and not path.is_dir():
            return _class_in(path, chosen, findings), path.parent
        if not path.is_dir():
            if path.exists():
                raise refusal(target, "is a file", "name the folder of the crew, or its crew.py")
            missing = "a link that leads nowhere" if path.is_symlink() else "no such folder"
            raise refusal(target, missing, "check the name")
        files = list(_files(path))
    except (OSError, ValueError, RuntimeError) as error:  # links that lead to themselves, a NUL in the name
        raise refusal(target, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    found = [file for file in files if file.suffix == ".py" and _mentions(file, b"CrewBase")]
    with_class = [file for file in found if crew_classes(read_python(file, str(file)))]
    if len(with_class) > 1:
        shown = ", ".join(map(str, with_class[:8])) + (", …" if len(with_class) > 8 else "")
        raise refusal(target, f"there are several crews: {shown}", "name one of these files")
    if with_class:
        return _class_in(with_class[0], "", findings), with_class[0].parent
    folders = [
        file.parent for file in files if file.name == "tasks.yaml" and (file.parent / "agents.yaml").is_file()
    ]
    if len(folders) > 1:
        shown = ", ".join(map(str, folders[:8]))
        raise refusal(target, f"there are several crews: {shown}", "name one of these folders")
    if not folders:
        fix = "a crew is a class with @CrewBase, or agents.yaml and tasks.yaml"
        raise refusal(target, "there is no crew in this folder", fix)
    return None, folders[0]


def _files(folder: Path) -> Iterator[Path]:
    """Python files and tasks.yaml below the folder. Links to folders are not followed."""
    count = 0
    for place, names, files in os.walk(folder):
        depth = len(Path(place).relative_to(folder).parts)
        names[:] = sorted(n for n in names if n not in SKIPPED and n[0] != ".") if depth < DEPTH else []
        for name in sorted(files):
            if name.endswith(".py") or name == "tasks.yaml":
                count += 1
                if count > FILES:
                    raise refusal(
                        str(folder), f"there are more than {FILES:,} files", "name the folder of the crew"
                    )
                yield Path(place, name)


def _mentions(file: Path, word: bytes) -> bool:
    try:
        return file.is_file() and file.stat().st_size < 5_000_000 and word in file.read_bytes()
    except OSError:
        return False


def _class_in(file: Path, chosen: str, findings: Findings) -> CrewCode:
    classes = {found.name: found for found in crew_classes(read_python(file, str(file)))}
    if not classes:
        raise refusal(str(file), "there is no class with @CrewBase", "name the file of the crew")
    if chosen and chosen not in classes:
        raise refusal(str(file), f"there is no crew {chosen}", likely_fix(chosen, classes))
    if not chosen and len(classes) > 1:
        what = f"there are several crews: {', '.join(classes)}"
        raise refusal(str(file), what, f"write {file}:{next(iter(classes))}")
    return read_crew(classes[chosen or next(iter(classes))], str(file), file.parent, findings)


# What the crew is ----------------------------------------------------------------------------------------------


def _yaml_parts(file: Path, kind: str, findings: Findings) -> dict[str, Part]:
    """The entries of agents.yaml or tasks.yaml."""
    try:
        source = read_file(file)
    except InvalidFile as error:
        findings.add(
            issue._replace(fix="") if issue.what == "the file is empty" else issue for issue in error.issues
        )
        return {}
    findings.add(source.issues)
    if not isinstance(source.data, dict):
        findings.fault(
            _place(source, ()), f"a map of {kind} is needed here", f"write name: and the {kind[:-1]} below it"
        )
        return {}
    parts = {}
    for name, entry in source.data.items():
        part = parts[name] = Part(name, _place(source, (name,)))
        if not isinstance(entry, dict):
            findings.fault(part.place, f"{name} has no settings", f"write those of the {kind[:-1]} below it")
            continue
        for key, value in entry.items():
            part.settings[key] = Setting(value, _place(source, (name, key)))
    return parts


def _place(source: Source, path: tuple[str, ...]) -> Place:
    return Place(source.file, *source.place(path, key=True))


def _from_files(folder: Path, target: str, findings: Findings) -> Crew:
    """The crew of two YAML files, in the order of tasks.yaml."""
    agents = _yaml_parts(folder / "agents.yaml", "agents", findings)
    tasks = _yaml_parts(folder / "tasks.yaml", "tasks", findings)
    name = folder.resolve()
    while name.name in ("config", "src") and name.parent != name:
        name = name.parent
    crew = Crew(name.name or "crew", Place(str(folder / "tasks.yaml")), [], agents)
    crew.tasks = [_task(part, agents, tasks, findings) for part in tasks.values()]
    if not tasks:
        findings.fault(crew.place, "there is no task")
    if any(task.agent is None and "agent" not in task.part.settings for task in crew.tasks):
        first = next(task for task in crew.tasks if "agent" not in task.part.settings)
        what = "tasks name no agent here, so their prompts have no role"
        fix = "the crew's Python class binds them: import the folder that has it"
        findings.warn(first.part.place, what, fix)
    return crew


def _from_code(code: CrewCode, findings: Findings) -> Crew:
    """The crew of a class, whose agents and tasks may have entries in YAML files."""
    configs: dict[str, dict[str, Part]] = {}
    for kind, parts in (("agents", code.agents), ("tasks", code.tasks)):
        used = any(isinstance(value, Config) for part in parts.values() for value, _ in part.settings.values())
        file = code.folder / code.configs[kind]
        configs[kind] = _yaml_parts(file, kind, findings) if used else {}
    agents = {name: _with_config(part, configs, findings) for name, part in code.agents.items()}
    for part in agents.values():
        llm = part.settings.get("llm")
        if llm is not None and isinstance(llm.value, str) and llm.value in code.llms:
            part.settings["llm"] = Setting(Method(llm.value), llm.place)
    tasks = {name: _with_config(part, configs, findings) for name, part in code.tasks.items()}
    crew = Crew(code.name, code.place, [], agents, code.crew)
    chosen = _chosen_tasks(code, tasks, findings)
    crew.tasks = [_task(tasks[name], agents, tasks, findings) for name in chosen]
    for task in crew.tasks:
        if "agent" not in task.part.settings and not _is_hierarchical(code):
            what = f"the task {task.name} has no agent; CrewAI refuses that"
            findings.fault(task.part.place, what, likely_fix("", agents))
    return crew


def _is_hierarchical(code: CrewCode) -> bool:
    return "hierarchical" in str(code.crew["process"].value) if "process" in code.crew else False


def _chosen_tasks(code: CrewCode, tasks: dict[str, Part], findings: Findings) -> list[str]:
    """The tasks of `Crew(tasks=…)`, in its order; those of `self.tasks` are in the order of their methods."""
    given = code.crew.get("tasks")
    if not code.crew:
        findings.fault(code.place, f"{code.name} has no method with @crew that returns Crew(…)")
        return []
    if not tasks or given is None:
        findings.fault(code.place, f"{code.name} has no task", "a task is a method with @task")
        return []
    if isinstance(given.value, Code) and given.value.text == "self.tasks":
        return list(tasks)
    if not isinstance(given.value, list) or not all(isinstance(one, Method) for one in given.value):
        what = f"the tasks of the crew are code ({given.value}), so they cannot be read without running it"
        findings.fault(given.place, what, "write tasks=self.tasks, or a list of self.task()")
        return []
    names = [one.name for one in given.value]
    for name in names:
        if name not in tasks:
            findings.fault(given.place, f"{name} is not a task of {code.name}", likely_fix(name, tasks))
        elif names.count(name) > 1:
            findings.fault(given.place, f"{name} is among the tasks twice", "remove one")
    return [name for name in dict.fromkeys(names) if name in tasks]


def _with_config(part: Part, configs: dict[str, dict[str, Part]], findings: Findings) -> Part:
    """A part with the settings of its entry in YAML; those of the code come first, as in CrewAI."""
    config = part.settings.get("config")
    if config is None:
        return part
    settings = {key: setting for key, setting in part.settings.items() if key != "config"}
    if isinstance(config.value, dict):
        found = {key: Setting(value, config.place) for key, value in config.value.items()}
    elif isinstance(config.value, Config):
        known = configs[config.value.kind]
        entry = known.get(config.value.key)
        if entry is None:
            if known:
                what = f"there is no {config.value.key} in the {config.value.kind} of the crew"
                findings.fault(config.place, what, likely_fix(config.value.key, known))
            return part
        found = entry.settings
    else:
        what = f"the config of {part.name} is code ({config.value}), so it cannot be read without running it"
        findings.fault(config.place, what, f'write self.…_config["{part.name}"]')
        return part
    return Part(part.name, part.place, {**found, **settings}, part.calls)


def _task(part: Part, agents: dict[str, Part], tasks: dict[str, Part], findings: Findings) -> CrewTask:
    """A task with its references resolved. Unknown names are faults."""
    task = CrewTask(part, is_async=_flag(part, "async_execution", findings))
    agent = part.settings.get("agent")
    if agent is not None and agent.value is not None:
        name = _reference(agent.value)
        if name is None:
            what = f"the agent of {part.name} is code ({agent.value}), so it cannot be read without running it"
            findings.fault(agent.place, what, "write its name, or self.name()")
        elif name not in agents:
            what = f"the task {part.name} has the agent {name}, which the crew does not have"
            findings.fault(agent.place, what, likely_fix(name, agents))
        else:
            task.agent = agents[name]
    context = part.settings.get("context")
    if context is not None:
        task.context = _context(part, context, tasks, findings)
    return task


def _context(part: Part, context: Setting, tasks: dict[str, Part], findings: Findings) -> list[str]:
    """The names of the tasks in a context; unknown ones are faults."""
    given: Any = context.value if context.value is not None else []
    names = []
    for one in given if isinstance(given, list) else [given]:
        name = _reference(one)
        if name is None:
            what = f"the context of {part.name} is code ({one}), so it cannot be read without running it"
            findings.fault(context.place, what, "write names of tasks, or [self.name()]")
        elif name not in tasks:
            what = f"{part.name} has the context {name}, which is not a task"
            findings.fault(context.place, what, likely_fix(name, tasks))
        else:
            names.append(name)
    return names


def _reference(value: Any) -> str | None:
    """The name of an agent or a task, as YAML and code write it."""
    return value.name if isinstance(value, Method) else value if isinstance(value, str) else None


def _flag(part: Part, key: str, findings: Findings) -> bool:
    from agentdeck.importing.crew_prompts import truth

    setting = part.settings.get(key)
    if setting is not None and isinstance(setting.value, Code):
        what = f"{key} of {part.name} is code ({setting.value}), so it cannot be read without running it"
        findings.fault(setting.place, what, "write True or False")
        return False
    return truth(part, key)
