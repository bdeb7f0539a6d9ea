"""Both protocols against a server of our own: what comes is taken whole, and what goes wrong has its kind."""

from __future__ import annotations

import json
from collections.abc import Callable

import anyio
import pytest

from agentdeck.providers.provider import RateHeader
from tests.providers.conftest import SECRET, Asker
from tests.providers.server import WORDS, Server, serving

pytestmark = pytest.mark.anyio
TEXT = " ".join(WORDS)


@pytest.mark.parametrize("how", ["ok", "bytewise"])
async def test_an_answer_is_streamed_and_counted(ask: Asker, server: Server, how: str) -> None:
    reply = await ask(how, system="Be short", temperature=0.5, max_output=99, stop=["END"])
    assert reply.text == TEXT
    assert "".join(ask.said) == TEXT
    assert len([piece for piece in ask.said if piece]) == len(WORDS)
    assert (reply.tokens_in, reply.tokens_out, reply.cached_in, reply.ended) == (25, len(WORDS), 5, "stop")
    assert reply.headers["requests"] == RateHeader(60, 59, 1.0)
    assert reply.headers["input_tokens"] == RateHeader(30000, 29000)
    (asked,) = server.asked
    assert asked.key == SECRET
    assert (asked.body["temperature"], asked.body["max_tokens"], asked.body["stream"]) == (0.5, 99, True)
    assert "Be short" in str(asked.body)
    assert "END" in str(asked.body)


async def test_sent_is_reported_once_per_request_and_only_when_it_left(
    ask: Asker, asker: Callable[..., Asker]
) -> None:
    await ask("ok")
    assert ask.sent == 1
    await ask.fault("limited")
    assert ask.sent == 2
    unreachable = asker("openai", "http://127.0.0.1:9/v1")
    await unreachable.fault("ok")
    assert unreachable.sent == 0


async def test_what_is_not_counted_is_unknown(ask: Asker) -> None:
    reply = await ask("nousage")
    assert (reply.text, reply.tokens_in, reply.tokens_out) == ("Hello", None, None)


async def test_a_server_that_does_not_stream_is_understood(ask: Asker) -> None:
    reply = await ask("whole")
    assert (reply.text, reply.tokens_in, reply.tokens_out) == ("All at once", 4, None)


async def test_an_answer_that_is_too_long_says_so(ask: Asker) -> None:
    reply = await ask("length")
    assert (reply.text, reply.ended) == ("Too long", "length")


@pytest.mark.parametrize(
    ("how", "kind", "part", "retry_after"),
    [
        ("limited", "rate_limit", "answered 429: slower", 0.05),
        ("quota", "quota", "You exceeded it", None),
        ("overloaded", "server", "answered 529: Overloaded", None),
        ("broken", "server", "answered 500: it broke", None),
        ("badgateway", "server", "answered 502: 502 Bad Gateway", None),
        ("auth", "auth", "check this provider's `key`", None),
        ("context", "context", "prompt is too long", None),
        ("gone", "rejected", "no such model; check the model's `id`", None),
        ("filtered", "refused", "refused the content", None),
        ("html", "rejected", "'text/html', which is not a stream of answers; check its `url`", None),
        ("text", "rejected", "'text/plain', which is not a stream", None),
        ("garbage", "server", "not a JSON object", None),
        ("headers", "network", "was cut off", None),
    ],
)
async def test_refusals_have_their_kind(
    ask: Asker, how: str, kind: str, part: str, retry_after: float | None
) -> None:
    fault = await ask.fault(how)
    assert (fault.kind, fault.retry_after) == (kind, retry_after)
    assert part in fault.message
    assert SECRET not in str(fault)


