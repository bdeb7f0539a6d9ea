"""Events come out whole, wherever the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdeck.errors import StepError
from agentdeck.providers.sse import EventStreamParser

LINES = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)


@given(
    st.lists(st.lists(LINES, min_size=1, max_size=3), max_size=5),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["", "\ufeff"]),
    st.data(),
)
def test_events_do_not_depend_on_where_bytes_are_cut(
    events: list[list[str]], end: str, mark: str, data: st.DataObject
) -> None:
    text = mark + "".join(
        f": comment{end}event: x{end}" + "".join(f"data: {line}{end}" for line in event) + end for event in events
    )
    sent = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=10)))
    reader, found = EventStreamParser("it"), []
    for start, stop in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        found += reader.feed(sent[start:stop])
    assert found + reader.end() == ["\n".join(event) for event in events]


def test_an_event_without_its_blank_line_counts_at_the_end() -> None:
    reader = EventStreamParser("it")
    assert reader.feed(b"data:one\n\ndata: two") == ["one"]
    assert reader.end() == ["two"]


@pytest.mark.parametrize("flood", [b"x" * 100, b"data: xxxxxxxx\n" * 10, b"data: " + b"x" * 99 + b"\n"])
def test_an_event_is_bounded(flood: bytes) -> None:
    reader = EventStreamParser("it", most=64)
    for _ in range(3):
        reader.feed(b"data: " + b"y" * 50 + b"\n\n")
    with pytest.raises(StepError, match=r"it sent more than .* MB in one event"):
        list(map(reader.feed, (flood[at : at + 1] for at in range(len(flood)))))
