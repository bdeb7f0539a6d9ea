"""Plays runs and prints a hash of the event log of each, to compare schedulers in two processes.

`python -m tests.scheduler.log_hashes < CASES`. The first line is the file of the scheduler. The cases are
pickled: drawn in each process they would differ, since hypothesis takes constants from the modules that it finds.
"""

from __future__ import annotations

import pickle
import sys
from dataclasses import replace
from hashlib import blake2b
from random import Random
from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentdeck.scheduler import scheduler
from agentdeck.workflow.model import Agent
from tests.scheduler.driver import Player, definition
from tests.scheduler.graphs import MODES, Action, Mode, actions, graphs, nested, operate, random_plan, randoms


class Case(NamedTuple):
    """One run. `random` makes its durations and failures; `commit` is how long a commit takes."""

    agents: list[Agent]
    tasks: int
    acts: list[Action]
    random: Random
    commit: float | None
    mode: Mode


def draw_cases(number: int) -> list[Case]:
    """So many random runs, the same each time."""
    cases: list[Case] = []
    fields = (
        graphs(),
        st.integers(1, 5),
        actions(),
        randoms(),
        st.sampled_from((None, 0.3)),
        st.sampled_from(MODES),
    )

    @settings(max_examples=number, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.builds(Case, *fields))
    def draw(case: Case) -> None:
        cases.append(case)

    draw()
    return cases


def log_hash(case: Case) -> str:
    """The hash of the events of a run."""
    made = replace(definition(*case.agents), mode=case.mode)
    below, plan = nested(case.agents), random_plan(case.random)
    player = Player(made, tasks=case.tasks, plan=plan, commit=case.commit, nested=below)
    operate(player, case.acts, case.agents)
    player.play(20_000)
    return blake2b(repr(player.log).encode(), digest_size=8).hexdigest()


if __name__ == "__main__":
    print(scheduler.__file__, *map(log_hash, pickle.load(sys.stdin.buffer)), sep="\n")