@pytest.mark.parametrize(
    ("how", "kind", "part"),
    [
        ("cut", "network", "was cut off"),
        ("endless", "network", "in the middle of the answer"),
        ("unfinished", "network", "in the middle of the answer"),
        ("nojson", "server", "not a JSON object"),
        ("halfchar", "server", "not UTF-8"),
        ("flood", "server", "more than 8 MB in one event"),
        ("event-overloaded_error", "server", "with an error: too much"),
        ("event-rate_limit_error", "rate_limit", "with an error: too much"),
        ("event-api_error", "server", "with an error: too much"),
    ],
)
async def test_what_had_come_is_kept(ask: Asker, how: str, kind: str, part: str) -> None:
    fault = await ask.fault(how)
    assert fault.kind == kind
    assert part in fault.message
    assert fault.detail.startswith("Half an")


async def test_a_redirect_is_not_followed_with_the_key(ask: Asker) -> None:
    async with serving() as elsewhere:
        fault = await ask.fault(f"redirect-{elsewhere.url.rpartition(':')[2]}")
        assert fault.kind == "rejected"
        assert "answered 307: a redirect" in fault.message
        assert "token=abc" not in fault.message
        assert elsewhere.asked == []


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://127.0.0.1:1/v1", "network"),
        ("http://no.such.host.invalid/v1", "network"),
        ("ftp://x/v1", "setup"),
    ],
)
async def test_nobody_there(asker: Callable[..., Asker], url: str, kind: str) -> None:
    fault = await asker("openai", url).fault("ok")
    assert fault.kind == kind
    assert url.removesuffix("/v1") in fault.message


async def test_a_stream_that_is_left_is_closed_at_once(ask: Asker, server: Server) -> None:
    with anyio.move_on_after(0.2) as scope:
        await ask("stall")
    assert scope.cancelled_caught
    assert "".join(ask.said) == "Half an"
    assert (await ask("ok")).text == TEXT


async def test_many_streams_are_spread_and_their_connections_used_again(
    asker: Callable[..., Asker], server: Server
) -> None:
    ask = asker("openai")
    for _ in range(2):
        async with anyio.create_task_group() as group:
            for _ in range(64):
                group.start_soon(ask, "pace-0.2")
    assert server.most_busy == 64
    assert server.connections == 64


