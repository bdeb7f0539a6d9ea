"""The base class of all documents, and their JSON."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, RootModel

#: Any JSON value: inputs and outputs of agents.
Json: TypeAlias = Any


class Document(BaseModel):
    """A JSON object with exactly these keys. A key with a default may be absent.

    What is printed is made with `of` or `model_construct`, without validation: a log of another version, or a
    message with invalid Unicode, is printed as it is. The tests validate every line that a command prints.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    @classmethod
    def of(cls, source: object, **others: Json) -> Self:
        """The document whose keys are attributes of `source`, except `others`."""
        own = {name: getattr(source, name) for name in cls.model_fields if name not in others}
        return cls.model_construct(_keys_of(cls), **own, **others)


@cache
def _keys_of(kind: type[Document]) -> set[str]:
    """The keys of a document that has all: one set for all of a kind, which takes more memory than the rest."""
    return set(kind.model_fields)


def json_text(document: BaseModel, *, ensure_ascii: bool = False) -> str:
    """The document as one line of JSON, without keys that were not given. Pydantic's own serializer writes other
    spaces, and refuses outputs nested deeper than 255 levels."""
    return (_ascii if ensure_ascii else _unicode)(_content(document))


def plain(value: Any) -> Json:
    """The document as plain data, as if its JSON had been read again."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is dict:
        return {key: plain(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [plain(item) for item in value]
    return plain(_content(value))


_SCALARS = frozenset({str, int, float, bool, type(None)})


def _content(document: Any) -> Any:
    if isinstance(document, RootModel):
        return document.root
    values, given = vars(document), document.model_fields_set
    return values if len(values) == len(given) else {name: values[name] for name in values if name in given}


_ascii = json.JSONEncoder(default=_content).encode
_unicode = json.JSONEncoder(default=_content, ensure_ascii=False).encode
