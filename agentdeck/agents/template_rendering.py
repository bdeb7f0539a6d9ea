"""Renders an agent's templates: on the event loop while the values are small, in a thread where they are
large."""

from __future__ import annotations

import anyio.to_thread

from agentdeck.errors import StepError
from agentdeck.workflow.expressions import ExpressionError, Scope, Template, is_light, show
from agentdeck.workflow.model import Data
from agentdeck.workflow.url import UrlTemplate


async def render(template: Template, scope: Scope) -> Data:
    """The template's value. Raises StepError of kind `expression`."""
    try:
        if is_light(template.references, scope):
            return template.render(scope)
        return await anyio.to_thread.run_sync(template.render, scope)
    except ExpressionError as error:
        raise StepError("expression", str(error)) from None


async def render_text(template: Template, scope: Scope) -> str:
    """The template's value as text. Raises StepError of kind `expression`."""
    try:
        if is_light(template.references, scope):
            return show(template.render(scope))
        return await anyio.to_thread.run_sync(lambda: show(template.render(scope)))
    except ExpressionError as error:
        raise StepError("expression", str(error)) from None


async def render_url(template: UrlTemplate, scope: Scope) -> str:
    """The url. Raises UrlError, and StepError of kind `expression`."""
    try:
        if is_light(template.references, scope):
            return template.render(scope)
        return await anyio.to_thread.run_sync(template.render, scope)
    except ExpressionError as error:
        raise StepError("expression", str(error)) from None
