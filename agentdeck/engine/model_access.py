"""Which models of a provider may not be used with its key.

A 403 can be about the key, about one model or about one prompt, and many servers do not say which. What the
body says was sorted before (`providers/provider_errors.py`). A 403 that says nothing is taken as that model's,
which does the least harm: the tier's next model answers. It is taken as the prompt's where the model has answered
others with the same key, and as the provider's once other models of it are refused in the same way.
"""

from __future__ import annotations

from agentdeck.errors import Fault

#: So many steps in a row that a working model refuses without a reason: then it is the model after all.
IN_A_ROW = 3


class ModelAccess:
    """The models that are not available, each with the reason, until the operator changes something."""

    def __init__(self) -> None:
        self.closed: dict[str, str] = {}
        self._answered: set[str] = set()
        self._refused: dict[str, set[tuple[str, str]]] = {}
        self._unclear: dict[str, set[str]] = {}

    def reopen(self) -> None:
        """All models are tried again."""
        self.closed.clear()
        self._refused.clear()
        self._unclear.clear()

    def answered(self, model: str, provider: str) -> None:
        """A model answered: the key is good, and the model may be used with it."""
        self._answered.add(model)
        self._refused.pop(model, None)
        self._unclear.pop(provider, None)

    def close(self, model: str, fault: Fault) -> bool:
        """The model may not be used. Returns whether that is new."""
        new = model not in self.closed
        self.closed[model] = f"model {model} is not available: {fault.message}"
        return new

    def unclear(self, model: str, provider: str, step: tuple[str, str]) -> str:
        """What a 403 without a reason is taken for: `prompt`, `model` or `provider`."""
        steps = self._refused.setdefault(model, set())
        steps.add(step)
        if model in self._answered and len(steps) < IN_A_ROW:
            return "prompt"
        models = self._unclear.setdefault(provider, set())
        models.add(model)
        return "provider" if len(models) > 1 else "model"
