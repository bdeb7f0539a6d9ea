"""Loads a workflow from a YAML or Python file, and reports every fault of it at once."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from agentdeck.errors import InvalidFile, Issue
from agentdeck.workflow import builder, yaml_source
from agentdeck.workflow.graph_check import Parameters, agents_of, needs_of
from agentdeck.workflow.model import KNOWN_PARAMETERS, Data, Definition
from agentdeck.workflow.wording import kind, likely_fix
from agentdeck.workflow.yaml_source import Path_, Place, Source, as_map, refusal


@dataclass(frozen=True, slots=True)
class Loaded:
    """A workflow that can run, the warnings on it, and the positions of its keys and values in the file."""

    definition: Definition
    warnings: tuple[Issue, ...] = ()
    positions: Mapping[Path_, Place] = field(default_factory=dict)
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)


def load(path: Path | str, shown: str | None = None) -> Loaded:
    """Load a workflow file. Raises InvalidFile with every fault, sorted by place.

    `shown` is the name of the file in messages. Sub-workflows are loaded too, and their faults are among these.
    """
    file = Path(path)
    return _load(file, shown or str(path), _LoadPath())


def _load(file: Path, shown: str, load_path: _LoadPath) -> Loaded:
    if file.suffix == ".py":
        return _python(file, shown)
    source = yaml_source.read_file(file, shown)
    resolved = file.resolve()
    return _finish(source, resolved.parent, _LoadPath((*load_path.above, resolved), load_path.seen), {})


@dataclass(frozen=True, slots=True)
class _LoadPath:
    """The files above a sub-workflow, and in `seen` the result of each file: one that is used many times is read
    once."""

    above: tuple[Path, ...] = ()
    seen: dict[Path, Loaded | InvalidFile] = field(default_factory=dict)

    def load(self, file: Path, shown: str) -> Loaded:
        resolved = file.resolve()
        if resolved not in self.seen:
            try:
                self.seen[resolved] = _load(file, shown, self)
            except InvalidFile as error:
                self.seen[resolved] = error
        found = self.seen[resolved]
        if isinstance(found, InvalidFile):
            raise found
        return found


def loads(text: str, file: str = "<text>", folder: Path | None = None) -> Loaded:
    """Load a workflow from text."""
    return _finish(yaml_source.read_text(text, file), folder, _LoadPath(), {})


def define(
    name: str,
    settings: Mapping[str, Data],
    agents: Mapping[str, Mapping[str, Data]],
    functions: dict[str, Callable[..., Any]],
    folder: Path,
) -> Definition:
    """The definition of decorated functions: keys as in a file, needs from the names of parameters. Parameters
    that name nothing known are inputs, with their defaults, unless the workflow declares its inputs itself.
    Retry rules that are functions are added to `functions`. Raises InvalidFile."""
    parameters = {name: _parameters(function) for name, function in functions.items() if name in agents}
    data: dict[str, Data] = {"agentdeck": 1, "name": name, **settings}
    if "defaults" in data:
        data["defaults"] = _with_named_rule(data["defaults"], functions)
    data["agents"] = {agent: _with_named_rule(dict(keys), functions) for agent, keys in agents.items()}
    if "inputs" not in data:
        data["inputs"] = _inputs(agents, parameters)
    names = {agent: tuple(found) for agent, found in parameters.items()}
    return _finish(Source(f"<{name}>", data), folder, _LoadPath(), names).definition


def _with_named_rule(keys: Data, functions: dict[str, Callable[..., Any]]) -> Data:
    """The keys of an agent, with the name of a retry rule in the place of a function."""
    retry = keys.get("retry") if isinstance(keys, Mapping) else None
    rule: Any = retry.get("on") if isinstance(retry, Mapping) else None
    if not callable(rule):
        return keys
    name = getattr(rule, "__qualname__", None) or type(rule).__qualname__
    target = f"{getattr(rule, '__module__', None) or type(rule).__module__}:{name}"
    while functions.get(target, rule) is not rule:  # another lambda of the same module
        target += "_"
    functions[target] = rule
    return {**keys, "retry": {**keys["retry"], "on": target}}


def _parameters(function: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a function. An object that is called by a method of its framework gets one map with all
    that it may read; the parameters of a built-in may not be known: both name no need and no input."""
    try:
        return inspect.signature(function).parameters if callable(function) else {}
    except (TypeError, ValueError):
        return {}


def _inputs(
    agents: Mapping[str, Mapping[str, Data]], parameters: Mapping[str, Mapping[str, inspect.Parameter]]
) -> dict[str, Data]:
    found: dict[str, Data] = {}
    for agent, taken in parameters.items():
        known = {*agents[agent].get("with", {}), *KNOWN_PARAMETERS}
        for key, parameter in taken.items():
            if (
                key not in agents
                and key not in known
                and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            ):
                given = parameter.default is not parameter.empty
                found.setdefault(key, {"default": parameter.default} if given else {})
    return found


