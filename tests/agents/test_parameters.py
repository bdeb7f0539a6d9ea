"""Typed parameters: a function gets what its annotations say, or the step fails and names the value."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import inspect
import subprocess
import sys
import threading
from collections.abc import AsyncIterable, Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Optional, TypedDict

import anyio
import pytest
from pydantic import BaseModel, field_validator

from agentdeck.agents.parameters import annotations_of, converters
from agentdeck.agents.python import Python
from agentdeck.agents.python_runner import PythonVerb
from agentdeck.agents.verb import AttemptContext, WorkflowContext
from agentdeck.errors import Fault, StepError
from agentdeck.workflow.model import Agent, Data, Definition

pytestmark = pytest.mark.anyio


@dataclasses.dataclass
class Line:
    item: str
    count: int = 1


class Doc(BaseModel):
    title: str
    pages: int
    made: datetime.date | None = None
    lines: list[Line] = []

    @field_validator("title")
    @classmethod
    def _named(cls, title: str) -> str:
        assert title != "untitled", "a document needs a title"
        return title


class Colour(enum.Enum):
    RED = "red"


class Keys(TypedDict, total=False):
    count: int


#: Whether each text was validated in the main thread.
IN_MAIN: set[bool] = set()


class Noted(BaseModel):
    text: str

    @field_validator("text")
    @classmethod
    def _note(cls, text: str) -> str:
        IN_MAIN.add(threading.current_thread() is threading.main_thread())
        return text


class Client:
    """No type that data can be converted to."""


async def call(function: Callable[..., Any], **with_: Data) -> Any:
    agent = Agent("a", Python("shop:f"))
    verb = PythonVerb(agent, WorkflowContext(Definition("w", {"a": agent}), Path(), anyio.sleep, {"a": function}))
    scope: dict[str, Data] = {"inputs": {}, "needs": {}, "run": "r", "task": "t"}
    return await verb.run(AttemptContext("r", "t", "a", 1, agent, scope, with_, lambda *_: None, lambda: None))


async def fault(function: Callable[..., Any], **with_: Data) -> Fault:
    with pytest.raises(StepError) as caught:
        await call(function, **with_)
    return caught.value.fault


def both(function: Callable[..., Any]) -> list[Callable[..., Any]]:
    """A function and the same one as a coroutine."""

    @functools.wraps(function)
    async def later(*args: Any, **given: Any) -> Any:
        return function(*args, **given)

    return [function, later]


async def test_a_model_and_a_dataclass_are_made_of_a_map_and_become_one_again() -> None:
    def f(load: Doc, first: Line) -> Any:
        assert isinstance(load, Doc)
        assert isinstance(load.lines[0], Line)
        return [load, dataclasses.replace(first, count=first.count + 1)]

    document = {"title": "Lease", "pages": 3, "made": "2026-01-02", "lines": [{"item": "x"}]}
    for function in both(f):
        assert await call(function, load=document, first={"item": "y"}) == [
            {**document, "lines": [{"item": "x", "count": 1}]},
            {"item": "y", "count": 2},
        ]


@pytest.mark.parametrize(
    ("annotation", "given", "got"),
    [
        (int, 3, 3),
        (int, "3", 3),
        (float, 3, 3.0),
        (bool, True, True),
        (str, "x", "x"),
        (list[int], [1, "2"], [1, 2]),
        (dict[str, float], {"a": 1}, {"a": 1.0}),
        (dict, {"a": 1}, {"a": 1}),
        (Mapping[str, Any], {"a": 1}, {"a": 1}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (set[int], [1, 1], {1}),
        (Optional[int], None, None),  # noqa: UP045
        (int | str, "3", "3"),
        (Line | None, {"item": "x"}, Line("x")),
        (Literal["a", "b"], "a", "a"),
        (Colour, "red", Colour.RED),
        (datetime.datetime, "2026-01-02T03:04:05", datetime.datetime(2026, 1, 2, 3, 4, 5)),
        (datetime.timedelta, "PT5S", datetime.timedelta(seconds=5)),
        (Path, "a/b", Path("a/b")),
        (Keys, {"count": "4"}, {"count": 4}),
        (Any, {"a": 1}, {"a": 1}),
        (object, {"a": 1}, {"a": 1}),
        (Data, {"a": 1}, {"a": 1}),
        (Client, {"a": 1}, {"a": 1}),
    ],
    ids=str,
)
async def test_standard_types(annotation: Any, given: Data, got: Any) -> None:
    def f(x: Any) -> bool:
        return bool(x == got and type(x) is type(got))

    f.__annotations__["x"] = annotation
    assert await call(f, x=given) is True


def whole(x: int) -> Any:
    return x


def drawn(x: Doc) -> Any:
    return x


def listed(x: list[int]) -> Any:
    return x


def coloured(x: Colour) -> Any:
    return x


@pytest.mark.parametrize(
    ("function", "given", "message"),
    [
        (whole, "x", "shop:f needs x: int, and was given 'x': Input should be a valid integer, unable to"),
        (whole, None, "shop:f needs x: int, and was given None: Input should be a valid integer"),
        (whole, 2.5, "shop:f needs x: int, and was given 2.5: Input should be a valid integer, got a number"),
        (drawn, {"title": "a", "pages": "many"}, "Doc, and was given {'title': 'a', 'pages': 'many'}: pages: "),
        (drawn, {}, "x: Doc, and was given {}: title: Field required; pages: Field required"),
        (drawn, {"title": "untitled", "pages": 1}, "title: Assertion failed, a document needs a title"),
        (listed, ["a", "b", "c", "d", 5], "unable to parse string as an integer; and 1 more"),
        (coloured, "blue", "shop:f needs x: Colour, and was given 'blue': Input should be 'red'"),
        (drawn, ["x" * 500], "needs x: Doc, and was given ['" + "x" * 78 + "…: Input should be"),
    ],
)  # fmt: skip
async def test_a_value_that_does_not_fit_is_named(function: Any, given: Data, message: str) -> None:
    for each in both(function):
        found = await fault(each, x=given)
        assert message in found.message
        assert (found.kind, found.retryable) == ("setup", False)


async def test_what_is_read_one_by_one_is_a_list_that_was_checked() -> None:
    def total(x: Iterable[int]) -> list[int]:
        assert type(x) is list
        return [sum(x), sum(x)]

    def maybe(x: Iterable[int] | None) -> list[int]:
        return total(x or [])

    def lazily(x: Generator[int, None, None]) -> list[int]:
        return total(x)

    def nested(x: dict[str, Iterator[int]]) -> list[int]:
        return total(x["all"])

    def later(x: AsyncIterable[int]) -> Any:
        return x

    for function in (total, maybe, lazily):
        assert await call(function, x=[1, "2", 3]) == [6, 6]
        assert "1: Input should be a valid integer" in (await fault(function, x=[1, "two"])).message
    assert await call(nested, x={"all": ["1", 2]}) == [3, 3]
    assert await call(later, x=["1"]) == [1]


async def test_a_default_is_not_converted_and_a_missing_value_is_missing() -> None:
    def f(x: int, y: int = "as it is") -> Any:  # type: ignore[assignment]
        return [x, y]

    assert await call(f, x="1") == [1, "as it is"]
    assert "takes x, which is neither an input" in (await fault(f)).message


async def test_annotations_that_cannot_be_resolved_leave_the_others() -> None:
    def f(x: int, y: Missing, z: Missing.Inner = None) -> Any:  # type: ignore[name-defined]  # noqa: F821
        return [x, y, z]

    assert await call(f, x="1", y="2") == [1, "2", None]
    assert annotations_of(f).unresolved == {
        "y": "Missing (NameError: name 'Missing' is not defined)",
        "z": "Missing.Inner (NameError: name 'Missing' is not defined)",
    }


async def test_annotations_as_text_see_what_the_function_uses_around_it() -> None:
    @dataclasses.dataclass
    class Local:
        n: int

    def f(x: Local) -> Any:
        return isinstance(x, Local)

    assert f.__annotations__["x"] == "Local"
    assert await call(f, x={"n": 1}) is True


class Called:
    def __call__(self, x: Doc, /) -> Any:
        return type(x).__name__

    async def method(self, x: Doc, *rest: int, **more: int) -> Any:
        return [type(x).__name__, more]


async def test_every_kind_of_callable() -> None:
    document = {"title": "a", "pages": 1}
    assert await call(Called(), x=document) == "Doc"
    assert await call(Called().method, x=document, y="1") == ["Doc", {"y": "1"}]
    assert await call(functools.partial(Called().method), x=document) == ["Doc", {}]
    assert await call(Line, item="a", count="3") == {"item": "a", "count": 3}


async def test_a_large_value_is_converted_beside_the_loop() -> None:
    async def f(x: Noted) -> int:
        return len(x.text)

    assert await call(f, x={"text": "x" * 100}) == 100
    assert {True} == IN_MAIN
    assert await call(f, x={"text": "x" * 100_000}) == 100_000
    assert {True, False} == IN_MAIN


def test_untyped_and_plain_parameters_need_no_pydantic() -> None:
    def f(a, b: Any, c: int, d: dict[str, Any], ctx: Any, *rest: Doc, **more: Doc) -> None:  # type: ignore[no-untyped-def]
        pass

    found = converters(f, "m:f")
    assert set(found) == {"c", "d"}
    assert all(one.adapter is None for one in found.values())
    assert found["c"].fits(5)
    assert not found["c"].fits("5")
    assert inspect.signature(f).parameters.keys() > found.keys()
    code = (
        "import sys; from agentdeck.agents.parameters import converters\n"
        "def f(a, b: int, c: 'dict[str, object]', d: 'float' = 1.0): ...\n"
        "assert set(converters(f, 'm:f')) == {'b', 'c', 'd'}; print('pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
