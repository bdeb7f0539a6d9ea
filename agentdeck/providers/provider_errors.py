"""Classifies provider errors: from statuses, headers and bodies to the kinds of `agentdeck.errors`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from agentdeck.errors import StepError
from agentdeck.workflow.model import Data

#: The largest part of a body that is recorded, in characters.
MOST_DETAIL = 4000
#: Characters of the provider's words in a message.
LONGEST = 300

_QUOTA = ("insufficient_quota", "billing", "credit balance", "insufficient_funds", "exceeded your current quota",
          "available credits", "spending limit")  # fmt: skip
_CONTEXT = ("context_length", "context length", "context window", "prompt is too long", "request_too_large",
            "input is too long", "too many tokens in the prompt")  # fmt: skip
_CONTENT = ("content_filter", "content_policy", "content policy", "content management policy")
#: Words that say what a 403 is about: OpenAI, Azure, Google, OpenRouter and litellm have no code for it.
_MODERATED = re.compile(
    r"content.?(filter|polic|management)|moderat|flagged|safety|unsafe|prohibited|usage polic|policy violation"
    r"|violat\w* \w* ?polic|guardrail|responsible.?ai|harmful"
)
_MODEL = re.compile(r"(?<![a-z])model(_|s?\b)|\bdeployment\b|sample from this")
_KEY = re.compile(
    r"(invalid|incorrect|expired|revoked|disabled|unknown|missing|blocked|leaked)[ _]+(api[ _]?)?"
    r"(key|token|credential)"
    r"|(key|token|credential)s?[^.]{0,30}"
    r"\b(invalid|incorrect|expired|revoked|disabled|not valid|blocked|leaked|suspended)"
    r"|\b(account|organi[sz]ation|project|user|team|workspace|subscription)\b[^.]{0,40}"
    r"\b(suspended|deactivated|disabled|banned|blocked|inactive|expired|terminated|not active|restricted)"
    r"|missing scopes?|unauthenticated|not authenticated|authentication|verify your|not verified"
    r"|ip[ _]address|ip.{0,10}not (allowed|authorized)|billing|payment"
)
#: Google reports an invalid key, and Anthropic a closed account, as a bad request.
_AUTH = ("authentication_error", "permission_error", "auth_error", "invalid_api_key", "permission_denied",
         "api key not valid", "organization has been disabled")  # fmt: skip
_STATUS = {
    "overloaded_error": 529,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "throttling_error": 429,
    "timeout_error": 504,
    "invalid_request_error": 400,
    "not_found_error": 404,
    "request_too_large": 413,
    "billing_error": 402,
}


#: Statuses of a server that has too many requests.
OVERLOADED = (429, 503, 529)


class ProviderRefusal(StepError):
    """The provider answered with a status other than 200."""

    def __init__(self, status: int, kind: str, message: str, retry_after: float | None, detail: str) -> None:
        super().__init__(kind, message, retry_after=retry_after, detail=detail)
        self.status = status
        self.overloaded = kind != "quota" and status in OVERLOADED


def refusal(who: str, status: int, headers: Mapping[str, str], body: str) -> StepError:
    """The error for an answer with an error status."""
    error = _error(body)
    word, message = _words(error), _message(error) or _shown(body)
    kind = _kind(status, f"{word} {message}".lower())
    retry = headers.get("x-should-retry", "").lower()
    if retry == "false" and kind == "server":
        kind = "rejected"
    elif retry == "true" and kind == "rejected":
        kind = "server"
    after = retry_after(headers) if kind in ("rate_limit", "server") else None
    text = f"{who} answered {status}" + (f": {one_line(message, LONGEST)}" if message else "")
    return ProviderRefusal(status, kind, text + _advice(kind, status), after, body[:MOST_DETAIL])


def mid_stream(who: str, error: Data) -> StepError:
    """The error for a stream that began with status 200 and then reported an error."""
    word, message = _words(error), _message(error)
    kind = _kind(_status(error), f"{word} {message}".lower())
    text = f"{who} ended the stream with an error: {one_line(message, LONGEST) or word or 'no reason given'}"
    found = StepError(kind, text + _advice(kind, 200), detail=json.dumps(error, ensure_ascii=False)[:MOST_DETAIL])
    found.overloaded = kind != "quota" and _status(error) in OVERLOADED
    return found


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that the server asks to wait: `retry-after-ms`, else the latest of `Retry-After` and a proxy's
    copy of it, each as seconds or as a date."""
    milliseconds = _seconds(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    named = (headers.get("retry-after", ""), headers.get("llm_provider-retry-after", ""))
    waits = [wait for wait in map(_wait, named) if wait is not None]
    return max(waits) if waits else None


def _wait(text: str) -> float | None:
    text = text.strip()
    seconds = _seconds(text)
    if seconds is not None or not text:
        return seconds
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return max(0.0, (date - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return max(0.0, value) if math.isfinite(value) else None


def _kind(status: int, words: str) -> str:
    """The kind of an error. `words` are the body's type, code and message in lower case: they decide where one
    status has several meanings."""

    def says(these: tuple[str, ...]) -> bool:
        return any(this in words for this in these)

    if status == 402 or (status in (400, 403, 429) and says(_QUOTA)):
        return "quota"
    if status == 429:
        return "rate_limit"
    if status == 413 or (status in (400, 422, 500) and says(_CONTEXT)):
        return "context"
    if status in (400, 403, 422) and says(_CONTENT):
        return "refused"
    if status == 403:
        return _forbidden(words)
    if status in (401, 407) or (status in (200, 400) and says(_AUTH)):
        return "auth"
    if status in (408, 409, 425) or status >= 500 or status < 300:
        return "server"
    return "rejected"


def _forbidden(words: str) -> str:
    """Whether a 403 is about the prompt, the key, or a model; `forbidden` where it does not say. A body that
    names a missing scope of the key often names a model too, so the key comes first."""
    if _MODERATED.search(words):
        return "refused"
    if _KEY.search(words):
        return "auth"
    return "model" if _MODEL.search(words) else "forbidden"


def _status(error: Data) -> int:
    """The status of an error in a stream; 500 where it has none."""
    if isinstance(error, Mapping):
        for name in ("code", "status", "status_code"):
            text = str(error.get(name, ""))
            if text.isdigit() and 400 <= int(text) < 600:
                return int(text)
        for name in ("type", "code"):
            word = str(error.get(name, ""))
            if word in _STATUS:
                return _STATUS[word]
            if any(part in word for part in _QUOTA):
                return 402
            if any(part in word for part in _AUTH):
                return 401
            if any(part in word for part in _CONTEXT + _CONTENT):
                return 400
    return 500


def _error(body: str) -> Data:
    """The value of `error`, in any of the shapes that servers use."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if isinstance(data, list) and data:
        data = data[0]
    if not isinstance(data, Mapping):
        return None
    return data.get("error") or data.get("detail") or data


def _words(error: Data) -> str:
    if not isinstance(error, Mapping):
        return ""
    return " ".join(str(error[name]) for name in ("type", "code") if error.get(name) not in (None, ""))


def _message(error: Data) -> str:
    if isinstance(error, Mapping):
        error = error.get("message") or error.get("detail")
    if error is None:
        return ""
    return error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)[:1000]


def _shown(body: str) -> str:
    """The text of a body that is not JSON."""
    return re.sub(r"<[^>]*>", " ", body[:MOST_DETAIL]) if body.lstrip().startswith("<") else body


def one_line(text: str, most: int = 200) -> str:
    """The start of a text, on one line, without control characters."""
    return "".join(c for c in " ".join(text[:4000].split()) if c.isprintable())[:most]


def _advice(kind: str, status: int) -> str:
    if kind == "auth":
        return "; check this provider's `key` in the deck"
    if kind in ("model", "forbidden"):
        return "; check what the key may use, and the model's `id` in the deck"
    if kind == "rejected" and status == 404:
        return "; check the model's `id` and the provider's `url` in the deck"
    return ""
