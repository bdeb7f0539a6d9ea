"""kill -9 at every named point and at random moments: resumed, a run ends as one that nobody killed."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from agentdeck.core import events as ev
from agentdeck.store.faultpoint import POINTS
from agentdeck.store.reader import Reader

TASKS = 6
WORK = """
agentdeck: 1
name: work
inputs: { n: integer }
defaults: { retry: { attempts: 12, delay: 5ms } }
agents:
  a: { command: [sh, -c, 'echo "a $1" >> effects; echo $1', sh, "${inputs.n}"] }
  pay:
    once: "pay-${inputs.n}"
    command: [sh, -c, 'echo "pay $1" >> effects; echo paid $1', sh, "${a}"]
  flaky: { needs: a, simulate: { takes: 5ms, fails: 20%, returns: "${inputs.n * 2}" } }
  notes: { needs: a, each: "[1, 2]", simulate: { takes: 5ms, returns: "${item * inputs.n}" } }
  first: { needs: [flaky, notes], join: any, simulate: { takes: 5ms, returns: 1 } }
  end: { needs: [pay, flaky, notes, first], command: [sh, -c, 'echo "end $1" >> effects; echo done', sh, "${a}"] }
output: { pay: "${pay}", flaky: "${flaky}", notes: "${notes}", end: "${end}" }
"""
#: What a run that nobody kills gives.
OUTPUTS = {
    str(n + 1): {"pay": f"paid {n}", "flaky": n * 2, "notes": [n, n * 2], "end": "done"} for n in range(TASKS)
}


class Victim:
    """One run in a folder, and everything that is done to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = folder / "k.db"
        self.kills = 0
        (folder / "w.yaml").write_text(WORK)
        (folder / "t.jsonl").write_text("".join(json.dumps({"n": n}) + "\n" for n in range(TASKS)))

    def start(self, *args: str, fault: str = "") -> subprocess.Popen[bytes]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("AGENTDECK_")}
        env["AGENTDECK_FAULT"] = fault
        call = [sys.executable, "-m", "agentdeck.cli.main", *args, "--db", "k.db"]
        return subprocess.Popen(
            call, cwd=self.folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def run(self, *args: str, fault: str = "") -> int:
        code = self.start(*args, fault=fault).wait(60)
        self.kills += code == -signal.SIGKILL
        return code

    def begin(self, fault: str = "") -> int:
        return self.run("run", "w.yaml", "--tasks", "t.jsonl", "--workers", "4", fault=fault)

    def state(self) -> str:
        reader = Reader(self.db)
        try:
            rows = reader.runs(1)
            return rows[0].state if rows else ""
        finally:
            reader.close()

    def finish(self) -> None:
        """Resume to the end. What may have taken effect is left to a person, who has looked and says: again."""
        if self.state() == "interrupted":
            self.run("resume", "last")
        reader = Reader(self.db)
        for letter in reader.letters(state="open"):
            assert letter.fault.kind == "unknown"
            self.unknown += 1
            self.run("letters", "retry", str(letter.id))
        reader.close()

    unknown = 0

    def check(self) -> None:
        """As if nobody had killed it."""
        reader = Reader(self.db)
        row = reader.runs(1)[0]
        assert row.state == "done"
        assert row.tasks.done == TASKS
        events = [event for _, event in reader.events(row.run)]
        reader.close()
        assert {e.task: e.output for e in events if isinstance(e, ev.TaskEnded) and e.state == "done"} == OUTPUTS
        succeeded = [(e.task, e.step) for e in events if isinstance(e, ev.StepSucceeded)]
        assert len(succeeded) == len(set(succeeded)), "no recorded result is made again"
        lines = Counter((self.folder / "effects").read_text().splitlines())
        attempts = Counter((e.step, e.task) for e in events if isinstance(e, ev.StepStarted))
        for n in range(TASKS):
            for step in ("a", "end"):
                assert 1 <= lines[f"{step} {n}"] <= attempts[step, str(n + 1)] + self.kills
        assert TASKS <= sum(lines[f"pay {n}"] for n in range(TASKS)) <= TASKS + self.unknown
        with sqlite3.connect(self.db) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        database.close()


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_named_point(tmp_path: Path, point: str) -> None:
    victim = Victim(tmp_path)
    early = point in ("lease.taken", "resume.folded")
    number = 1 if point.startswith(("run.", "lease", "resume")) else 4
    victim.begin("attempt.started:5" if early else f"{point}:{number}")
    if early:
        victim.run("resume", "last", fault=f"{point}:1")
    assert victim.kills == 1 + early, "it was killed there"
    assert victim.state() == "interrupted"
    before = (
        Counter((tmp_path / "effects").read_text().splitlines()) if (tmp_path / "effects").exists() else Counter()
    )
    assert max((count for line, count in before.items() if line.startswith("pay")), default=1) == 1
    victim.finish()
    victim.check()


def test_killed_again_and_again(tmp_path: Path) -> None:
    victim = Victim(tmp_path)
    for seed in range(4):
        torment(victim, random.Random(seed), first=not victim.state())
    if not victim.state():
        victim.begin()
    victim.finish()
    victim.check()


def torment(victim: Victim, chance: random.Random, *, first: bool) -> None:
    """Run or resume it, and kill it at some moment, or at a named point."""
    if not first and victim.state() != "interrupted":
        return
    args = ["run", "w.yaml", "--tasks", "t.jsonl", "--workers", "4"] if first else ["resume", "last"]
    if chance.random() < 0.5:
        victim.run(*args, fault=f"{chance.choice(POINTS)}:{chance.randint(1, 12)}")
        return
    process = victim.start(*args)
    time.sleep(chance.uniform(0.25, 0.65))
    process.kill()
    victim.kills += process.wait() == -signal.SIGKILL


@pytest.mark.soak
def test_nothing_differs_after_ten_minutes_of_kills(tmp_path: Path) -> None:
    """AGENTDECK_SOAK: for how many seconds."""
    end = time.monotonic() + float(os.environ.get("AGENTDECK_SOAK", "600"))
    number = kills = 0
    while time.monotonic() < end:
        folder = tmp_path / str(number)
        folder.mkdir()
        victim, chance = Victim(folder), random.Random(number)
        for turn in range(chance.randint(1, 6)):
            torment(victim, chance, first=turn == 0 or not victim.state())
        if not victim.state():
            victim.begin()
        victim.finish()
        victim.check()
        number, kills = number + 1, kills + victim.kills
    print(f"{number} runs, {kills} kills, no difference")
