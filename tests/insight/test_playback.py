"""A playback shows at every place what the run showed there."""

from __future__ import annotations

from pathlib import Path

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from agentdeck.engine.launch import Launch, Watch, run
from agentdeck.insight.replay import Playback
from agentdeck.scheduler import events as ev
from agentdeck.views.run_view import RunView
from agentdeck.workflow.loader import loads
from tests.observing import EventCollector
from tests.virtual_clock import LoopClock, virtual

DEFINITION = loads(
    """
agentdeck: 1
name: w
defaults: { retry: { attempts: 2, delay: 1s } }
agents:
  a: { simulate: { takes: 2s, jitter: 50% } }
  b: { needs: a, simulate: { takes: 1s, fails: 40% } }
  c: { needs: b, simulate: 1s }
"""
).definition


def recorded() -> list[tuple[int, ev.Event]]:
    collector = EventCollector()

    async def main() -> None:
        launch = Launch(DEFINITION, tasks=[{}] * 12, workers=3, folder=Path())
        await run(launch, Watch([collector]), LoopClock())

    anyio.run(main, backend_options=virtual())
    return collector.numbered


LOG = recorded()


def shown(view: RunView) -> object:
    return view.seq, view.state, view.steps(), view.tasks.done, view.letters, sorted(view.running), view.seconds


def folded(count: int) -> object:
    view = RunView(DEFINITION)
    for seq, event in LOG[:count]:
        view.apply(seq, event)
    return shown(view)


@settings(max_examples=settings().max_examples // 2)
@given(st.lists(st.one_of(st.integers(-30, 30), st.floats(-1, 60)), max_size=8))
def test_wherever_it_goes_it_shows_what_was_there(moves: list[int | float]) -> None:
    playback = Playback(DEFINITION, LOG)
    for move in moves:
        if isinstance(move, int):
            playback.step(move)
        else:
            playback.seek(LOG[0][1].at + move)
        while not playback.settled:
            playback.fold(0.0)
        assert shown(playback.view) == folded(playback.index)


def test_it_plays_at_its_speed_and_stops_at_the_end() -> None:
    playback = Playback(DEFINITION, LOG)
    playback.advance(1.0)
    assert playback.target == 0
    playback.playing = True
    playback.faster(+1)
    playback.advance(1.0)
    playback.fold(1.0)
    assert playback.now - playback.begin == 2.0
    assert playback.view.now <= playback.now < LOG[playback.index][1].at
    playback.advance(1e6)
    playback.fold(1.0)
    assert (playback.playing, playback.index) == (False, len(LOG))
    assert playback.view.state in ("done", "failed")


def test_it_jumps_from_mark_to_mark() -> None:
    playback = Playback(DEFINITION, LOG)
    kinds = []
    while mark := playback.jump(+1):
        kinds.append(mark.kind)
        playback.fold(1.0)
        assert playback.view.seq == LOG[mark.place - 1][0]
    assert kinds == [mark.kind for mark in playback.marks]
    assert {"retry", "failed"} == set(kinds)
    assert playback.jump(-1) == playback.marks[-2]


def test_nothing_recorded() -> None:
    playback = Playback(None, [])
    playback.step(1)
    playback.seek(5)
    assert playback.fold(1.0) == 0
    assert playback.jump(1) is None
    assert playback.at_end
