from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from agentdeck.agents.simulate import Simulate
from agentdeck.console.graph.canvas import CellRow, box, box_height, chip, counts, named
from agentdeck.console.graph.card import Card, InnerRow, seconds
from agentdeck.console.graph.nodes import Node, edges_of, fold, nodes_of
from agentdeck.console.graph.scene import draw_text
from agentdeck.console.graph.status_map import StatusMap
from agentdeck.console.line_widget import fit
from agentdeck.views.agent_totals import DISPLAY_STATES
from agentdeck.workflow import graph
from agentdeck.workflow.model import Agent, Definition
from tests.console.graph.shapes import ORDER, Needs, definition, fan, layered, with_spare

HOSTILE = [
    "\x1b[2J\x1b]0;owned\x07evil",
    "[red]boom[/red]",
    "支払い処理エージェント",
    "🚀 launch 🚀",
    "a\u202eb\nc",
    "x" * 300,
]


def text(row: CellRow) -> str:
    return "".join(part for part, _ in row)


def card(**counts: int) -> Card:
    numbers = tuple(counts.get(state, 0) for state in DISPLAY_STATES)
    return Card("running", numbers, sum(numbers), "1.2s")


def node_of(name: str) -> Node:
    return nodes_of(Definition("w", {name: Agent(name, Simulate())}))[name]


inner_rows = st.builds(
    InnerRow,
    st.integers(0, 40),
    st.sampled_from(["check", "支払い処理エージェント", "x" * 80, "…", ""]),
    st.sampled_from(DISPLAY_STATES),
    st.integers(0, 99_999),
    st.integers(0, 99_999),
    st.sampled_from(["", "999ms"]),
)
cards = st.one_of(
    st.none(),
    st.builds(
        Card,
        st.sampled_from(DISPLAY_STATES),
        st.tuples(*[st.integers(0, 99_999)] * len(DISPLAY_STATES)),
        st.integers(1, 10**6),
        st.sampled_from(["", "999ms", "12s"]),
        st.sampled_from(["", "+1.2s", "critical"]),
        st.integers(0, 2000),
        inside=st.sampled_from(["", "▸", "▾"]),
        now=st.sampled_from(["", "model", "支払い処理エージェント +12", "x" * 80]),
        inner=st.lists(inner_rows, max_size=12).map(tuple),
    ),
)


def test_where_it_failed_stands_out_and_what_came_of_it_does_not() -> None:
    for spoilt, role in ((2, "dim"), (1, "failed")):
        said = card(done=5, failed=2)._replace(spoilt=spoilt)
        assert ("✗2", role) in [(text.strip(), role) for text, role in counts(node_of("a"), said, 30)]
        assert ("✗2", role) in [(text.strip(), role) for text, role in chip(node_of("a"), said, 40)]


@given(
    st.one_of(st.sampled_from(HOSTILE), st.text(min_size=1, max_size=40)),
    cards,
    st.integers(16, 40),
    st.booleans(),
)
def test_every_row_is_as_wide_as_asked_for(name: str, what: Card | None, width: int, selected: bool) -> None:
    node = node_of(name)
    for height in {4, box_height(node, what, width, 12)}:
        rows = box(node, what, width, height, selected=selected)
        assert len(rows) == height
        assert {cell_len(text(row)) for row in rows} == {width}
    assert cell_len(text(chip(node, what, width, selected=selected))) == width


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_cannot_do_anything(name: str) -> None:
    drawn = "".join(text(row) for row in box(node_of(name), card(running=1), 24, 4))
    assert not any(sign in drawn for sign in "\x1b\x07\u202e\n")


def test_counts_are_told_in_signs_and_the_failed_ones_stay() -> None:
    full = card(waiting=7, ready=3, running=2, done=118, failed=1)
    assert "·7 ○3 ●2 ✓118 ✗1" in text(box(node_of("a"), full, 26, 4)[2])
    assert "✗1" in text(box(node_of("a"), full, 16, 4)[2])


def test_the_lower_border_is_the_progress() -> None:
    lower = box(node_of("a"), card(done=5, failed=1, waiting=4), 22, 4)[-1]
    assert [(len(part), role) for part, role in lower[1:-1]] == [(10, "done"), (2, "failed"), (8, "wire")]


def test_one_step_is_told_by_its_word() -> None:
    assert "running" in text(box(node_of("a"), card(running=1), 20, 4)[2])


