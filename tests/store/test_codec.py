"""Every event comes back from its row as it was."""

from __future__ import annotations

import json
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentdeck.errors import Fault, StoreError
from agentdeck.scheduler.events import AttemptFailed, Event, StepStarted, StepSucceeded, TaskEnded, TaskOpened
from agentdeck.store import codec
from agentdeck.workflow.model import Data

words = st.text(max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False)
data = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


def value_of(hint: Any) -> st.SearchStrategy[Any]:
    if hint is Data:
        return data | st.text(min_size=600, max_size=700)
    if hint is str:
        return words
    if hint is float:
        return numbers
    args: tuple[Any, ...] = getattr(hint, "__args__", ())
    origin = getattr(hint, "__origin__", None)
    if origin is dict:
        return st.dictionaries(words, value_of(args[1]), max_size=3)
    if origin is tuple and args[-1] is Ellipsis:
        return st.lists(value_of(args[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(value_of, args))
    if args:
        return st.one_of(*map(value_of, args))
    if hasattr(hint, "_fields"):
        return record_of(hint)
    return st.from_type(hint)


def record_of(kind: type[Any]) -> st.SearchStrategy[Any]:
    return st.builds(kind, **{name: value_of(hint) for name, hint in get_type_hints(kind).items()})


def there_and_back(event: Event, results: codec.LargeValues | None) -> Event:
    kind, task, step, text, result = codec.encode(event, results)
    for column in (kind, task, step, text):
        column.encode()
    large = {key: value for key, value, _ in (results.rows if results else ())}
    value = json.loads(large[result]) if result else None
    return codec.decode(event.at, kind, task, step, text, value, result is not None)


@pytest.mark.parametrize("kind", codec.EVENTS, ids=lambda kind: kind.__name__)
@settings(max_examples=settings().max_examples // 5)
@given(drawn=st.data())
def test_every_event_comes_back_equal(kind: type[Any], drawn: st.DataObject) -> None:
    event = drawn.draw(record_of(kind))
    for results in (None, codec.LargeValues()):
        again = there_and_back(event, results)
        assert again == event
        assert type(again) is type(event)
        for was, now in zip(event, again, strict=True):
            assert type(was) is type(now)


def test_defaults_are_left_out_and_columns_are_not_repeated() -> None:
    assert codec.encode(StepStarted(1.5, "t1", "a", "b", 2, 1.25)) == (
        "step_started",
        "t1",
        "a",
        '{"agent":"b","attempt":2,"waited":0.25}',
        None,
    )


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (StepStarted(1.5, "1", "a", "a", 1, 1.5), "{}"),
        (StepStarted(1.5, "1", "a[3]", "a", 1, 1.5), "{}"),
        (StepStarted(1796132921.7445138, "1", "a", "a", 1, 1796132921.7002838), '{"waited":0.04423}'),
        (StepStarted(1.5, "1", "a", "a", 1, 1e-9), '{"ready":1e-9}'),
        (StepSucceeded(1.5, "1", "a", 1, 7), '{"output":7}'),
    ],
)
def test_what_follows_from_the_row_is_left_out(event: Event, data: str) -> None:
    kind, task, step, text, _ = codec.encode(event)
    assert text == data
    assert codec.decode(event.at, kind, task, step, text) == event


def test_rows_of_older_versions_have_it() -> None:
    row = (1.5, "step_started", "1", "a", '{"agent":"a","attempt":1,"ready":1.25,"waits":{"pool":0.25}}')
    assert codec.decode(*row) == StepStarted(1.5, "1", "a", "a", 1, 1.25, {"pool": 0.25})


def test_large_values_are_stored_once_by_hash() -> None:
    results = codec.LargeValues()
    first = codec.encode(StepSucceeded(1.0, "t1", "a", 1, {"x": "y" * 600}), results)
    other = codec.encode(TaskOpened(1.0, "t2", {"x": "y" * 600}), results)
    assert first[4] == other[4] == results.rows[0][0]
    assert "yyy" not in first[3] + other[3]
    assert codec.encode(StepSucceeded(1.0, "t1", "a", 1, "small"), results)[4] is None


@pytest.mark.parametrize("text", ["y" * 600, 'é"\n' * 300, 'a line\n"' * 20_000, "\ud800" * 70_000])
def test_a_large_text_is_stored_so_too(text: str) -> None:
    results = codec.LargeValues()
    event = StepSucceeded(1.0, "t1", "a", 1, text)
    assert codec.encode(event, results)[3] == "{}"
    assert results.size == len(results.rows[0][1].encode())
    assert there_and_back(event, codec.LargeValues()) == event


def test_an_object_is_encoded_once_for_events_that_follow_each_other() -> None:
    results = codec.LargeValues()
    output = ["y" * 600]
    step = codec.encode(StepSucceeded(1.0, "t1", "a", 1, output), results)
    task = codec.encode(TaskEnded(1.0, "t1", "done", output), results)
    assert step[4] == task[4]
    assert len(results.rows) == 1
    equal = codec.encode(StepSucceeded(1.0, "t2", "a", 1, list(output)), results)
    other = codec.encode(StepSucceeded(1.0, "t2", "b", 1, ["z" * 600]), results)
    assert equal[4] == step[4] != other[4]
    assert results.size == sum(size for _, _, size in results.rows)


def test_lone_surrogates_in_values_come_back() -> None:
    event = StepSucceeded(1.0, "t\ud800", "s", 1, {"k\udcff": "\ud800"})
    assert there_and_back(event, codec.LargeValues()) == event


def test_what_is_no_data_is_replaced_by_a_word_about_it() -> None:
    loop: list[Any] = []
    loop.append(loop)
    for value in (loop, object()):
        again = there_and_back(StepSucceeded(1.0, "t", "s", 1, value), codec.LargeValues())
        assert isinstance(again, StepSucceeded)
        assert "not recordable" in again.output


def test_infinities_come_back() -> None:
    event = StepSucceeded(1.0, "t", "s", 1, [float("inf"), float("-inf")])
    assert there_and_back(event, codec.LargeValues()) == event


def test_unknown_kinds_and_fields_say_update() -> None:
    with pytest.raises(StoreError, match=r"telepathy.*update agentdeck"):
        codec.decode(1.0, "telepathy", "", "", "{}")
    with pytest.raises(StoreError, match="update agentdeck"):
        codec.decode(1.0, "step_done", "t", "s", '{"novel":1}')


def test_a_fault_keeps_only_what_it_has() -> None:
    text = codec.encode(AttemptFailed(1.0, "t", "s", 1, Fault("exit", "code 3")))[3]
    assert json.loads(text) == {"fault": {"kind": "exit", "message": "code 3"}}
