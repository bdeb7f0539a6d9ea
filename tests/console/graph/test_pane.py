from __future__ import annotations

import anyio
import pytest
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.pilot import Pilot

from agentdeck.console.graph.pane import GraphPane
from agentdeck.console.pane import Selection, SelectionChanged
from agentdeck.workflow.model import Definition
from tests.console.graph.shapes import ORDER, Story, definition, fan, layered, with_spare


class Watched(GraphPane):
    """Tells what it was asked to repaint."""

    def __init__(self, of: Definition) -> None:
        super().__init__(of)
        self.asked: list[Region] = []

    def refresh(
        self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False
    ) -> Watched:
        if hasattr(self, "asked"):
            self.asked += regions or [Region(0, 0, self.size.width, self.size.height)]
        super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)
        return self


class Shown(App[None]):
    def __init__(self, of: Definition) -> None:
        super().__init__()
        self.graph = Watched(of)
        self.told: list[SelectionChanged] = []

    def compose(self) -> ComposeResult:
        yield self.graph

    def on_mount(self) -> None:
        self.graph.focus()

    def on_selection_changed(self, message: SelectionChanged) -> None:
        self.told.append(message)


def painted(pane: GraphPane) -> str:
    return "\n".join(pane.render_line(y).text for y in range(pane.size.height))


async def shown(app: Shown, pilot: Pilot[None], story: Story, now: float) -> GraphPane:
    await pilot.pause()
    app.graph.tick(story.view, now)
    await pilot.pause()
    return app.graph


def run(check: object) -> None:
    anyio.run(check)  # type: ignore[arg-type]


def test_before_a_run_it_tells_what_each_agent_does() -> None:
    async def check() -> None:
        app = Shown(definition(ORDER))
        async with app.run_test(size=(120, 30)) as pilot:
            await pilot.pause()
            assert "◇ extract" in painted(app.graph)
            assert "simulated 1s" in painted(app.graph)

    run(check)


def test_it_shows_states_counts_and_progress() -> None:
    async def check() -> None:
        app, story = Shown(definition(ORDER)), Story(definition(ORDER), 3)
        for task in "12":
            story.start("extract", 1.0, task)
        story.end("extract", 2.0, "1")
        async with app.run_test(size=(120, 30)) as pilot:
            pane = await shown(app, pilot, story, 2.0)
            assert pane.level == "boxes"
            assert "●1 ✓1" in painted(pane)
            assert "━━━━━" in painted(pane)

    run(check)


def test_the_arrows_walk_along_the_edges() -> None:
    async def check() -> None:
        app, story = Shown(definition(ORDER)), Story(definition(ORDER))
        async with app.run_test(size=(120, 30)) as pilot:
            await shown(app, pilot, story, 1.0)
            await pilot.press("right", "right", "down", "right", "left", "up", "left", "enter")
            await pilot.pause()
            walked = [message.selection.agent for message in app.told]
            assert walked[:4] == ["extract", "inventory", "shipping", "confirm"]
            assert walked[-1] == "extract"
            assert [message.opened for message in app.told] == [False] * (len(walked) - 1) + [True]
            assert "┏" in painted(app.graph)

    run(check)


def test_the_mouse_selects_and_opens() -> None:
    async def check() -> None:
        app, story = Shown(definition(ORDER)), Story(definition(ORDER))
        async with app.run_test(size=(120, 30)) as pilot:
            app.graph.styles.border = ("round", "white")
            pane = await shown(app, pilot, story, 1.0)
            rows = painted(pane).splitlines()
            y = next(y for y, row in enumerate(rows) if "╰" in row)
            # The last cell of the box, counted from the pane's own border.
            await pilot.click(pane, offset=(rows[y].index("╯") + 1, y + 1), times=2)
            await pilot.pause()
            assert {message.selection.agent for message in app.told} == {"payment"}
            assert app.told[-1].opened

    run(check)