def test_alike_names_stay_apart() -> None:
    assert named("mutation_overlap_ID0000025", 14) != named("mutation_overlap_ID0000026", 14)
    assert cell_len(named("支払い処理エージェント", 9)) == 9
    assert fit("支払い", 4) == "支 …"


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.0004, "0ms"), (0.9994, "999ms"), (1.24, "1.2s"), (9.96, "10s"), (150, "2m"), (9000, "2h")],
)
def test_durations_are_short(value: float, told: str) -> None:
    assert seconds(value) == told


def test_alike_neighbours_are_one_group() -> None:
    needs: Needs = {
        "start": [],
        **{f"fetch_{i}": ["start"] for i in range(12)},
        "end": [f"fetch_{i}" for i in range(12)],
    }
    of = definition(needs)
    rank = {name: number for number, row in enumerate(graph.levels(needs)) for name in row}
    nodes, edges = fold(nodes_of(of), edges_of(of), rank)
    assert list(nodes) == ["start", "fetch_0", "end"]
    assert nodes["fetch_0"].label == "fetch"
    assert len(nodes["fetch_0"].members) == 12
    assert edges == {"start": [], "fetch_0": ["start"], "end": ["fetch_0"]}


def test_a_spare_agent_stands_behind_the_one_it_helps() -> None:
    of = with_spare()
    assert edges_of(of)["linter"] == ("style",)
    assert any("┄" in line for line in draw_text(of, 80))


def test_a_preview_fits_and_says_what_each_agent_does() -> None:
    lines = draw_text(definition(ORDER), 80)
    drawn = "\n".join(lines)
    assert all(f"◇ {name}" in drawn for name in ORDER)
    assert "simulated 1s" in drawn
    assert max(map(cell_len, lines)) <= 80


@pytest.mark.parametrize(
    "needs", [fan(1000), layered(30, 30), {f"c{i}": [f"c{i - 1}"] if i else [] for i in range(99)}]
)
def test_a_preview_never_grows_beyond_its_room(needs: Needs) -> None:
    lines = draw_text(definition(needs), 60, 20)
    assert 0 < len(lines) <= 20
    assert max(map(cell_len, lines)) <= 60


def test_a_group_is_as_high_as_its_agents_need() -> None:
    group = Node("a", "a", "group", tuple(f"a{i}" for i in range(100)))
    height = box_height(group, Card(), 24, 12)
    states = tuple("done" if i % 2 else "failed" for i in range(100))
    rows = box(group, Card("failed", members=states), 24, height)
    assert len(rows) == height
    assert sum(part == "▀" for row in rows for part, _ in row) == 50
    plain = box(group, Card("failed", members=states), 24, height, halves=False)
    assert sum(part in "✓✗" for row in plain for part, _ in row[1:-1] if part) >= 60


# The map -------------------------------------------------------------------------------------------------------


def counted(**counts: int) -> dict[str, int]:
    return {state: counts.get(state, 0) for state in DISPLAY_STATES}


def test_a_map_shows_a_cell_for_every_step() -> None:
    nodes = nodes_of(definition({"a": [], "b": ["a"]}))
    drawn = StatusMap(nodes, {"a": [], "b": ["a"]}, {"a": 60, "b": 60}, 80, 10)
    drawn.set_counts("a", counted(done=30, failed=10, running=20))
    cells = [
        role for y in range(drawn.height) for part, role in drawn.row(y, 0, 80)[1] for sign in part if sign == "▀"
    ]
    shown = [half for role in cells for half in role.split("/") if half]
    assert {state: shown.count(state) for state in ("done", "failed", "running")} == {
        "done": 30,
        "failed": 10,
        "running": 20,
    }


def test_a_map_without_colours_shows_signs() -> None:
    nodes = nodes_of(definition({"a": [], "b": ["a"]}))
    drawn = StatusMap(nodes, {"a": [], "b": ["a"]}, {"a": 5, "b": 5}, 80, 10, halves=False)
    drawn.set_counts("a", counted(done=2, failed=1, running=1, ready=1))
    assert "✓✓✗●○" in "".join(text(tuple(drawn.row(y, 0, 80)[1])) for y in range(drawn.height))


def test_every_agent_of_a_map_is_found_where_it_is_drawn() -> None:
    needs = layered(20, 20)
    drawn = StatusMap(nodes_of(definition(needs)), needs, {}, 80, 20)
    assert drawn.width <= 80
    assert drawn.height <= 20
    found = {drawn.node_at(x, y) for y in range(drawn.height) for x in range(drawn.width)}
    assert found - {""} <= set(needs)
    left, top, _, _ = drawn.region_of("l3_4")
    assert drawn.node_at(left, top)
    assert drawn.set_counts("l3_4", counted(running=1)) == {top}
    assert drawn.set_counts("l3_4", counted(running=1)) == set()
