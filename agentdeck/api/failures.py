"""The errors that `Workflow.run` and `Run.result` raise for a run that did not end well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentdeck.errors import AgentdeckError

if TYPE_CHECKING:
    from agentdeck.documents.question import Question
    from agentdeck.documents.result import Result


class RunFailed(AgentdeckError):
    """A run did not end well. `result` has everything that was reached."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result


class RunBlocked(RunFailed):
    """A run stopped, as nothing could go on in it until an operator acts: a provider refuses the key, the budget
    is used up, a step asks and nothing answers. `questions` are the first that wait for an answer. Where the run
    has a store, it can be resumed."""

    def __init__(self, message: str, result: Result, questions: tuple[Question, ...] = ()) -> None:
        super().__init__(message, result)
        self.questions = questions