def test_it_follows_what_others_look_at_without_telling() -> None:
    async def check() -> None:
        app, story = Shown(definition(ORDER)), Story(definition(ORDER))
        async with app.run_test(size=(120, 30)) as pilot:
            pane = await shown(app, pilot, story, 1.0)
            pane.show_selection(Selection(agent="confirm/nested"))
            assert pane.selected == "confirm"
            pane.show_selection(Selection())
            assert pane.selected == ""
            await pilot.pause()
            assert app.told == []

    run(check)


def test_a_tick_repaints_only_what_changed() -> None:
    async def check() -> None:
        app, story = Shown(definition(ORDER)), Story(definition(ORDER))
        async with app.run_test(size=(120, 30)) as pilot:
            pane = await shown(app, pilot, story, 1.0)
            app.graph.asked.clear()
            pane.tick(story.view, 1.1)
            assert app.graph.asked == []
            story.start("extract", 1.2)
            pane.tick(story.view, 1.2)
            (part,) = app.graph.asked
            assert part.height == 4
            assert part.width < 40

    run(check)


def test_results_light_up_the_edges_for_a_moment() -> None:
    async def check() -> None:
        app, story = Shown(definition(ORDER)), Story(definition(ORDER))
        async with app.run_test(size=(120, 30)) as pilot:
            pane = await shown(app, pilot, story, 1.0)

            def heads() -> set[object]:
                lines = [pane.render_line(y) for y in range(pane.size.height)]
                return {part.style.color for line in lines for part in line if "▸" in part.text and part.style}

            calm = heads()
            story.start("extract", 1.1)
            story.end("extract", 1.2)
            pane.tick(story.view, 1.2)
            assert heads() - calm
            pane.tick(story.view, 3.0)
            assert heads() == calm

    run(check)


def test_the_critical_path_is_heavy_and_slack_is_shown_on_demand() -> None:
    async def check() -> None:
        of = definition(ORDER, {"payment": 5.0})
        app, story = Shown(of), Story(of)
        async with app.run_test(size=(120, 30)) as pilot:
            pane = await shown(app, pilot, story, 1.0)
            assert (
                "━▸"
                in painted(pane).splitlines()[
                    [("payment" in row) for row in painted(pane).splitlines()].index(True)
                ]
            )
            assert "+4.0s" not in painted(pane)
            await pilot.press("s")
            pane.tick(story.view, 1.1)
            assert "+4.0s" in painted(pane)
            assert "critical" in painted(pane)

    run(check)


def test_zoom_goes_through_all_levels_and_back() -> None:
    async def check() -> None:
        app, story = Shown(definition(ORDER)), Story(definition(ORDER))
        async with app.run_test(size=(120, 30)) as pilot:
            pane = await shown(app, pilot, story, 1.0)
            seen = [pane.level]
            for key in ("minus", "minus", "minus", "minus", "plus", "0"):
                await pilot.press(key)
                pane.tick(story.view, 1.0)
                seen.append(pane.level)
                assert painted(pane).strip()
            assert seen == ["boxes", "chips", "groups", "map", "map", "groups", "boxes"]

    run(check)


def test_what_does_not_fit_is_drawn_smaller() -> None:
    async def check() -> None:
        for needs, size, level in [
            (ORDER, (80, 24), "boxes"),
            (fan(20), (80, 24), "chips"),
            (fan(1000), (160, 48), "groups"),
            (layered(100, 30), (80, 24), "map"),
        ]:
            app, story = Shown(definition(needs)), Story(definition(needs))
            async with app.run_test(size=size) as pilot:
                pane = await shown(app, pilot, story, 1.0)
                assert pane.level == level
                assert pane.virtual_size.width == size[0]

    run(check)


def test_a_long_chain_is_broken_like_a_line() -> None:
    async def check() -> None:
        needs = {f"step{i}": [f"step{i - 1}"] if i else [] for i in range(30)}
        app, story = Shown(definition(needs)), Story(definition(needs))
        async with app.run_test(size=(120, 40)) as pilot:
            pane = await shown(app, pilot, story, 1.0)
            drawn = painted(pane)
            assert all(name in drawn for name in needs)
            pane.show_selection(Selection(agent="step29"))
            assert "┏" in painted(pane)
            rows = painted(pane).splitlines()
            y = next(y for y, row in enumerate(rows) if "step17" in row)
            await pilot.click(pane, offset=(rows[y].index("step17"), y))
            await pilot.pause()
            assert app.told[-1].selection.agent == "step17"

    run(check)


