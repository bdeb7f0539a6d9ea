"""A `once` step whose process died: what its letter says, and the two ways to decide it."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from typing import TypeAlias

import pytest

from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from tests.cli.conftest import Deck
from tests.waiting import until

Until: TypeAlias = Callable[[Callable[[], bool]], None]

#: Two tasks pay with one key; the second one waits for the first.
PAY = """
agentdeck: 1
name: pays
inputs: { n: integer }
defaults: { retry: 1 }
agents:
  pay:
    once: "pay-17"
    command: [sh, -c, "echo pay >> effects; test -e ok || sleep 30; echo '{}'"]
    output: { receipt: integer }
  tell: { needs: pay, command: [sh, -c, 'echo "tell $1" >> effects', sh, "${pay.receipt}"] }
"""


@pytest.fixture
def dead(deck: Deck) -> Deck:
    """A run that was killed while its step paid, and resumed: two letters, of its holder and of its waiter."""
    deck.write("pays.yaml", PAY.replace("{}", '{\\"receipt\\": 5}'))
    deck.write("t.jsonl", '{"n": 1}\n{"n": 2}\n')
    process = deck.start("run", "pays.yaml", "--tasks", "t.jsonl")
    reader = Reader(deck.db)
    until(lambda: effects(deck) == ["pay"] and "AttemptDeferred" in kinds(reader))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert deck("resume", "last").returncode == 1
    reader.close()
    assert effects(deck) == ["pay"]
    deck.write("ok", "")
    return deck


def effects(deck: Deck) -> list[str]:
    file = deck.folder / "effects"
    return file.read_text().splitlines() if file.exists() else []


def kinds(reader: Reader) -> set[str]:
    return {type(event).__name__ for row in reader.runs(1) for _, event in reader.events(row.run)}


def outputs(deck: Deck) -> list[object]:
    reader = Reader(deck.db)
    run = reader.runs(1)[0].run
    found = [e.output for _, e in reader.events(run) if isinstance(e, ev.StepSucceeded) and e.step == "pay"]
    reader.close()
    return found


def test_the_letter_says_what_to_check(dead: Deck) -> None:
    told = dead("letters", "show", "1").stdout
    run = json.loads(dead("runs", "--json").stdout)[0]["run"]
    assert re.search(r"key +pay-17\n", told)
    assert re.search(rf"run +{run}, task 1, step pay, attempt 1\n", told)
    assert re.search(r"started +20\d\d-\d\d-\d\d \d\d:\d\d:\d\d", told)
    assert re.search(r"action +command: sh -c echo pay >> effects", told)
    assert "agentdeck letters retry 1 --took-effect RESULT" in told
    assert "agentdeck letters retry 1 --again" in told


def test_a_plain_retry_names_the_two_options_and_executes_nothing(dead: Deck) -> None:
    for args in (("letters", "retry", "1"), ("letters", "retry", "1", "2")):
        refused = dead(*args)
        assert refused.returncode == 2
        assert "--took-effect RESULT" in refused.stderr
        assert "--again" in refused.stderr
    assert "is left out, as its step may have taken effect" in dead("letters", "retry", "--all").stderr
    assert effects(dead) == ["pay"]


def test_it_took_effect_records_the_result_and_executes_nothing(dead: Deck) -> None:
    done = dead("letters", "retry", "1", "--took-effect", '{"receipt": 9}')
    assert done.returncode == 0, done.stderr
    assert effects(dead) == ["pay", "tell 9"]
    assert dead("letters", "retry", "2").returncode == 0, "the step that waited takes the result"
    assert effects(dead) == ["pay", "tell 9", "tell 9"]
    assert outputs(dead) == [{"receipt": 9}] * 2
    (cause,) = json.loads(dead("letters", "list", "--state", "closed", "--json").stdout)
    assert re.match(r"took effect, says \S+@\S+ \(cli\)$", cause["letters"][0]["why"])


def test_again_executes_it_again(dead: Deck) -> None:
    done = dead("letters", "retry", "1", "--again")
    assert done.returncode == 0, done.stderr
    assert effects(dead) == ["pay", "pay", "tell 5"]
    assert dead("letters", "retry", "2").returncode == 0
    assert effects(dead) == ["pay", "pay", "tell 5", "tell 5"]


def test_what_cannot_be_decided_is_refused(dead: Deck) -> None:
    for args, told in (
        (("1", "--took-effect", "7", "--again"), "exclude each other"),
        (("1", "2", "--took-effect", '{"receipt": 9}'), "takes one dead letter"),
        (("1", "--took-effect", "a receipt"), "pay cannot have returned this value"),
    ):
        refused = dead("letters", "retry", *args)
        assert refused.returncode == 2, refused.stderr
        assert told in refused.stderr
    assert dead("letters", "retry", "1", "--again").returncode == 0
    refused = dead("letters", "retry", "2", "--again")
    assert refused.returncode == 2
    assert "letter 2 has nothing to decide" in refused.stderr
    assert effects(dead) == ["pay", "pay", "tell 5"]
