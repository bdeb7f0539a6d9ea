"""Renders an agent's templates: on the event loop while the values are small, in a thread where they are
large."""

from __future__ import annotations

from collections.abc import Mapping

import anyio.to_thread

from agentdeck.errors import StepError
from agentdeck.workflow.expressions import ExpressionError, Scope, Template, show
from agentdeck.workflow.json_text import room_left
from agentdeck.workflow.model import Data
from agentdeck.workflow.url import UrlTemplate

#: Characters of values that are rendered on the event loop: about 1 ms.
LIGHT = 16_000


async def render(template: Template, scope: Scope) -> Data:
    """The template's value. Raises StepError of kind `expression`."""
    try:
        if is_light(template, scope):
            return template.render(scope)
        return await anyio.to_thread.run_sync(template.render, scope)
    except ExpressionError as error:
        raise StepError("expression", str(error)) from None


async def render_text(template: Template, scope: Scope) -> str:
    """The template's value as text. Raises StepError of kind `expression`."""
    try:
        if is_light(template, scope):
            return show(template.render(scope))
        return await anyio.to_thread.run_sync(lambda: show(template.render(scope)))
    except ExpressionError as error:
        raise StepError("expression", str(error)) from None


async def render_url(template: UrlTemplate, scope: Scope) -> str:
    """The url. Raises UrlError, and StepError of kind `expression`."""
    try:
        if is_light(template, scope):
            return template.render(scope)
        return await anyio.to_thread.run_sync(template.render, scope)
    except ExpressionError as error:
        raise StepError("expression", str(error)) from None


def is_light(template: Template | UrlTemplate, scope: Scope) -> bool:
    """Whether the values that a template reads are small enough to be rendered on the event loop."""
    room = LIGHT
    for name in template.references:
        value: Data = scope.get(name[0])
        for part in name[1:]:
            value = value.get(part) if isinstance(value, Mapping) else None
        room = room_left(value, room)
        if room < 0:
            return False
    return True
