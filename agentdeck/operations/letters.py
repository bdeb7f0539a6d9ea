"""Dead letters: selecting, retrying, dropping and exporting them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from agentdeck.errors import UsageError
from agentdeck.operations.recorded_run import LIVE
from agentdeck.operations.retry import RetryPlan, inputs_from_settings, plan_letters
from agentdeck.scheduler.events import Author
from agentdeck.store.letters import STATES, Letter, set_letter
from agentdeck.store.reader import Reader
from agentdeck.store.writer import Writer

if TYPE_CHECKING:
    from agentdeck.documents import step as documents

#: Seconds between two looks at a live run that retries letters.
POLL = 0.05
#: Causes that an error message names.
NAMED = 8


def find_letters(reader: Reader, run: str | None, state: str) -> list[Letter]:
    """The letters in a state, or in `all`; of one run or of all runs. Raises UsageError."""
    if state not in (*STATES, "all"):
        raise UsageError(f"--state {state}: it is one of {', '.join(STATES)}, all")
    name = reader.run(run).run if run is not None else None
    return reader.letters(name, state=None if state == "all" else state)


def letters_by_id(reader: Reader, ids: Sequence[int]) -> list[Letter]:
    """The letters with these ids. Raises UsageError if one does not exist."""
    found = reader.letters(ids=ids)
    missing = [str(number) for number in ids if number not in {one.id for one in found}]
    if missing:
        raise UsageError(f"there is no dead letter {', '.join(missing)}; list them with: agentdeck letters")
    return found


def open_letters_by_id(reader: Reader, ids: Sequence[int]) -> list[Letter]:
    """The letters with these ids. Raises UsageError if one does not exist or is not open."""
    found = letters_by_id(reader, ids)
    settled = next((one for one in found if one.state != "open"), None)
    if settled is not None:
        raise UsageError(
            f"dead letter {settled.id} is {settled.state}" + (f": {settled.why}" if settled.why else "")
        )
    return found


def open_letters_of_cause(reader: Reader, run: str | None, cause: str) -> list[Letter]:
    """The open letters of one cause. Raises UsageError, with the causes that exist, if there are none."""
    found = [one for one in find_letters(reader, run, "open") if one.cause == cause]
    if not found:
        known = [name for name, _ in by_cause(reader.letters(state="open"))]
        there = f"there are {', '.join(known[:NAMED])}" if known else "there are none"
        raise UsageError(f"no open dead letter has the cause {cause}; {there}. List them with: agentdeck letters")
    return found


def by_cause(letters: Iterable[Letter]) -> list[tuple[str, list[Letter]]]:
    """Letters grouped by cause, the most frequent cause first."""
    groups: dict[str, list[Letter]] = {}
    for one in letters:
        groups.setdefault(one.cause, []).append(one)
    return sorted(groups.items(), key=lambda group: -len(group[1]))


def plans_for(
    reader: Reader, letters: Sequence[Letter], settings: Sequence[str], *, named: bool
) -> list[RetryPlan]:
    """One retry plan for each run. `settings` are `inputs.NAME=VALUE`; for `named` see `plan_letters`."""
    plans = []
    for run in dict.fromkeys(one.run for one in letters):
        row = reader.run(run)
        own = [one for one in letters if one.run == run]
        inputs = inputs_from_settings(reader, row, settings)
        plans.append(plan_letters(reader, row, own, named=named, inputs=inputs))
    return plans


def trial_results(reader: Reader, plan: RetryPlan, newest: int) -> Iterator[tuple[str, str, Letter | None]]:
    """(task, step, its letter if it failed again) for each step of a plan that has been started. Waits until each
    letter is settled or the run is no longer live. `newest` is the newest letter from before the retry."""
    for task, step in plan.steps:
        while True:
            own = [one for one in reader.letters(plan.run) if (one.task, one.step) == (task, step)]
            failed = [one for one in own if one.id > newest]
            if failed or all(one.state in ("closed", "dropped") for one in own):
                break
            if reader.run(plan.run).state not in LIVE:
                failed = own
                break
            time.sleep(POLL)
        yield task, step, failed[-1] if failed else None


def drop(db: Path, letters: Sequence[Letter], why: str, author: Author) -> None:
    """Close letters without retrying them. The reason is recorded with its author."""
    reason = f"{why}, says {author.text}"
    with closing(Writer(db)) as writer:
        for one in letters:
            writer.call(lambda c, number=one.id: set_letter(c, number, "dropped", reason)).result(30)  # type: ignore[misc]


def letter_document(letter: Letter) -> documents.Letter:
    """The document of `agentdeck letters show --json`."""
    from agentdeck.documents import step as documents

    fault = {name: value for name, value in letter.fault._asdict().items() if value not in (None, "")}
    error = documents.LetterError.model_construct(**fault)
    return documents.Letter.of(letter, error=error, definition=letter.identity)


def causes_document(groups: Iterable[tuple[str, Sequence[Letter]]]) -> documents.Letters:
    """The document of `agentdeck letters --json`, from letters by cause."""
    from agentdeck.documents import step as documents

    return documents.Letters.model_construct(
        [
            documents.Cause.model_construct(
                cause=cause,
                count=len(letters),
                agent=letters[-1].agent,
                kind=letters[-1].fault.kind,
                message=letters[-1].fault.message,
                letters=[letter_document(one) for one in letters],
            )
            for cause, letters in groups
        ]
    )