def _finish(source: Source, folder: Path | None, load_path: _LoadPath, parameters: Parameters) -> Loaded:
    data = source.data
    if not isinstance(data, dict):
        raise refusal(source.file, f"a workflow is a map, not {kind(data)}", "start the file with agentdeck: 1")
    from agentdeck.workflow.file_reading import read as read_model
    from agentdeck.workflow.workflow_file import workflow_file

    read = read_model(workflow_file(), source)
    needs = needs_of(read, source, parameters)
    _check_defaults(read, source)
    _sub_workflows(read, source, folder, load_path)
    faults = [issue for issue in source.issues if not issue.warning]
    if faults:
        raise InvalidFile(sorted(set(faults), key=lambda issue: (issue.file != source.file, issue[:3])))
    warnings = sorted(set(source.issues), key=lambda issue: (issue.file != source.file, issue[:3]))
    positions = {**source.values, **source.keys}
    return Loaded(builder.definition(read, needs, folder), tuple(warnings), positions)


def _check_defaults(read: Mapping[str, Any], source: Source) -> None:
    """Notes a fault for each default of an input that is not of its type."""
    for name, spec in as_map(read.get("inputs")).items():
        if wrong := builder.default_fault(spec, null=True):
            source.fault(("inputs", name, "default"), f"the default of {name} is {wrong}")


def _sub_workflows(read: Mapping[str, Any], source: Source, folder: Path | None, load_path: _LoadPath) -> None:
    """Loads each sub-workflow; notes a fault for one that does not load, or contains itself."""
    for name, agent in agents_of(read).items():
        file = agent.get("workflow")
        if not isinstance(file, str) or folder is None:
            continue
        path: Path_ = ("agents", name, "workflow")
        below = folder / file
        try:
            resolved = below.resolve()
        except (ValueError, RuntimeError, OSError) as error:
            source.fault(path, f"{file!r} is not a valid file name: {error}", "check the name")
            continue
        if resolved in load_path.above:
            circle = [*(p.name for p in load_path.above[load_path.above.index(resolved) :]), below.name]
            what = f"a workflow contains itself: {' -> '.join(circle)}"
            source.fault(path, what, "remove one of these references")
            continue
        shown = file if source.file[:1] == "<" else str(Path(source.file).parent / file)
        try:
            inner = load_path.load(below, shown)
        except InvalidFile as error:
            line, column = source.place(path)
            source.issues.append(Issue(source.file, line, column, f"{file} is not valid", "see its faults"))
            source.issues.extend(error.issues)
            continue
        source.issues.extend(inner.warnings)
        _given(name, agent, inner.definition, source)


def _given(name: str, agent: Mapping[str, Any], inner: Definition, source: Source) -> None:
    """Notes a fault where `with` and the inputs of the sub-workflow differ."""
    given = agent.get("with", {})
    for key in given:
        if key not in inner.inputs:
            path: Path_ = ("agents", name, "with", key)
            source.fault(path, f"{inner.name} has no input {key}", likely_fix(key, inner.inputs), key=True)
    missing = [key for key, spec in inner.inputs.items() if spec.required and key not in given]
    if missing:
        what = f"{inner.name} needs the input {', '.join(missing)}"
        source.fault(("agents", name, "workflow"), what, f"add with: {{{missing[0]}: …}}")


def _python(file: Path, shown: str) -> Loaded:
    """The workflow of a Python file: its only module-level object with a `definition`."""
    if not file.is_file():
        raise refusal(shown, "no such file", "check the name")
    module = _module(file, shown)
    made_here = vars(module).values()
    found = {id(o): o for o in made_here if hasattr(o, "functions") and hasattr(type(o), "definition")}
    if len(found) != 1:
        what = "defines no workflow" if not found else f"defines {len(found)} workflows"
        raise refusal(shown, what, 'define one at module level: name = Workflow("name")')
    made = next(iter(found.values()))
    try:
        definition, functions = made.definition, made.functions
    except (InvalidFile, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise refusal(shown, f"defines no workflow: {type(error).__name__}: {error}") from None
    if not isinstance(definition, Definition):
        raise refusal(shown, f"defines no workflow: its definition is {type(definition).__name__}")
    return Loaded(definition, (), {}, functions)


def _module(file: Path, shown: str) -> ModuleType:
    """The module of a Python file, imported with the file's folder first on the path."""
    folder = str(file.resolve().parent)
    if folder in sys.path:
        sys.path.remove(folder)
    sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise refusal(shown, "is not a Python file")
    before = sys.modules.get(file.stem)
    if before is not None and getattr(before, "__file__", None) == str(file.resolve()):
        return before
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    try:
        with redirect_stdout(sys.stderr):  # stdout is for data: what a module prints on import is none
            spec.loader.exec_module(module)
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        sys.modules.pop(file.stem, None)
        if before is not None:
            sys.modules[file.stem] = before
        line = _line_of(error, file)
        raise InvalidFile(
            [Issue(shown, line, 0, f"cannot be imported: {type(error).__name__}: {error}")]
        ) from None
    return module


def _line_of(error: BaseException, file: Path) -> int:
    """The line of the file at which its import failed; 0 where that is not known."""
    if isinstance(error, SyntaxError):
        return error.lineno or 0
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
