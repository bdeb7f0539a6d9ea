"""Letters of `once` steps that may have taken effect: the operator decides whether they did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from agentdeck.agents.answer_check import OutputCheck
from agentdeck.engine.resume import definition_of
from agentdeck.errors import AgentdeckError, UsageError
from agentdeck.scheduler.events import Author
from agentdeck.store.letters import Letter, set_letter
from agentdeck.store.once import once_decide
from agentdeck.store.reader import Reader
from agentdeck.store.writer import Writer
from agentdeck.workflow.model import Data

#: The kind of fault of such a letter.
UNKNOWN = "unknown"


def undecided_key(reader: Reader, letter: Letter) -> str:
    """The `once` key that the operator has to decide for a letter; empty if there is nothing to decide."""
    if letter.fault.kind != UNKNOWN:
        return ""
    key = letter.fault.once_key or reader.once_key_of(letter.run, f"{letter.task}/{letter.step}")
    return key if key and reader.once(key).state == "unknown" else ""


def undecided(reader: Reader, letters: Iterable[Letter]) -> list[Letter]:
    """The letters that an operator has to decide."""
    return [letter for letter in letters if undecided_key(reader, letter)]


def choices(letter: int) -> tuple[str, str]:
    """The two commands that decide a letter: the step took effect, or it is to be executed again."""
    return (
        f"agentdeck letters retry {letter} --took-effect RESULT",
        f"agentdeck letters retry {letter} --again",
    )


def refusal(letter: Letter, key: str) -> str:
    """The error message for a retry of an undecided letter."""
    took_effect, again = choices(letter.id)
    return (
        f"dead letter {letter.id}: it is not known whether once key {key} took effect. Check that "
        f"(agentdeck letters show {letter.id}), then: {took_effect}, which records RESULT and executes nothing; "
        f"or: {again}, which executes it again"
    )


def decide(
    db: Path, letters: Sequence[Letter], took_effect: tuple[Data] | None, author: Author
) -> dict[int, str]:
    """Record for the keys of these letters that the step took effect, with this result, or (None) that it is to
    be executed again. Returns the keys by letter. Raises UsageError if a letter has nothing to decide."""
    with closing(Reader(db)) as reader:
        keys = {one.id: undecided_key(reader, one) for one in letters}
        for one in letters:
            if not keys[one.id]:
                raise UsageError(
                    f"dead letter {one.id} has nothing to decide: the outcome of its step is known; retry it "
                    f"with: agentdeck letters retry {one.id}"
                )
            if took_effect is not None:
                _check_result(reader, one, took_effect[0])
    decision = "to be executed again" if took_effect is None else "took effect"
    with closing(Writer(db)) as writer:
        for number, key in keys.items():
            if not writer.call(lambda c, key=key: once_decide(c, key, took_effect)).result(30):  # type: ignore[misc]
                raise UsageError(f"once key {key} was decided by another process just now")
            why = f"{decision}, says {author.text}"
            writer.call(lambda c, n=number, why=why: set_letter(c, n, "open", why)).result(30)  # type: ignore[misc]
    return keys


def _check_result(reader: Reader, letter: Letter, result: Data) -> None:
    """Raises UsageError if the result does not fit the agent's `output` or `expect`. Steps of nested workflows
    are not checked."""
    agent = definition_of(reader, reader.run(letter.run)).agents.get(letter.agent)
    if agent is None or "/" in letter.task or not isinstance(letter.inputs, dict):
        return
    try:
        OutputCheck(agent)(result, letter.inputs)
    except AgentdeckError as error:
        raise UsageError(f"--took-effect: {letter.step} cannot have returned this value: {error}") from None
