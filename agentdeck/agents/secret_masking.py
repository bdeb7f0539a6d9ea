"""Makes the object that runs the attempts of an agent, and masks the secrets in what it logs and gives."""

from __future__ import annotations

from typing import Any

import anyio.to_thread

from agentdeck.agents.foreign_code import PluginVerb
from agentdeck.agents.verb import AttemptContext, Verb, VerbResult, WorkflowContext
from agentdeck.errors import AgentdeckError, Fault, StepAsks, StepError, StepLost, described
from agentdeck.plugins import PLUGIN_ERRORS, is_built_in
from agentdeck.providers.keys import KeyStore
from agentdeck.workflow.agent_kind import kind_of
from agentdeck.workflow.expressions import LIGHT
from agentdeck.workflow.json_text import room_left
from agentdeck.workflow.model import Agent, Data


def runner(agent: Agent, context: WorkflowContext) -> Verb:
    """The object that runs the attempts of an agent. Raises StepError of kind `setup` where it cannot be made (no
    such module, no such function)."""
    kind = kind_of(agent)
    try:
        verb: Verb = kind.runner(agent, context)
    except AgentdeckError:
        raise
    except PLUGIN_ERRORS as error:
        what = f"agents of the kind {agent.does.verb} cannot run here: {described(error)}"
        raise StepError("setup", what) from None
    if not is_built_in(kind):
        if not callable(getattr(verb, "run", None)):
            raise StepError("setup", f"the runner of {agent.name} has no run(work)")
        verb = PluginVerb(verb)
    return masked(verb, context)


def masked(verb: Verb, context: WorkflowContext) -> Verb:
    """The verb, without any secret of the run in what it logs and gives."""
    return SecretMaskingVerb(verb, context.keys) if context.keys.has_secrets else verb


class SecretMaskingVerb:
    """A verb without any secret read in this run in its log lines, results and faults. `once` and `cache` record
    masked results too."""

    def __init__(self, verb: Verb, keys: KeyStore) -> None:
        self._verb = verb
        self._keys = keys

    async def run(self, work: AttemptContext) -> Data | VerbResult:
        hide = self._keys.hide
        log = work.log
        work.log = lambda text, level="info": log(hide(str(text)), level)
        record = work.record
        work.record = lambda event, *values: record(event, *map(self._hidden_value, values))
        try:
            answer = await self._verb.run(work)
        except StepAsks as asks:
            raise StepAsks([self._keys.hide_data(one) for one in asks.questions], asks.usage) from None
        except StepLost as lost:
            raise StepLost(hide(str(lost)), lost.usage) from None
        except StepError as error:
            fault = error.fault
            hidden = StepError(fault.kind, hide(fault.message))
            hidden.fault = fault._replace(message=hidden.fault.message, detail=hide(fault.detail))
            hidden.exception = error.exception
            raise hidden from None
        except Exception as error:
            hidden = StepError("exception", hide(f"{type(error).__name__}: {error}"))
            hidden.exception = error
            raise hidden from None
        if type(answer) is VerbResult:
            return answer._replace(output=await self._hidden(answer.output))
        return await self._hidden(answer)

    def _hidden_value(self, value: Any) -> Any:
        """A value of an event of an inner step."""
        if isinstance(value, Fault):
            return value._replace(message=self._keys.hide(value.message), detail=self._keys.hide(value.detail))
        return value if isinstance(value, tuple) else self._keys.hide_data(value)

    async def _hidden(self, value: Data) -> Data:
        """Masked in a thread where the value is large."""
        if not self._keys.known:
            return value
        if room_left(value, LIGHT) >= 0:
            return self._keys.hide_data(value)
        return await anyio.to_thread.run_sync(self._keys.hide_data, value)
