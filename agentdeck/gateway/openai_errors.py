"""What both APIs of OpenAI share: errors, and the list of models."""

from __future__ import annotations

from collections.abc import Sequence

from agentdeck.gateway.model_request import CallFailure
from agentdeck.workflow.model import Data

_TYPES = {400: "invalid_request_error", 401: "authentication_error", 402: "insufficient_quota",
          404: "invalid_request_error", 413: "invalid_request_error"}  # fmt: skip


def error(failure: CallFailure) -> Data:
    code = {401: "invalid_api_key", 402: "insufficient_quota", 404: "model_not_found"}.get(failure.status)
    if failure.kind == "context":
        code = "context_length_exceeded"
    return {
        "error": {
            "message": failure.message,
            "type": _TYPES.get(failure.status, "server_error"),
            "param": failure.param or None,
            "code": code or failure.kind,
        }
    }


def models(names: Sequence[str]) -> Data:
    found = [{"id": name, "object": "model", "created": 0, "owned_by": "agentdeck"} for name in names]
    return {"object": "list", "data": found}
