"""What an agent was asked to do in a step, rendered again from recorded values."""

from __future__ import annotations

import shlex

from agentdeck.errors import AgentdeckError
from agentdeck.workflow.expressions import Template, show
from agentdeck.workflow.model import Agent, Approve, Command, Data, Http, Prompt, Python, plain
from agentdeck.workflow.url import UrlTemplate


def asked(agent: Agent, scope: dict[str, Data]) -> dict[str, Data]:
    """The work of an agent in named parts, with the values of a scope filled in. A part that cannot be rendered
    says why."""

    def filled(value: Data) -> Data:
        try:
            return Template(value).render(scope)
        except AgentdeckError as error:
            return f"(not known: {error})"

    does, parts = agent.does, dict[str, Data]()
    # Secrets are shown by their names.
    scope = {**scope, "secret": _SecretNames()}
    match does:
        case Prompt():
            parts = {"system": filled(does.system), "prompt": show(filled(does.text))}
            parts |= {"model": does.model or agent.tier, "images": filled(list(does.images))}
        case Command():
            parts = {"command": shlex.join(show(filled(word)) for word in does.args)}
            parts |= {"env": filled(dict(does.env)), "cwd": filled(does.cwd), "stdin": filled(does.input)}
        case Http():
            parts = {"request": f"{show(filled(does.method))} {_url(does.url, scope)}"}
            parts |= {"headers": filled(dict(does.headers)), "body": filled(does.body)}
        case Python():
            parts = {"call": does.target}
        case Approve():
            parts = {"asks": filled(does.ask), "shows": filled(does.show)}
        case _:
            parts = {does.verb: {key: value for key, value in plain(does).items() if key != "verb" and value}}
    if agent.with_:
        parts["with"] = filled(dict(agent.with_))
    return {name: value for name, value in parts.items() if value not in (None, {}, [], "")}


def _url(url: str, scope: dict[str, Data]) -> str:
    try:
        return UrlTemplate(url).render(scope)
    except AgentdeckError as error:
        return f"(not known: {error})"


class _SecretNames(dict[str, Data]):
    def get(self, key: str, default: Data = None) -> Data:
        return f"${{secret.{key}}}"