async def test_requests_go_where_the_environment_sends_them(
    asker: Callable[..., Asker], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    assert (await asker("openai", "http://models.invalid/v1")("ok")).text == TEXT
    assert server.asked[-1].path == "http://models.invalid/v1/chat/completions"
    monkeypatch.setenv("http_proxy", server.url.removeprefix("http://"))
    assert (await asker("openai", "http://models.invalid/v1")("ok")).text == TEXT
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    for beside in ("127.0.0.1", server.url, server.url.removeprefix("http://"), "localhost, 127.0.0.1"):
        monkeypatch.setenv("no_proxy", beside)
        assert (await asker("openai")("ok")).text == TEXT
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", "foo://eva:secret@127.0.0.1:9")
    fault = await asker("openai").fault("ok")
    assert (fault.kind, "secret" in fault.message) == ("setup", False)


async def test_a_name_and_a_password_in_the_url_are_sent_where_there_is_no_key(
    asker: Callable[..., Asker], server: Server
) -> None:
    url = server.url.replace("//", "//eva:pass%20word@") + "/v1"
    await asker("openai", url, key=None)("ok")
    assert server.asked[-1].headers["authorization"] == "Basic ZXZhOnBhc3Mgd29yZA=="
    await asker("openai", url)("ok")
    assert server.asked[-1].key == SECRET
    fault = await asker("openai", url, key=None).fault("broken")
    assert "pass" not in fault.message + fault.detail


async def test_an_answer_that_is_whole_counts_although_its_end_is_missing(ask: Asker) -> None:
    assert (await ask("loose")).text == TEXT
    assert (await ask("ok")).text == TEXT


async def test_an_answer_that_comes_packed_is_read(ask: Asker) -> None:
    assert (await ask("packed")).text == TEXT


async def test_a_part_that_a_server_does_not_take_is_left_out_next_time(asker: Callable[..., Asker]) -> None:
    ask = asker("openai")
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    fault = await ask.fault("picky", schema=schema)
    assert (fault.kind, fault.retryable) == ("server", True)
    assert "leaves out response_format" in fault.message
    assert (await ask("picky", schema=schema)).text == '{"n": 7}'


@pytest.mark.parametrize("how", ["llamacpp", "llamacpp-400", "llamacpp-422"])
async def test_an_answer_of_a_type_falls_back_as_llama_cpp_refuses_it(
    asker: Callable[..., Asker], how: str
) -> None:
    ask = asker("openai")
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    fault = await ask.fault(how, schema=schema)
    assert (fault.kind, fault.retryable) == ("server", True)
    assert "leaves out response_format" in fault.message
    assert (await ask(how, schema=schema)).text == '{"n": 7}'


async def test_a_failure_that_repeats_the_request_takes_nothing_from_the_next(
    asker: Callable[..., Asker], server: Server
) -> None:
    ask = asker("openai")
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    for _ in range(2):
        fault = await ask.fault("repeats", schema=schema, max_output=50)
        assert "goes without" not in fault.message
    assert {"response_format", "max_tokens"} <= server.asked[-1].body.keys()


@pytest.mark.parametrize("how", ["parts", "wholeparts"])
async def test_content_may_be_a_list_of_parts(asker: Callable[..., Asker], how: str) -> None:
    reply = await asker("openai")(how)
    assert (reply.text, reply.ended) == ("In parts", "stop")
    assert reply.thought == (how == "parts")


@pytest.mark.parametrize(
    ("how", "kind", "part"),
    [
        ("reason-error", "server", "finish_reason error"),
        ("reason-insufficient_system_resource", "server", "insufficient_system_resource"),
        ("reason-abort", "server", "finish_reason abort"),
        ("reason-network_error", "server", "finish_reason network_error"),
        ("reason-SAFETY", "refused", "SAFETY"),
        ("choiceerror", "rate_limit", "too much"),
    ],
)
async def test_an_answer_that_ended_with_a_failure_is_one(
    asker: Callable[..., Asker], how: str, kind: str, part: str
) -> None:
    fault = await asker("openai").fault(how)
    assert fault.kind == kind
    assert part in fault.message
    assert fault.detail == "Half an answer"


@pytest.mark.parametrize(
    ("word", "ended"),
    [("model_length", "length"), ("MAX_TOKENS", "length"), ("eos_token", "stop"), ("tired", "tired")],
)
async def test_why_an_answer_ended_is_understood_in_the_words_of_other_servers(
    asker: Callable[..., Asker], word: str, ended: str
) -> None:
    assert (await asker("openai")(f"reason-{word}")).ended == ended


def _raw(*deltas: object, ended: str) -> str:
    events = [{"choices": [{"delta": delta}]} for delta in deltas]
    return "raw-" + json.dumps([*events, {"choices": [{"delta": {}, "finish_reason": ended}]}])


def _called(**function: object) -> dict[str, object]:
    return {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", **function}}]}


async def test_an_answer_that_calls_tools_and_names_none_is_none(asker: Callable[..., Asker]) -> None:
    ask = asker("openai")
    assert "called none" in (await ask(_raw({"content": "I will"}, ended="tool_calls"))).wrong
    typed = await ask(
        _raw({"content": '{"n": 1}'}, ended="tool_calls"), schema={"type": "object", "properties": {}}
    )
    assert (typed.text, typed.wrong) == ('{"n": 1}', "")


async def test_a_call_that_is_cut_before_its_arguments_is_not_made(asker: Callable[..., Asker]) -> None:
    reply = await asker("openai")(_raw(_called(arguments=""), ended="length"))
    assert (reply.calls, reply.ended) == ((), "length")
    assert "the tool f with something that is not a JSON object" in reply.wrong
    block = {"type": "tool_use", "id": "c", "name": "answer", "input": {}}
    start = {"type": "content_block_start", "index": 0, "content_block": block}
    end = [{"type": "message_delta", "delta": {"stop_reason": "max_tokens"}}, {"type": "message_stop"}]
    model, schema = (
        "raw-" + json.dumps([start, *end]),
        {"type": "object", "properties": {"n": {"type": "integer"}}},
    )
    reply = await asker("anthropic")(model, schema=schema)
    assert (reply.text, reply.calls, reply.ended) == ("", (), "length")
    assert reply.wrong


async def test_arguments_may_be_an_object_and_places_anything(asker: Callable[..., Asker]) -> None:
    reply = await asker("openai")(_raw(_called(arguments={"a": 1}), ended="tool_calls"))
    assert [call.arguments for call in reply.calls] == [{"a": 1}]
    odd = {"tool_calls": [{"index": [0], "id": "c", "function": {"name": "f", "arguments": "{}"}}]}
    assert len((await asker("openai")(_raw(odd, ended="tool_calls"))).calls) == 1


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"object": "error", "message": "too much", "code": 400}, "rejected"),
        ({"message": "too much", "code": 429}, "rate_limit"),
        ({"detail": "too much"}, "server"),
    ],
)
async def test_an_error_may_stand_by_itself(asker: Callable[..., Asker], event: object, kind: str) -> None:
    fault = await asker("openai").fault("raw-" + json.dumps([event]))
    assert (fault.kind, "too much" in fault.message) == (kind, True)


