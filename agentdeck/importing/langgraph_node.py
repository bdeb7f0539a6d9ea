"""What an imported LangGraph graph calls in its steps: one node, with the state made of what ran before.

The graph itself supplies everything: its channels with their reducers, its nodes, its conditional edges. So a
step does to the state what LangGraph does. Checked against LangGraph 1.2.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from agentdeck.errors import Permanent
from agentdeck.workflow.functions import resolve
from agentdeck.workflow.model import Data

START, END = "__start__", "__end__"
_NOT_SENT: Any = object()
_graphs: dict[str, Any] = {}
_loading = threading.Lock()


async def run(
    graph: str,
    node: str,
    before: Sequence[Data] = (),
    to: Sequence[str] | None = None,
    send: Sequence[str] = (),
    many: bool = False,
    sent: Any = _NOT_SENT,
    rounds: int = 0,
    previous: Data = None,
) -> Data:
    """What a node of the graph writes into the state. `before` has what the steps before it wrote, one list for
    each superstep; the first is the input of the graph. A node that was reached by `Send` gets `sent` instead.

    Where the node chooses what comes next, `to` names the nodes that the workflow has for that, `send` those
    that it reaches by `Send`, and the result is a map: `update`, `next`, and for `send` the values that are sent.
    Without `many`, conditional edges that choose several nodes at once are an error: the workflow was made for
    one. A node that may choose itself runs at most `rounds` times, each time with the `previous` result: its
    `update` is then a list, with what it wrote in each round.
    """
    built = await _graph(graph)
    earlier = previous["update"] if rounds and previous else []
    channels = _channels(built, [*before, {"rounds": earlier}]) if before else {}
    if node == START:
        result = _given(built, before)
        updates: list[tuple[str, Any]] = []
        goto: list[Any] = []
    else:
        part = _part(built, node, graph)
        value = _read(channels, part) if sent is _NOT_SENT else sent
        result = await part.bound.ainvoke(value, _config())
        updates, goto = _written(part, result)
    if to is None:
        if goto:
            raise Permanent(
                f"{node} goes to {_shown(goto)}, which the workflow does not know; import the graph again"
            )
        return _update(updates)
    ways = [goto, *await _routed(built, node, channels, updates, result)]
    for way in ways if not many else ():
        if len({name for name in way if isinstance(name, str)}) > 1:
            what = f"{node} goes to {_shown(way)} at once, and the workflow was made for one of them"
            raise Permanent(
                f"{what}: annotate the function with what it returns (list), and import the graph again"
            )
    found = _chosen(node, updates, [one for way in ways for one in way], to, send)
    if rounds:
        found["update"] = [*earlier, found["update"]]
        if node in found["next"] and len(found["update"]) >= rounds:
            raise Permanent(f"{node} has repeated itself {rounds} times, and still goes to itself")
    return found


async def state(graph: str, before: Sequence[Data]) -> Data:
    """The state at the end, as the graph returns it."""
    built = await _graph(graph)
    channels = _channels(built, before)
    keys = built.builder.schemas[built.builder.output_schema]
    return {key: channels[key].get() for key in keys if key in channels and channels[key].is_available()}


async def _graph(target: str) -> Any:
    """The compiled graph that `module:name` names; a factory is called once. Its module is imported in a thread:
    LangGraph takes a second, for which all other steps would wait."""
    return _graphs[target] if target in _graphs else await asyncio.to_thread(_load, target)


def _load(target: str) -> Any:
    with _loading:
        if target not in _graphs:
            _graphs[target] = compiled(resolve(target, Path(sys.path[0] or ".")), target)
        return _graphs[target]


def compiled(found: Any, target: str) -> Any:
    """The compiled graph of a graph, its builder, or a function without parameters that returns one. Raises
    Permanent for anything else."""
    if inspect.isroutine(found):
        found = found()
    if hasattr(found, "compile") and hasattr(found, "branches"):
        found = found.compile()
    if not (hasattr(found, "builder") and hasattr(found.builder, "channels")):
        raise Permanent(f"{target} is a {type(found).__name__}, not a StateGraph")
    return found


def _part(built: Any, node: str, graph: str) -> Any:
    if node not in built.nodes:
        raise Permanent(f"{graph} has no node {node}; import the graph again")
    return built.nodes[node]


def _config() -> dict[str, Any]:
    from langgraph._internal._constants import CONFIG_KEY_RUNTIME
    from langgraph.runtime import DEFAULT_RUNTIME

    return {"configurable": {CONFIG_KEY_RUNTIME: DEFAULT_RUNTIME}}


# The state -----------------------------------------------------------------------------------------------------


def _channels(built: Any, before: Sequence[Data]) -> dict[str, Any]:
    """The channels of the graph after these supersteps."""
    channels = {name: channel.copy() for name, channel in built.builder.channels.items()}
    _apply(channels, [_given(built, before)])
    for step in before[1:]:
        rounds = [[one] for one in step["rounds"] or ()] if isinstance(step, Mapping) else [step]
        for steps in rounds:
            updates = [update for one in steps for update in _flat(one)]
            if updates or isinstance(step, Mapping):  # else all steps were skipped: there was no such superstep
                _apply(channels, updates)
    return channels


def _given(built: Any, before: Sequence[Data]) -> dict[str, Any]:
    """The input of the graph: the inputs that were given."""
    keys = built.builder.schemas[built.builder.input_schema]
    return {key: value for key, value in before[0][0].items() if key in keys and value is not None}


def _flat(written: Data) -> Iterable[Mapping[str, Any]]:
    """What a step wrote, as maps: nothing for a step that was skipped, several for `each` and for a node that
    returns a list."""
    if isinstance(written, Mapping):
        yield written
    elif isinstance(written, list):
        for one in written:
            yield from _flat(one)


def _apply(channels: Mapping[str, Any], updates: Iterable[Mapping[str, Any]]) -> None:
    """One superstep: every channel gets its writes at once. One without writes learns that a step has passed."""
    writes: dict[str, list[Any]] = {}
    for update in updates:
        for key, value in update.items():
            if key in channels:
                writes.setdefault(key, []).append(_restored(value, channels[key].UpdateType))
    for key, channel in channels.items():
        if key in writes:
            channel.update(writes[key])
        elif channel.is_available():
            channel.update([])


def _restored(value: Data, hint: Any) -> Any:
    """The value as its annotation has it: results of steps are plain data, the state may hold models."""
    if _is_plain(hint):
        return value
    from pydantic import TypeAdapter

    try:
        return TypeAdapter(hint).validate_python(value)
    except Exception:  # not an error: LangGraph does not check annotations either, and reducers take other data
        return value


def _is_plain(hint: Any) -> bool:
    from typing import get_args

    names = (str, int, float, bool, list, dict, type(None), Any, object)
    return hint in names or (bool(get_args(hint)) and all(map(_is_plain, get_args(hint))))


def _read(channels: Mapping[str, Any], part: Any) -> Any:
    """The input of a node."""
    if isinstance(part.channels, str):
        return channels[part.channels].get()
    values = {key: channels[key].get() for key in part.channels if channels[key].is_available()}
    return values if part.mapper is None else part.mapper(values)


# What a node returns -------------------------------------------------------------------------------------------


def _written(part: Any, result: Any) -> tuple[list[tuple[str, Any]], list[Any]]:
    """The writes of a result, and where its commands go."""
    entries = part.writers[0].writes
    goto = []
    for channel, value in entries[1].mapper(result):
        goto.append(channel.removeprefix("branch:to:") if value is None else value)
    return list(entries[0].mapper(result) or ()), goto


def _update(writes: Iterable[tuple[str, Any]]) -> Data:
    """Writes as a map; as a list of maps where a key is written twice."""
    found: list[dict[str, Any]] = [{}]
    for key, value in writes:
        if key in found[-1]:
            found.append({})
        found[-1][key] = value
    return found if len(found) > 1 else found[0]


async def _routed(
    built: Any, node: str, channels: Mapping[str, Any], writes: list[tuple[str, Any]], result: Any
) -> list[list[Any]]:
    """Where each of the conditional edges of a node goes. They see the state with what this node has written."""
    fresh = {key: channel.copy() for key, channel in channels.items()}
    for key, channel in fresh.items():
        channel.update([value for name, value in writes if name == key])
    found: list[list[Any]] = []
    for branch in built.builder.branches.get(node, {}).values():
        schema = branch.input_schema or (
            built.builder.nodes[node].input_schema if node in built.builder.nodes else built.builder.state_schema
        )
        keys = list(built.builder.schemas[schema])
        value: Any = {key: fresh[key].get() for key in keys if key in fresh and fresh[key].is_available()}
        if _is_class_of_fields(schema):
            value = schema(**value)
        elif branch.input_schema is None and isinstance(result, dict):
            value = {**result, **value}
        chosen = await branch.path.ainvoke(value, _config())
        several = chosen if isinstance(chosen, list | tuple) else [chosen]
        found.append([branch.ends[one] if branch.ends and isinstance(one, str | int) else one for one in several])
    return found


def _is_class_of_fields(schema: Any) -> bool:
    from pydantic import BaseModel

    return inspect.isclass(schema) and (issubclass(schema, BaseModel) or is_dataclass(schema))


def _chosen(
    node: str, writes: list[tuple[str, Any]], goto: list[Any], to: Sequence[str], send: Sequence[str]
) -> dict[str, Data]:
    """The result of a node that chooses. Raises Permanent where the workflow does not have what it chose."""
    names = list(dict.fromkeys(name for name in goto if isinstance(name, str) and name != END))
    sends: dict[str, list[Any]] = {name: [] for name in send}
    for packet in goto:
        if not isinstance(packet, str):
            sends.setdefault(packet.node, []).append(packet.arg)
    unknown = [name for name in names if name not in to] + [name for name in sends if name not in send]
    if unknown:
        raise Permanent(
            f"{node} goes to {_shown(unknown)}, which the workflow does not know; import the graph again"
        )
    found: dict[str, Data] = {"update": _update(writes), "next": names}
    return {**found, "send": sends} if send else found


def _shown(names: Iterable[Any]) -> str:
    return ", ".join(name if isinstance(name, str) else str(getattr(name, "node", name)) for name in names)
