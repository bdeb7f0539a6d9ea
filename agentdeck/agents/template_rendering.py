"""Renders an agent's templates: on the event loop while the values are small, in a thread where they are
large."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio.to_thread

from agentdeck.errors import StepError
from agentdeck.workflow.expressions import ExpressionError, Scope, Template, is_light, show
from agentdeck.workflow.model import Data
from agentdeck.workflow.url import UrlTemplate

T = TypeVar("T")


async def render(template: Template | UrlTemplate, scope: Scope) -> Data:
    """The template's value. Raises StepError of kind `expression`, and for a url UrlError."""
    return await _light_or_in_thread(template, scope, template.render)


async def render_text(template: Template, scope: Scope) -> str:
    """The template's value as text. Raises StepError of kind `expression`."""
    return await _light_or_in_thread(template, scope, lambda scope: show(template.render(scope)))


async def _light_or_in_thread(template: Template | UrlTemplate, scope: Scope, render: Callable[[Scope], T]) -> T:
    try:
        if is_light(template.references, scope):
            return render(scope)
        return await anyio.to_thread.run_sync(render, scope)
    except ExpressionError as error:
        raise StepError("expression", str(error)) from None
