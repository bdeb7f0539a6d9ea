"""What refusals mean, whatever shape a server gives them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from agentdeck.providers.provider import RateHeader
from agentdeck.providers.provider_errors import mid_stream, refusal, retry_after
from agentdeck.providers.rate_headers import parse_rate_headers


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (429, {"error": {"message": "slow", "code": "rate_limit_exceeded"}}, "rate_limit", "slow"),
        (429, {"error": {"message": "Quota", "type": "insufficient_quota"}}, "quota", "Quota"),
        (429, {"error": {"message": "slow", "type": "throttling_error", "code": "429"}}, "rate_limit", "slow"),
        (402, {"error": "pay"}, "quota", "pay"),
        (400, {"error": {"message": "Your credit balance is too low"}}, "quota", "credit balance"),
        (400, {"error": {"code": "context_length_exceeded", "message": "8k"}}, "context", "8k"),
        (413, {"type": "error", "error": {"type": "request_too_large", "message": "big"}}, "context", "big"),
        (400, {"error": {"code": "content_filter", "message": "no"}}, "refused", "no"),
        (400, {"error": {"message": "bad temperature"}}, "rejected", "bad temperature"),
        (401, {"error": {"message": "who?"}}, "auth", "who?"),
        (403, {"error": {"type": "permission_error", "message": "not you"}}, "forbidden", "not you"),
        (
            403,
            {"error": {"code": "model_not_found", "message": "Project p does not have access"}},
            "model",
            "Project",
        ),
        (403, {"error": {"message": "You are not allowed to sample from this model"}}, "model", "sample"),
        (
            403,
            {"error": {"type": "key_model_access_denied", "message": "key not allowed"}},
            "model",
            "not allowed",
        ),
        (
            403,
            {"error": {"code": 403, "message": "o3 requires moderation; your input was flagged"}},
            "refused",
            "o3",
        ),
        (403, {"error": {"message": "Blocked by the content policy of this model"}}, "refused", "Blocked"),
        (403, {"error": {"message": "This request violates our usage policies"}}, "refused", "violates"),
        (403, {"error": {"code": "invalid_api_key", "message": "no"}}, "auth", "no"),
        (403, {"error": {"message": "Your organization has been deactivated"}}, "auth", "deactivated"),
        (
            403,
            {"error": {"message": "Insufficient permissions. Missing scopes: model.request"}},
            "auth",
            "scopes",
        ),
        (400, [{"error": {"code": 400, "message": "API key not valid."}}], "auth", "not valid"),
        (400, {"error": {"message": "This organization has been disabled."}}, "auth", "disabled"),
        (403, {"error": {"message": "Consumer 'api_key:AI' has been suspended"}}, "auth", "suspended"),
        (403, {"error": {"message": "Your team has used all available credits"}}, "quota", "credits"),
        (403, {"error": {"message": "billing hard limit reached"}}, "quota", "billing"),
        (403, "<html><h1>403 Forbidden</h1></html>", "forbidden", "403 Forbidden"),
        (403, "", "forbidden", "answered 403"),
        (404, {"detail": "Not Found"}, "rejected", "Not Found"),
        (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, "rejected", "field required"),
        (500, "Internal Server Error", "server", "Internal Server Error"),
        (503, "", "server", "503"),
        (529, {"error": {"type": "overloaded_error", "message": "full"}}, "server", "full"),
        (500, [{"error": {"message": "in a list"}}], "server", "in a list"),
        (408, {}, "server", "408"),
        (400, '{"error": {"message": null, "type": 5}}', "rejected", "400"),
        (400, "[" * 100_000, "rejected", "[[["),
    ],
)
def test_a_refusal_has_its_kind(status: int, body: object, kind: str, said: str) -> None:
    fault = refusal("it", status, {}, body if isinstance(body, str) else json.dumps(body)).fault
    assert fault.kind == kind
    assert said in fault.message


def test_a_server_may_say_whether_to_retry() -> None:
    assert refusal("it", 500, {"x-should-retry": "false"}, "").fault.kind == "rejected"
    assert refusal("it", 400, {"x-should-retry": "true"}, "").fault.kind == "server"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "overloaded_error", "message": "x"}, "server"),
        ({"type": "rate_limit_error", "message": "x"}, "rate_limit"),
        ({"type": "api_error", "message": "x"}, "server"),
        ({"type": "invalid_request_error", "message": "prompt is too long"}, "context"),
        ({"type": "authentication_error"}, "auth"),
        ({"code": "429", "message": "x"}, "rate_limit"),
        ({"code": "insufficient_quota"}, "quota"),
        ({"code": "529", "type": None, "message": "x"}, "server"),
        ({"type": "invalid_request_error", "message": "x"}, "rejected"),
        ("just text", "server"),
    ],
)
def test_an_error_in_mid_stream_has_its_kind(error: object, kind: str) -> None:
    assert mid_stream("it", error).fault.kind == kind


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "60", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "2", "llm_provider-retry-after": "60"}, 60.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds
    expected = seconds if seconds is not None else None
    assert refusal("it", 429, headers, "").fault.retry_after == expected
    assert refusal("it", 400, headers, "").fault.retry_after is None


def test_retry_after_as_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert retry_after({"retry-after": date}) == pytest.approx(30, abs=2)
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0


def test_what_headers_say_of_limits() -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=20)).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = parse_rate_headers(
        {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "12ms",
            "x-ratelimit-limit-tokens": "lots",
            "x-ratelimit-reset-tokens": "6m0s",
            "anthropic-ratelimit-output-tokens-limit": "8000",
            "anthropic-ratelimit-output-tokens-reset": soon,
        }
    )
    assert found["requests"] == RateHeader(60, 0, 0.012)
    assert found["tokens"] == RateHeader(None, None, 360.0)
    assert found["output_tokens"].limit == 8000
    assert found["output_tokens"].reset == pytest.approx(20, abs=2)
    assert set(found) == {"requests", "tokens", "output_tokens"}
    assert parse_rate_headers({"content-type": "x"}) == {}


def test_limits_of_proxies_name_a_scope_and_the_tightest_counts() -> None:
    found = parse_rate_headers(
        {
            "x-ratelimit-limit-requests": "500",
            "x-ratelimit-remaining-requests": "499",
            "x-ratelimit-api_key-limit-requests": "20",
            "x-ratelimit-api_key-remaining-requests": "19",
            "x-ratelimit-model_per_key-remaining-requests": "7",
            "x-ratelimit-api_key-limit-tokens": "9223372036854775807",
            "x-ratelimit-team-limit-tokens": "3000",
            "llm_provider-x-ratelimit-limit-requests": "1",
        }
    )
    assert found == {"requests": RateHeader(20, 7), "tokens": RateHeader(3000)}