async def test_counts_that_cannot_be_are_unknown(asker: Callable[..., Asker]) -> None:
    end = {"choices": [{"delta": {"content": "Hello"}, "finish_reason": "stop"}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 10**30, "completion_tokens": 10**30}}
    reply = await asker("openai")("raw-" + json.dumps([end, usage]))
    assert (reply.text, reply.tokens_in, reply.tokens_out) == ("Hello", None, None)


async def test_an_event_stream_may_begin_with_a_mark_and_end_its_lines_with_cr(ask: Asker) -> None:
    assert (await ask("marked")).text == TEXT


@pytest.mark.parametrize("how", ["shared", "shared-noids"])
async def test_calls_that_share_an_index_are_two(asker: Callable[..., Asker], how: str) -> None:
    reply = await asker("openai")(how)
    assert [(call.name, call.arguments) for call in reply.calls] == [
        ("sums__add", {"a": 1, "b": 1}),
        ("sums__add", {"a": 2, "b": 2}),
    ]
    assert len({call.id for call in reply.calls}) == 2


async def test_a_call_that_is_cut_says_so_and_is_paid_for(asker: Callable[..., Asker]) -> None:
    reply = await asker("openai")("halfcall")
    assert (reply.calls, reply.ended, reply.tokens_out) == ((), "length", 3)
    assert "the tool sums__add with something that is not a JSON object" in reply.wrong


@pytest.mark.parametrize("how", ["nothing", "thinks"])
async def test_an_empty_answer_says_whether_there_was_reasoning(ask: Asker, how: str) -> None:
    reply = await ask(how)
    assert (reply.text, reply.calls, reply.thought) == ("", (), how == "thinks")


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("claude-3-haiku-20240307", 4096),
        ("claude-3-5-sonnet-latest", 8192),
        ("anthropic.claude-opus-4-20250514-v1:0", 32_000),
        ("claude-opus-4-1", 32_000),
        ("claude-opus-4-5-20251101", 64_000),
        ("claude-haiku-4-5", 64_000),
        ("anthropic/claude-sonnet-5-5", 64_000),
        ("llama", 4096),
    ],
)
async def test_an_answer_may_be_as_long_as_the_model_can_give(
    asker: Callable[..., Asker], server: Server, model: str, tokens: int
) -> None:
    await asker("anthropic")(model)
    await asker("anthropic")(model, max_output=50)
    assert [asked.body["max_tokens"] for asked in server.asked] == [tokens, 50]


async def test_the_key_is_in_no_error(ask: Asker) -> None:
    fault = await ask.fault("auth")
    assert "[key]" in fault.message
    assert "[key]" in fault.detail
    assert SECRET not in repr(fault)
