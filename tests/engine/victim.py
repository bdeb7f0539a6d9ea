"""A run that is killed with -9 again and again, and what must be true of it all the same."""

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

from agentdeck.scheduler import events as ev
from agentdeck.store.fault_point import POINTS
from agentdeck.store.reader import Reader
from tests.engine.window import worst

ROOT = Path(__file__).parents[2]
TASKS = 6
#: Calls that the provider allows in a second, and at once.
REQUESTS, CONCURRENT = 10, 3
DECK = f"""
agentdeck: 1
limits: {{ workers: 8 }}
providers:
  far: {{ type: simulated, limits: {{ requests: {REQUESTS}/s, concurrent: {CONCURRENT} }} }}
models: {{ m: {{ provider: far, id: m }} }}
tiers: {{ execution: [m] }}
"""
#: Every kind of step and of waiting: effects, `once`, retries, items, a join with a clock, calls that are
#: reserved and paid from a budget, questions to a person that answer themselves after a while.
WORK = """
agentdeck: 1
name: work
inputs: { n: integer }
budget: { tokens: 100k }
defaults: { retry: { attempts: 12, delay: 5ms } }
agents:
  a: { command: [sh, -c, 'echo "a $1" >> effects; echo $1', sh, "${inputs.n}"] }
  pay:
    once: "pay-${inputs.n}"
    command: [sh, -c, 'echo "pay $1" >> effects; echo paid $1', sh, "${a}"]
  flaky: { needs: a, simulate: { takes: 5ms, fails: 20%, returns: "${inputs.n * 2}" } }
  notes: { needs: a, each: "[1, 2]", simulate: { takes: 5ms, returns: "${item * inputs.n}" } }
  first: { needs: [flaky, notes], join: any, simulate: { takes: 5ms, returns: 1 } }
  say: { needs: a, prompt: "Say ${a}", max_output: 30 }
  gate: { needs: flaky, approve: { ask: "Really?", within: 100ms, otherwise: approve } }
  both: { needs: [notes, say], join: { quorum: 2, within: 20s }, simulate: { takes: 5ms, returns: 2 } }
  end:
    needs: [pay, flaky, notes, first, gate, both]
    command: [sh, -c, 'echo "end $1" >> effects; echo done', sh, "${a}"]
output:
  { pay: "${pay}", flaky: "${flaky}", notes: "${notes}", say: "${say}", gate: "${gate.approved}", end: "${end}" }
"""
#: What a run that nobody kills gives.
OUTPUTS = {
    str(n + 1): {"pay": f"paid {n}", "flaky": n * 2, "notes": [n, n * 2], "say": "x", "gate": True, "end": "done"}
    for n in range(TASKS)
}
BEGIN = ("run", "w.yaml", "--tasks", "t.jsonl", "--workers", "6")


