"""The lines of `events` and `watch`: one model for each class of `scheduler/events.py`, made from that class.

A line holds seq, at, event (the kind) and run, then task and step where the event has them, then the fields that
do not have their default. The verbs print the fields as the log has them, with those that follow from the row: a
model of each line would nearly double the time per line, and refuse the events of another version.
"""

from __future__ import annotations

import types
from functools import cache
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from pydantic import Field, RootModel, create_model

from agentdeck.documents.document import Document
from agentdeck.store.codec import EVENTS, large_field, snake

Fields: TypeAlias = dict[str, Any]


def _model_of(event: type[Any]) -> type[Document]:
    kind = snake(event.__name__)
    head: Fields = {"seq": int, "at": float, "event": Literal[kind], "run": str}
    fields = _fields(event)
    fields.pop("at")
    large = large_field(kind)
    if large:  # null where `prune` has deleted the value
        hint, default = fields[large]
        fields[large] = (hint | None, default)
    return create_model(event.__name__, __base__=Document, __doc__=event.__doc__, **{**head, **fields})


def _fields(record: type[Any]) -> Fields:
    """The fields of a NamedTuple as `create_model` takes them."""
    defaults = record._field_defaults
    return {name: (_hint(hint), defaults.get(name, ...)) for name, hint in get_type_hints(record).items()}


@cache
def _record_model(record: type[Any]) -> type[Document]:
    """The model of a NamedTuple inside an event. In JSON it is an object, without the fields at their default."""
    return create_model(record.__name__, __base__=Document, __doc__=record.__doc__, **_fields(record))


def _hint(hint: Any) -> Any:
    """The type of a field in JSON: models in the place of NamedTuples."""
    if hasattr(hint, "_fields"):
        return _record_model(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return Union[tuple(_hint(one) for one in get_args(hint))]  # noqa: UP007
    return hint


#: By kind, as in the `event` key of a line.
MODELS: dict[str, type[Document]] = {snake(event.__name__): _model_of(event) for event in EVENTS}
_Line: Any = Annotated[Union[tuple(MODELS.values())], Field(discriminator="event")]  # noqa: UP007


class Event(RootModel[_Line]):
    """One event of a run."""
