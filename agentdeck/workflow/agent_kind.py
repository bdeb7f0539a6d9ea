"""Agent kinds: what each verb of an agent means, described by one object per verb.

A kind says which keys agents of its verb have, which references they make, how plans and screens show them, and
which object runs their attempts. Kinds are found through the entry points `agentdeck.agents` (see
agentdeck/plugins.py), those of agentdeck itself in the same way, so this module imports none of them.

`AgentKind` is the base class for plugins (docs/plugins.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, get_origin, get_type_hints

from agentdeck.errors import Issue, StepError, described
from agentdeck.plugins import (
    BUILT_IN,
    PLUGIN_ERRORS,
    BrokenPlugin,
    Loaded,
    PluginError,
    installed,
    is_built_in,
    load,
)
from agentdeck.workflow.expressions import Template
from agentdeck.workflow.model import (
    Agent,
    Approve,
    Data,
    Definition,
    Dispatch,
    SubWorkflow,
    Timeout,
    UnknownWork,
    Work,
    plain,
)
from agentdeck.workflow.references import Found, expressions_in
from agentdeck.workflow.yaml_source import INVALID, Path_, Place, Source

if TYPE_CHECKING:
    from agentdeck.workflow.file_model import FileModel


class Fill(Protocol):
    """Renders a value that may hold `${…}` with the values of a recorded step. Where that is not possible, the
    result says why. Secrets are shown by their names."""

    def __call__(self, value: Data, template: Callable[[Any], Any] = Template) -> Data: ...


class AgentKind:
    """Describes the agents of one verb. A kind has no state: one object serves all workflows.

    `work` is the frozen dataclass that stands in `Agent.does`; its `verb` is the name of the kind's entry point.
    A kind has at least `work`, `keys` and `runner`.
    """

    work: ClassVar[type[Work]]
    #: The clocks of an agent where neither it nor `defaults` sets any.
    timeout: ClassVar[Timeout] = Timeout()
    #: The heading under which a plan lists the targets of these agents; empty: it does not list them.
    heading: ClassVar[str] = ""
    #: The keys of an agent whose strings may hold `${…}`; None: all of `keys`.
    templates: ClassVar[Sequence[str] | None] = None
    #: The keys below the verb that may hold secrets. Their values go to another program or server, and nowhere
    #: else: they are never recorded or shown. The fields of `work` have the same names.
    secrets: ClassVar[Sequence[str]] = ()
    #: Whether its attempts can run at a place of the deck, in another process. Others run in the engine.
    places: ClassVar[bool] = False
    #: Whether attempts get a `seed`, the same in every run.
    seeded: ClassVar[bool] = False
    #: Whether agents in a file can be of this kind.
    in_files: ClassVar[bool] = True
    #: Whether the agent runs code or a program that may call models by itself, and finds the gateway in
    #: `work.gateway`.
    takes_gateway: ClassVar[bool] = False
    #: Whether the agent may read inputs that no expression names. Without such agents, an input that nothing
    #: names is reported.
    reads_any_input: ClassVar[bool] = False

    @property
    def verb(self) -> str:
        return self.work.verb

    # In the file -----------------------------------------------------------------------------------------

    def keys(self) -> type[FileModel]:
        """The pydantic model of the keys that agents of this kind have besides those of every agent: the verb,
        and keys beside it. Import pydantic and `file_model` inside this method: it is called when a workflow file
        is read."""
        raise NotImplementedError(f"{type(self).__name__} has no keys")

    def make(self, given: Mapping[str, Any]) -> Work:
        """The work of an agent. `given` has the values of those of `keys` that are in the file, ready to use.

        By default, the keys of the verb's map and the keys beside the verb are the fields of `work`; a value that
        is no map is the first field."""
        value = given[self.verb]
        own = value if isinstance(value, Mapping) else {fields(_dataclass(self.work))[0].name: value}
        beside = {key: item for key, item in given.items() if key != self.verb}
        tuples = _tuple_fields(_dataclass(self.work))
        values = {key: tuple(item) if key in tuples else item for key, item in {**own, **beside}.items()}
        return self.work(**values)

    def expressions(self, given: Mapping[str, Any], path: Path_) -> Iterator[Found]:
        """The expressions in the keys of an agent, with the path of each value that holds some. `path` is that of
        the agent."""
        for key in key_names(self.verb) if self.templates is None else self.templates:
            yield from expressions_in(given.get(key), (*path, key))

    def check(self, agent: AgentInFile) -> None:
        """Note faults that need more than one key, or other agents of the file. Called where the kind's own keys
        have no faults."""

    def warn(self, agent: AgentInFile) -> None:
        """Note warnings. Called for a file without faults."""

    def chooses(self, given: Mapping[str, Any]) -> Mapping[str, str]:
        """Other agents that run only where an agent of this kind chooses them, by case: they need it."""
        return {}

    def can_use_gateway(self, agent: Agent) -> bool:
        """The same for one agent."""
        return self.takes_gateway

    def check_code(self, agent: AgentWithCode) -> Iterator[Issue]:
        """Faults and warnings that show when the code behind an agent is imported."""
        yield from ()

    # In plans and on screens -----------------------------------------------------------------------------

    def target(self, agent: Agent) -> str:
        """What the agent turns to, as written: a command, a module, a host."""
        first = getattr(agent.does, fields(_dataclass(self.work))[0].name)
        return first if isinstance(first, str) else ""

    def label(self, agent: Agent) -> str:
        """What the agent does, in a word or two, for the graph."""
        return self.verb

    def described(self, agent: Agent) -> str:
        """What the agent does, without values, which may be secret. It is recorded with `once`, for the operator
        who has to find out whether it took effect."""
        return f"{self.verb}: {self.target(agent)}".removesuffix(": ")

    def asked(self, agent: Agent, fill: Fill) -> dict[str, Data]:
        """What the agent was asked to do in a recorded step, in named parts. Empty parts are left out."""
        values = {key: value for key, value in plain(agent.does).items() if key != "verb" and value}
        return {self.verb: fill(values)}

    def files(self, agent: Agent, folder: Path, function: Any) -> Iterator[tuple[Path, str]]:
        """The files that the agent depends on and only names, each with a word for its kind: `module`, `image`. A
        run that is resumed reports those that have changed. `function` is that of a workflow in Python."""
        yield from ()

    # In a run --------------------------------------------------------------------------------------------

    def runner(self, agent: Agent, context: Any) -> Any:
        """The `Verb` that runs the attempts of an agent, all of a run and many at a time; `context` is a
        `WorkflowContext`. Both are in `agentdeck.agents.verb`, which modules of this layer must not import.
        Raises StepError of kind `setup` where it cannot be made. Import what only runs need inside this method:
        kinds are also loaded to check and show workflows."""
        raise NotImplementedError(f"{type(self).__name__} has no runner")


class UnknownKind(AgentKind):
    """Stands for the kind of an agent in a recorded run whose verb this installation does not have."""

    work = UnknownWork

    def label(self, agent: Agent) -> str:
        return agent.does.verb

    def target(self, agent: Agent) -> str:
        return ""

    def described(self, agent: Agent) -> str:
        return agent.does.verb

    def asked(self, agent: Agent, fill: Fill) -> dict[str, Data]:
        values = plain(agent.does)
        return {agent.does.verb: {key: value for key, value in values.items() if key != "verb" and value}}

    def runner(self, agent: Agent, context: Any) -> Any:
        raise StepError("setup", _why_unknown(agent.does.verb))


def _why_unknown(verb: str) -> str:
    if verb in broken_kinds():
        return f"{verb} does not load: {broken_kinds()[verb]}; see agentdeck plugins"
    if verb in kinds():
        return f"the {verb} that is installed cannot read what was recorded; install the version that recorded it"
    return f"no installed package adds agents of the kind {verb}; install the plugin that does"


# In the file ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AgentInFile:
    """An agent of a file that is being checked. `given` has its keys, and `agents` those of all agents, INVALID
    in the place of values with faults; the kind's own keys have none. `needs` are complete. `reads` gives the
    dotted names that an agent reads."""

    name: str
    given: Mapping[str, Any]
    agents: Mapping[str, Mapping[str, Any]]
    needs: Mapping[str, tuple[str, ...]]
    reads: Callable[[str], set[tuple[str, ...]]]
    source: Source

    def beside(self, name: str) -> AgentInFile:
        """Another agent of the file."""
        return replace(self, name=name, given=self.agents[name])

    def fault(self, at: Path_, what: str, fix: str = "", *, key: bool = False, warning: bool = False) -> None:
        """Note a fault at a place below the agent: `("http", "url")`. `key`: the key itself is wrong."""
        self.source.fault(("agents", self.name, *at), what, fix, key=key, warning=warning)

    def is_written(self, *at: str | int) -> bool:
        """Whether the file has a value at this place: it has none for the key of a short form."""
        return ("agents", self.name, *at) in self.source.values


class AgentWithCode(NamedTuple):
    """An agent of a workflow that has been loaded. `function` is what it calls where the workflow is written in
    Python; `positions` are those of the file."""

    agent: Agent
    definition: Definition
    folder: Path
    function: Any
    positions: Mapping[Path_, Place]
    file: str

    def issue(self, what: str, fix: str, *key: str, warning: bool = False) -> Issue:
        """A fault at a key of the agent; by default at its verb."""
        path = ("agents", self.agent.name, *(key or (self.agent.does.verb,)))
        line, column = self.positions.get(path, (0, 0))
        return Issue(self.file, line, column, what if line else f"{self.agent.name}: {what}", fix, warning)


def kinds_in(given: Mapping[str, Any]) -> Iterator[AgentKind]:
    """The kinds whose verb is among the keys of an agent of a file: one, where the agent has no faults."""
    return (kind for verb, kind in file_kinds().items() if given.get(verb, INVALID) is not INVALID)


def _dataclass(work: type[Work]) -> Any:
    """The class of a work, which mypy does not know as a dataclass."""
    return work


@cache
def _tuple_fields(work: Any) -> frozenset[str]:
    """The fields that are tuples: a file has lists."""
    hints = get_type_hints(work)
    return frozenset(one.name for one in fields(work) if get_origin(hints[one.name]) is tuple)


# The kinds that are installed ------------------------------------------------------------------------------


def kinds() -> Mapping[str, AgentKind]:
    """The kinds by verb, those of agentdeck first."""
    return loaded().objects


def kind_of(agent: Agent) -> AgentKind:
    """The kind of an agent."""
    return UNKNOWN if isinstance(agent.does, UnknownWork) else kinds()[agent.does.verb]


UNKNOWN = UnknownKind()


@cache
def file_kinds() -> Mapping[str, AgentKind]:
    """The kinds that agents of a file can have: those whose keys can be used."""
    return {verb: kind for verb, kind in kinds().items() if verb in file_keys().models}


@cache
def key_names(verb: str) -> tuple[str, ...]:
    """The keys of a kind as they are written in a file."""
    return tuple(info.alias or name for name, info in file_keys().models[verb].model_fields.items())


def broken_kinds() -> Mapping[str, str]:
    """What is wrong with the plugins that were left out, by verb."""
    plugins = {one.plugin.name: one for one in loaded().broken if one.plugin.name not in kinds()}
    return {verb: str(one) for verb, one in {**plugins, **file_keys().broken}.items()}


@cache
def loaded() -> Loaded:
    """The kinds that are installed, and those that do not load."""
    return load("agents", check_kind)


def check_kind(name: str, found: Any) -> AgentKind:
    """The kind of an entry point, which names a class derived from AgentKind. Raises PluginError for others."""
    if not (isinstance(found, type) and issubclass(found, AgentKind)):
        raise PluginError("it is not a subclass of agentdeck.workflow.agent_kind.AgentKind")
    work = getattr(found, "work", None)
    if not (isinstance(work, type) and issubclass(work, Work) and is_dataclass(work)):
        raise PluginError("its `work` is not a dataclass derived from agentdeck.workflow.model.Work")
    if getattr(work, "verb", None) != name:
        raise PluginError(f"the verb of its `work` is not {name}, the name of its entry point")
    if not work.holds_worker and not issubclass(work, CARRIED_OUT):
        raise PluginError("its `work` holds no worker, which is only possible for agentdeck's own kinds")
    if not (isinstance(found.timeout, Timeout) and isinstance(found.heading, str)):
        raise PluginError("its `timeout` is not an agentdeck.workflow.model.Timeout, or its `heading` not text")
    if found.__module__.startswith(f"{BUILT_IN}."):
        return found()
    from agentdeck.workflow.plugin_kind import guarded  # which is derived from AgentKind

    return guarded(found)


#: The work that the scheduler and the engine themselves carry out.
CARRIED_OUT = (Approve, Dispatch, SubWorkflow)


class FileKeys(NamedTuple):
    """The keys of the kinds by verb, and what is wrong with those of other kinds."""

    models: Mapping[str, type[FileModel]]
    broken: Mapping[str, BrokenPlugin]


@cache
def file_keys() -> FileKeys:
    """The keys that agents of a file can have."""
    from agentdeck.workflow.workflow_file import AgentKeys

    owners = {info.alias or name: "every agent" for name, info in AgentKeys.model_fields.items()}
    models: dict[str, type[FileModel]] = {}
    broken: dict[str, BrokenPlugin] = {}
    plugins = {plugin.name: plugin for plugin in reversed(installed("agents"))}
    for verb, kind in kinds().items():
        if not kind.in_files:
            continue
        try:
            model = _checked_keys(verb, kind, owners)
        except PluginError as error:
            broken[verb] = BrokenPlugin(plugins[verb], str(error))
        else:
            models[verb] = model
            owners |= {info.alias or name: verb for name, info in model.model_fields.items()}
    return FileKeys(models, broken)


def _checked_keys(verb: str, kind: AgentKind, owners: Mapping[str, str]) -> type[FileModel]:
    """The keys of a kind. Raises PluginError where they cannot be used, or belong to other `owners` already."""
    from agentdeck.workflow.file_model import FileModel

    try:
        model = kind.keys()
        if not is_built_in(kind):
            model.model_rebuild()  # a type that cannot be used shows now, and not in every workflow file
    except PLUGIN_ERRORS as error:
        raise PluginError(f"its keys cannot be used: {described(error)}") from None
    if not isinstance(model, type) or not issubclass(model, FileModel):
        raise PluginError("its keys are not a subclass of agentdeck.workflow.file_model.FileModel")
    names = [info.alias or name for name, info in model.model_fields.items()]
    if verb not in names:
        raise PluginError(f"its keys have no {verb}")
    for name in names:
        if name in owners:
            raise PluginError(f"its key {name} belongs to {owners[name]}")
    return model
