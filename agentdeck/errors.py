"""What can go wrong, as one tree.

AgentdeckError
├── InvalidFile        a workflow, deck or task file that does not load; carries every fault found
├── UsageError         a call that makes no sense as given (unknown run, limit out of range)
├── StoreError         the database cannot be used: locked, read-only, full, corrupt, too new
├── ProviderError      a provider cannot be used at all: no key, no route
├── OutputError        stdout, or a file that was asked for, cannot be written
└── StepError          one attempt of one step failed; carries the `Fault` that is recorded

Every message is for a person: what happened, where, what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class AgentdeckError(Exception):
    """The base class of everything that agentdeck raises on purpose."""

    exit_code = 1


class Issue(NamedTuple):
    """One fault or warning in a file. `fix` may be empty; `line` and `column` start at 1, 0 is unknown."""

    file: str
    line: int
    column: int
    what: str
    fix: str = ""
    warning: bool = False

    def __str__(self) -> str:
        place = ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)])
        word = "warning: " if self.warning else ""
        return f"{place}: {word}{self.what}" + (f"; {self.fix}" if self.fix else "")


class InvalidFile(AgentdeckError):
    """A file that does not load. `issues` holds every fault, in the order of the file."""

    exit_code = 2

    def __init__(self, issues: Sequence[Issue]) -> None:
        self.issues = tuple(issues)
        super().__init__("\n".join(map(str, self.issues)))


class UsageError(AgentdeckError):
    """A call that makes no sense as given."""

    exit_code = 2


class StoreError(AgentdeckError):
    """The database cannot be used. Nothing that was recorded is lost by this."""

    exit_code = 3


class ProviderError(AgentdeckError):
    """A provider cannot be used at all."""

    exit_code = 3


class OutputError(AgentdeckError):
    """Output cannot be written. The run it belongs to, and its results, are in the store."""

    exit_code = 3


class PipeClosed(OutputError):
    """The process that reads stdout has closed it, as `head` does. Not a BrokenPipeError: click ends the process
    with code 1 at one of those."""

    exit_code = 141


class Fault(NamedTuple):
    """Why an attempt failed, as it is recorded.

    `kind` is one of KINDS. `retry_after` is what the other side asked for, in seconds. `clock` names the
    clock that fired when kind is `timeout`. `detail` may hold more for a reader (a traceback, a body);
    it is never parsed. `cut_at` is the number of output tokens at which an answer was cut that is of no use
    incomplete: the next attempt is given more. `once_key` is the key whose effect is not known when kind is
    `unknown`. `retry` is the answer of the workflow's own rule (`retry: { on: … }`), None where it was not asked.
    """

    kind: str
    message: str
    retry_after: float | None = None
    clock: str = ""
    detail: str = ""
    cut_at: int = 0
    once_key: str = ""
    retry: bool | None = None

    @property
    def retryable(self) -> bool:
        """Whether another attempt is worth it: by the workflow's own rule, else by the kind."""
        return self.kind in RETRYABLE if self.retry is None else self.retry


#: What a fault can be, and what that means.
KINDS = {
    "exception": "the agent's own code raised",
    "permanent": "the agent raised Permanent: a retry is pointless",
    "timeout": "one of the four timeouts expired",
    "network": "the connection failed or was cut",
    "rate_limit": "the server asked for fewer requests (429)",
    "server": "the server failed (5xx, overloaded)",
    "rejected": "the server refused this request (4xx)",
    "auth": "the key is missing or wrong",
    "quota": "the quota or the credit of the account is exhausted",
    "model": "this model may not be used with this key",
    "forbidden": "the server refused (403) without saying whether because of the key, the model or the prompt",
    "context": "the prompt or the answer is longer than the model can take",
    "refused": "the model refused the content",
    "invalid": "the answer does not fit `output` or `expect`",
    "expression": "an expression of the workflow could not be evaluated",
    "setup": "the step could not be started (no such command, function, module)",
    "exit": "a command ended with a code other than 0",
    "join": "the join ran out of time",
    "needs": "a step that this one needs failed",
    "budget": "the budget does not allow it",
    "rejected_by_person": "an operator rejected it",
    "lost": "the process that ran the attempt died",
    "place": "the place where the step runs lost its attempts",
    "unknown": "the process died while a `once` step ran: it is unknown whether it took effect",
}

#: They say nothing of the step: its provider, or its model, cannot be used until an operator has done something.
STOPPING = frozenset({"auth", "quota", "model"})

RETRYABLE = frozenset({"exception", "timeout", "network", "rate_limit", "server", "invalid", "exit"})


class StepError(AgentdeckError):
    """One attempt of one step failed. Verbs raise this; anything else they raise becomes `exception`."""

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        retry_after: float | None = None,
        clock: str = "",
        detail: str = "",
        cut_at: int = 0,
        once_key: str = "",
    ) -> None:
        super().__init__(message)
        self.fault = Fault(kind, message, retry_after, clock, detail, cut_at, once_key)
        #: Whether a provider had begun to answer: then the prompt was read, and is billed.
        self.begun = False
        #: What the attempt has used (`agentdeck.scheduler.events.Usage`), where only the verb knows it.
        self.usage: Any = None
        #: Whether a provider refused the request because it has too many: 429, 503, 529.
        self.overloaded = kind == "rate_limit"
        #: What the agent's own code raised, where this error stands for that.
        self.exception: BaseException | None = None


class StepAsks(StepError):
    """An attempt has questions to the operator and ends; another one goes on with the answers. Each question has
    an `id`, a `text`, and where they are known what it `shows` and the JSON `schema` of its answer."""

    def __init__(self, questions: Sequence[dict[str, Any]], usage: Any = None) -> None:
        super().__init__("exception", f"asks: {questions[0]['text']}")
        self.questions = tuple(questions)
        self.usage = usage


class StepLost(StepError):
    """What executed an attempt is gone: a process was killed, a worker of a cluster died. That says nothing of
    the agent, so the attempt does not count as a try and is made again, a few times."""

    def __init__(self, why: str, usage: Any = None) -> None:
        super().__init__("place", why)
        self.usage = usage


class Permanent(AgentdeckError):
    """For agents' own code: raise this to say that another attempt is pointless."""


def described(error: BaseException) -> str:
    """The type of an exception of other people's code, and its message."""
    try:
        text = str(error)
    except Exception:
        text = "(its message cannot be shown)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
