"""`http`: an agent that sends one request and reads its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar
from urllib.parse import urlsplit

from agentdeck.workflow.agent_kind import AgentInFile, AgentKind, Fill
from agentdeck.workflow.expressions import show
from agentdeck.workflow.model import Agent, Data, Work
from agentdeck.workflow.url import UrlTemplate, check_listed

if TYPE_CHECKING:
    from agentdeck.agents.verb import Verb, WorkflowContext
    from agentdeck.workflow.file_model import FileModel


@dataclass(frozen=True, slots=True)
class Http(Work):
    """Send one request. All parts but `hosts` are templates. `hosts` are those that are allowed beside the one
    that `url` names literally."""

    url: str
    method: str = "GET"
    headers: Mapping[str, Data] = field(default_factory=dict)
    body: Data = None
    hosts: tuple[str, ...] = ()
    verb = "http"
    later_fields: ClassVar[Mapping[str, Data]] = {"hosts": ()}


class HttpKind(AgentKind):
    """Agents that send one request."""

    work = Http
    heading = "hosts"
    secrets = ("headers", "body")

    def keys(self) -> type[FileModel]:
        from pydantic import Field, WithJsonSchema

        from agentdeck.workflow import file_model
        from agentdeck.workflow.file_model import ABSENT, FileModel, Text, Value, Values

        Host = Annotated[Text, file_model.checked(check_listed)]

        class HttpSpec(FileModel):
            """One request. The short form is its url."""

            SHORT: ClassVar[str] = "url"
            url: Annotated[
                str, Field(strict=True), file_model.NUMBER_AS_TEXT, file_model.NOT_EMPTY,
                file_model.checked(UrlTemplate), WithJsonSchema({"type": ["string", "number"], "pattern": r"\S"}),
            ]  # fmt: skip
            method: Text = ABSENT
            headers: Values = ABSENT
            body: Value = ABSENT
            hosts: Annotated[list[Host], Field(min_length=1), file_model.ONE_OR_MANY] = ABSENT

        class HttpKeys(FileModel):
            """The keys of agents that send requests."""

            http: HttpSpec = ABSENT

        return HttpKeys

    def make(self, given: Mapping[str, Any]) -> Http:
        made = super().make(given)
        assert isinstance(made, Http)
        return replace(made, method=made.method.upper())

    def check(self, agent: AgentInFile) -> None:
        """A url whose host comes from a value needs a list of hosts."""
        http = agent.given["http"]
        if "hosts" not in http and UrlTemplate(http["url"]).from_value:
            what = "the host of this url comes from a value, but `hosts` is missing"
            fix = "add hosts: [api.example.com], or put a / between the host and the value"
            at = ("http", "url") if agent.is_written("http", "url") else ("http",)
            agent.fault(at, what, fix)

    def target(self, agent: Agent) -> str:
        does = agent.does
        assert isinstance(does, Http)
        return f"{does.method} {urlsplit(does.url).netloc.rpartition('@')[2] or does.url}"

    def label(self, agent: Agent) -> str:
        assert isinstance(agent.does, Http)
        return f"http {agent.does.method}"

    def described(self, agent: Agent) -> str:
        assert isinstance(agent.does, Http)
        return f"http: {agent.does.method} {agent.does.url}"

    def asked(self, agent: Agent, fill: Fill) -> dict[str, Data]:
        does = agent.does
        assert isinstance(does, Http)
        request = f"{show(fill(does.method))} {fill(does.url, UrlTemplate)}"
        return {"request": request, "headers": fill(dict(does.headers)), "body": fill(does.body)}

    def runner(self, agent: Agent, context: WorkflowContext) -> Verb:
        from agentdeck.agents.http_runner import HttpVerb

        return HttpVerb(agent, context)