class Victim:
    """One run in a folder, and everything that is done to it."""

    def __init__(self, folder: Path, path: str = str(ROOT)) -> None:
        """`path` is the PYTHONPATH of its processes."""
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.path = path
        self.db = folder / "k.db"
        self.kills = 0
        self.unknown = 0
        (folder / "w.yaml").write_text(WORK)
        (folder / "deck.yaml").write_text(DECK)
        (folder / "t.jsonl").write_text("".join(json.dumps({"n": n}) + "\n" for n in range(TASKS)))

    def environment(self, fault: str) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("AGENTDECK_")}
        return env | {"AGENTDECK_FAULT": fault, "PYTHONPATH": self.path}

    def start(self, *args: str, fault: str = "") -> subprocess.Popen[bytes]:
        call = [sys.executable, "-m", "tests.engine.crowd", "calls", *args, "--db", "k.db"]
        with (self.folder / "said").open("ab") as said:
            return subprocess.Popen(
                call, cwd=self.folder, env=self.environment(fault), stdout=subprocess.DEVNULL, stderr=said
            )

    def run(self, *args: str, fault: str = "") -> int:
        code = self.start(*args, fault=fault).wait(60)
        self.kills += code == -signal.SIGKILL
        return code

    def begin(self, fault: str = "") -> int:
        return self.run(*BEGIN, fault=fault)

    def kill_after(self, seconds: float, *args: str) -> None:
        process = self.start(*args)
        time.sleep(seconds)
        process.kill()
        self.kills += process.wait() == -signal.SIGKILL

    def state(self) -> str:
        """Empty where nothing is recorded yet."""
        reader = Reader(self.db)
        try:
            rows = reader.runs(1)
            return rows[0].state if rows else ""
        finally:
            reader.close()

    def finish(self) -> None:
        """Go on to the end. What may have taken effect is left to a person, who has looked and says: again."""
        if not self.state():
            self.begin()
        if self.state() == "interrupted":
            self.run("resume", "last")
        reader = Reader(self.db)
        for letter in reader.letters(state="open"):
            assert letter.fault.kind == "unknown"
            self.unknown += 1
            self.run("letters", "retry", str(letter.id), "--again")
        reader.close()

    def effects(self) -> Counter[str]:
        path = self.folder / "effects"
        return Counter(path.read_text().splitlines() if path.exists() else [])

    def check(self) -> None:
        """As if nobody had killed it."""
        reader = Reader(self.db)
        row = reader.runs(1)[0]
        assert row.state == "done", (self.folder / "said").read_text()
        assert row.tasks.done == TASKS
        events = [event for _, event in reader.events(row.run)]
        reader.close()
        assert {e.task: e.output for e in events if isinstance(e, ev.TaskEnded) and e.state == "done"} == OUTPUTS
        succeeded = [(e.task, e.step) for e in events if isinstance(e, ev.StepSucceeded)]
        assert len(succeeded) == len(set(succeeded)), "no recorded result is made again"
        answered = [(e.task, e.step) for e in events if isinstance(e, ev.StepAnswered)]
        assert sorted(answered) == [(str(n + 1), "gate") for n in range(TASKS)]
        self._check_effects(events)
        self._check_calls(events)
        with sqlite3.connect(self.db) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        database.close()

    def _check_effects(self, events: list[ev.Event]) -> None:
        """Once what is `once`; else at least once, and no more often than it was tried."""
        lines = self.effects()
        attempts = Counter((e.step, e.task) for e in events if isinstance(e, ev.StepStarted))
        for n in range(TASKS):
            for step in ("a", "end"):
                # An attempt that was killed before its start was on disk had its effect, and left no trace.
                assert 1 <= lines[f"{step} {n}"] <= attempts[step, str(n + 1)] + self.kills
        assert TASKS <= sum(lines[f"pay {n}"] for n in range(TASKS)) <= TASKS + self.unknown

    def _check_calls(self, events: list[ev.Event]) -> None:
        """Each was reserved; none of those reserved before the kill was forgotten after it."""
        seen = sorted(float(line.split()[0]) for line in (self.folder / "calls").read_text().splitlines())
        started = sum(isinstance(e, ev.StepStarted) and e.step == "say" for e in events)
        assert TASKS <= len(seen) <= started + self.kills * CONCURRENT
        assert worst([(at, 1) for at in seen], 1.0) <= REQUESTS
        with sqlite3.connect(self.db) as database:
            free = database.execute("SELECT count(*) FROM reservations WHERE released IS NULL").fetchone()
            assert free == (0,), "no slot is held for an attempt that is no more"
        database.close()


def torment(victim: Victim, chance: random.Random) -> bool:
    """Run or resume it, and kill it at a named point or at some moment. Whether it was killed."""
    before, state = victim.kills, victim.state()
    if state not in ("", "interrupted"):
        return False
    args = BEGIN if not state else ("resume", "last")
    if chance.random() < 0.5:
        victim.run(*args, fault=f"{chance.choice(POINTS)}:{chance.randint(1, 10)}")
    else:
        victim.kill_after(chance.uniform(0.2, 1.1), *args)
    return victim.kills > before