def test_the_selected_node_is_brought_into_sight() -> None:
    async def check() -> None:
        needs = fan(120)
        app, story = Shown(definition(needs)), Story(definition(needs))
        async with app.run_test(size=(80, 24)) as pilot:
            pane = await shown(app, pilot, story, 1.0)
            pane._wanted = "chips"
            pane.tick(story.view, 1.0)
            await pilot.pause()
            pane.show_selection(Selection(agent="m118"))
            await pilot.pause()
            assert "m118" in painted(pane)

    run(check)


def test_it_stays_with_what_runs_until_the_operator_moves() -> None:
    async def check() -> None:
        needs = fan(120)
        app, story = Shown(definition(needs)), Story(definition(needs))
        async with app.run_test(size=(80, 24)) as pilot:
            pane = await shown(app, pilot, story, 1.0)
            await pilot.press("minus", "plus")
            pane.tick(story.view, 1.0)
            await pilot.press("plus")
            pane.tick(story.view, 1.0)
            await pilot.pause()
            assert pane.level == "chips"
            story.start("m90", 1.0)
            pane.tick(story.view, 1.1)
            assert "m90" in painted(pane)
            pane.scroll_to(y=0, animate=False, immediate=True)
            pane.tick(story.view, 1.2)
            assert "m90" not in painted(pane)

    run(check)


def test_ten_thousand_steps_are_drawn_as_a_map() -> None:
    async def check() -> None:
        needs = layered(100, 100)
        of = definition(needs)
        app, story = Shown(of), Story(of)
        for name in list(needs)[:50]:
            story.start(name, 1.0)
        async with app.run_test(size=(160, 48)) as pilot:
            pane = await shown(app, pilot, story, 1.0)
            assert pane.level == "map"
            assert painted(pane).count("▀") == 5000
            assert "running 50" in painted(pane)
            await pilot.press("down", "right")
            assert app.graph.selected.startswith("l1_")

    run(check)


def test_a_map_grows_with_the_tasks_and_zoom_forgets_what_glowed() -> None:
    async def check() -> None:
        app, story = Shown(definition(fan(5))), Story(definition(fan(5)))
        async with app.run_test(size=(100, 30)) as pilot:
            pane = await shown(app, pilot, story, 1.0)
            story.start("m3", 1.0)
            story.end("m3", 1.1)
            pane.tick(story.view, 1.1)
            for _ in range(2):
                await pilot.press("minus")
                pane.tick(story.view, 1.2)
            assert "m ×5" in painted(pane)
            await pilot.press("minus")
            pane.tick(story.view, 1.3)
            few = painted(pane).count("▀")
            more = Story(definition(fan(5)), tasks=50)
            for now in (1.4, 1.5):
                pane.tick(more.view, now)
            assert painted(pane).count("▀") > 10 * few

    run(check)


def test_a_spare_agent_tells_when_it_stood_in() -> None:
    async def check() -> None:
        app, story = Shown(with_spare()), Story(with_spare())
        async with app.run_test(size=(100, 24)) as pilot:
            pane = await shown(app, pilot, story, 1.0)
            assert "spare" in painted(pane)
            assert "┄" in painted(pane)

    run(check)


@pytest.mark.parametrize("theme", ["textual-light", "ansi-dark"])
def test_every_theme_draws_it(theme: str) -> None:
    async def check() -> None:
        app, story = Shown(definition(fan(100))), Story(definition(fan(100)))
        app.theme = theme
        async with app.run_test(size=(100, 24)) as pilot:
            pane = await shown(app, pilot, story, 1.0)
            assert "m ×100" in painted(pane)

    run(check)
