"""kill -9 at every named point, around every commit and at random moments: resumed, a run ends as one that nobody
killed."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agentdeck.scheduler.events import Author
from agentdeck.store.commands import put_command
from agentdeck.store.fault_point import POINTS
from agentdeck.store.reader import Reader
from agentdeck.store.writer import Writer
from tests.engine.victim import Victim, torment

#: At once, where there are hundreds.
SIDE_BY_SIDE = 4
MOMENTS = 200


def test_a_run_that_nobody_kills(tmp_path: Path) -> None:
    """What the others are compared with."""
    victim = Victim(tmp_path)
    assert victim.begin() == 0
    assert victim.kills == victim.unknown == 0
    victim.check()
    assert set(victim.effects().values()) == {1}


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_named_point(tmp_path: Path, point: str) -> None:
    victim = Victim(tmp_path)
    early = point in ("lease.taken", "resume.folded")
    number = 1 if point.startswith(("run.", "lease", "resume", "command")) else 4
    if point.startswith("rates"):
        number = 2  # one transaction for what is reserved together
    victim.begin("attempt.started:5" if early or point.startswith("command") else f"{point}:{number}")
    if early:
        victim.run("resume", "last", fault=f"{point}:1")
    if point.startswith("command"):
        ask_until_it_dies(victim, point)
    assert victim.kills == 1 + (early or point.startswith("command")), "it was killed there"
    assert victim.state() == "interrupted"
    assert max((n for line, n in victim.effects().items() if line.startswith("pay")), default=1) == 1
    victim.finish()
    victim.check()


def ask_until_it_dies(victim: Victim, point: str) -> None:
    """A run that is asked for something, and killed at it. The requests are put into the store directly: the run
    may end before a process for one has started."""
    reader = Reader(victim.db)
    run = reader.runs(1)[0].run
    reader.close()
    writer, ada = Writer(victim.db), Author("ada")
    process = victim.start("resume", "last", fault=f"{point}:1")
    while process.poll() is None:
        asked = writer.call(lambda db: put_command(db, run, "limits", {"workers": 5}, ada, time.time()))
        asked.result(30)
        time.sleep(0.02)
    writer.close()
    victim.kills += process.returncode < 0


def test_killed_again_and_again(tmp_path: Path, loop_path: str) -> None:
    victim, chance = Victim(tmp_path, loop_path), random.Random(7)
    for _ in range(4):
        torment(victim, chance)
    assert victim.kills
    victim.finish()
    victim.check()


def side_by_side(number: int, one: Callable[[int], int]) -> int:
    """So many, some of them at once; the sum of what they give. The first that fails is told."""
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        return sum(pool.map(one, range(number)))


@pytest.mark.soak
def test_killed_before_and_after_every_commit(tmp_path: Path) -> None:
    """Whatever it is that is committed: each in its turn, until a run has no further one."""
    ended: set[str] = set()

    def kill(number: int) -> int:
        point = ("commit.before", "commit.after")[number % 2]
        if point in ended:
            return 0
        victim = Victim(tmp_path / str(number))
        if victim.begin(f"{point}:{number // 2 + 1}") == 0:
            ended.add(point)
        victim.finish()
        victim.check()
        return victim.kills

    kills = side_by_side(400, kill)
    print(f"killed at {kills} commits")
    assert len(ended) == 2
    assert kills > 20


@pytest.mark.soak
def test_killed_at_two_hundred_random_moments(tmp_path: Path) -> None:
    def kill(number: int) -> int:
        victim, chance = Victim(tmp_path / str(number)), random.Random(number)
        while victim.kills < 4 and (victim.kills == 0 or victim.state() == "interrupted"):
            torment(victim, chance)
            if victim.state() == "done" and not victim.kills:
                return 0
        victim.finish()
        victim.check()
        return victim.kills

    kills, begun = 0, 0
    while kills < MOMENTS:
        kills += side_by_side(SIDE_BY_SIDE * 4, lambda number, begun=begun: kill(begun + number))  # type: ignore[misc]
        begun += SIDE_BY_SIDE * 4
    print(f"{kills} kills of {begun} runs, no difference")


@pytest.mark.soak
def test_nothing_differs_after_ten_minutes_of_kills(tmp_path: Path) -> None:
    """AGENTDECK_SOAK: for how many seconds."""
    end = time.monotonic() + float(os.environ.get("AGENTDECK_SOAK", "600"))
    runs = kills = 0

    def kill(number: int) -> int:
        victim, chance = Victim(tmp_path / str(number)), random.Random(number)
        for _ in range(chance.randint(1, 6)):
            torment(victim, chance)
        victim.finish()
        victim.check()
        return victim.kills

    while time.monotonic() < end:
        kills += side_by_side(SIDE_BY_SIDE * 2, lambda number, runs=runs: kill(runs + number))  # type: ignore[misc]
        runs += SIDE_BY_SIDE * 2
    print(f"{runs} runs, {kills} kills, no difference")
