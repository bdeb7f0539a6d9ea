"""How an agent's function is called: which values its parameters get, and what it may return besides data.

Imports nothing but the standard library and modules that do the same: it also runs in interpreters that do not
have agentdeck's dependencies."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from types import AsyncGeneratorType, FunctionType, GeneratorType
from typing import Any, NamedTuple, Protocol

from agentdeck.agents.frameworks.framework import Framework
from agentdeck.errors import StepError

OPEN_ENDED = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
#: Names of the scope that an input with the same name overrides.
HIDDEN = frozenset({"run", "task"})
#: Results of these types are no objects of a framework.
PLAIN = (str, bytes, int, float, dict, list, tuple, set)
GENERATORS = (GeneratorType, AsyncGeneratorType)


class OfAttempt(Protocol):
    """What a function may know of its attempt."""

    run: str
    task: str
    step: str
    attempt: int
    deadline: float | None
    gateway: Mapping[str, str]

    @property
    def id(self) -> str: ...
    @property
    def log(self) -> Callable[..., None]: ...
    @property
    def alive(self) -> Callable[[], None]: ...


class GatewayAccess(NamedTuple):
    """Where clients of OpenAI (`OpenAI(base_url=…, api_key=…)`) and Anthropic call models, and with which key. It
    ends with the attempt."""

    openai_base_url: str
    anthropic_base_url: str
    key: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> GatewayAccess:
        urls = environment["OPENAI_BASE_URL"], environment["ANTHROPIC_BASE_URL"]
        return cls(*urls, environment["OPENAI_API_KEY"])


class Context:
    """The argument `ctx` of a function. `id` is run, task, step and attempt as one string. `gateway` is where it
    calls models, None where the agent has no `gateway: true`."""

    __slots__ = ("_cancelled", "_work", "attempt", "deadline", "gateway", "id", "run", "step", "task")

    def __init__(self, work: OfAttempt, cancelled: threading.Event | None = None) -> None:
        self._work = work
        self._cancelled = cancelled
        self.run, self.task, self.step, self.attempt = work.run, work.task, work.step, work.attempt
        self.id, self.deadline = work.id, work.deadline
        self.gateway = GatewayAccess.of(work.gateway) if work.gateway else None

    def log(self, text: str, level: str = "info") -> None:
        """Write to this agent's log. From any thread."""
        self._work.log(str(text), level)

    def alive(self) -> None:
        """Show a sign of life: the idle clock starts again."""
        self._work.alive()

    def cancelled(self) -> bool:
        """Whether this attempt has been cancelled. A function in a thread cannot be stopped; one that runs for
        long should check this."""
        return self._cancelled is not None and self._cancelled.is_set()


class Signature:
    """The parameters of a function. `call` is the function, callable with all of them by name. Raises StepError
    of kind `setup` for a function whose parameters are not known."""

    def __init__(self, function: Callable[..., Any], target: str) -> None:
        self.call = function
        self._target = target
        self._names: list[tuple[str, bool]] = []
        self._rest = False
        if _takes_nothing(function):
            return
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            what = f"{target} has no readable signature; name a function of your own that calls it"
            raise StepError("setup", what) from None
        for parameter in parameters:
            if parameter.kind is parameter.VAR_KEYWORD:
                self._rest = True
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                self._names.append((parameter.name, parameter.default is parameter.empty))
        if first := [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY]:
            self.call = _by_place(function, first)

    @property
    def empty(self) -> bool:
        """Whether the function takes nothing."""
        return not (self._names or self._rest)

    @property
    def factory(self) -> bool:
        """Whether a call may make an object of a framework: the function takes nothing, or is a class, whose
        parameters are options."""
        return self.empty or inspect.isclass(self.call)

    def arguments(
        self,
        scope: Mapping[str, Any],
        with_: Mapping[str, Any],
        has_needs: bool,
        context: Callable[[], Context],
    ) -> dict[str, Any]:
        """The value of each parameter. Raises StepError of kind `setup` where there is none for one."""
        inputs = scope.get("inputs") or {}
        found: dict[str, Any] = {}
        for name, needed in self._names:
            if name in with_:
                found[name] = with_[name]
            elif name == "ctx":
                found[name] = context()
            elif name in scope and not (name in HIDDEN and name in inputs):
                found[name] = scope[name]
            elif name in inputs:
                found[name] = inputs[name]
            elif needed:
                what = f"{self._target} takes {name}, which is neither an input nor a need nor in `with`"
                raise StepError("setup", what)
        if self._rest:
            more: Mapping[str, Any] = with_ if has_needs else {**inputs, **with_}
            found.update({name: value for name, value in more.items() if name not in found})
        return found


def everything(scope: Mapping[str, Any], with_: Mapping[str, Any]) -> dict[str, Any]:
    """All that an object of a framework may read, as one mapping."""
    return {**(scope.get("inputs") or {}), **(scope.get("needs") or {}), **with_}


class Made(NamedTuple):
    """An object of a framework that a function has returned, and what calls it."""

    framework: Framework
    found: Any


def made(result: Any, find: Callable[[Any], Framework | None], factory: bool) -> Framework | None:
    """The framework that calls what a function has returned; None for a result. Any function may return a
    generator; a `factory` may also make an object of a framework. `find` is `framework_of`, with the frameworks
    that are known."""
    if result is None or isinstance(result, PLAIN) or not (factory or isinstance(result, GENERATORS)):
        return None
    if inspect.isawaitable(result):
        return None
    try:
        framework = find(result)
    except TypeError:
        return None
    return framework if framework is not None and not framework.fallback else None


# For plain functions without `inspect`, which takes longer than the whole step of a small agent.


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling the function gives a coroutine."""
    if type(function) is FunctionType and function.__code__.co_flags & inspect.CO_COROUTINE:
        return True
    called = getattr(function, "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


def _takes_nothing(function: Callable[..., Any]) -> bool:
    code = getattr(function, "__code__", None)
    return (
        code is not None
        and not (code.co_argcount or code.co_kwonlyargcount or code.co_flags & OPEN_ENDED)
        and not hasattr(function, "__wrapped__")
    )


def _by_place(function: Callable[..., Any], first: list[str]) -> Callable[..., Any]:
    """A function whose first parameters are positional-only, callable by name."""

    def call(**given: Any) -> Any:
        return function(*[given.pop(name) for name in first if name in given], **given)

    return call
