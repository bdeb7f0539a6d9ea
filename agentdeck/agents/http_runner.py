"""`http`: sends one request and reads its answer."""

from __future__ import annotations

import re
from http.cookiejar import CookieJar, DefaultCookiePolicy

import anyio
import anyio.to_thread
import httpx

from agentdeck.agents.http import Http
from agentdeck.agents.template_rendering import render, render_text
from agentdeck.agents.verb import AttemptContext, WorkflowContext
from agentdeck.errors import StepError
from agentdeck.providers.decompression import ACCEPTED, decoded
from agentdeck.providers.provider_errors import one_line, retry_after
from agentdeck.workflow.deck import MAX_RETRY_AFTER
from agentdeck.workflow.expressions import Template, is_light, show
from agentdeck.workflow.json_text import json_text, strict_json
from agentdeck.workflow.model import Agent, Data
from agentdeck.workflow.secret_references import secret_names
from agentdeck.workflow.units import show_duration
from agentdeck.workflow.url import UrlError, UrlTemplate, is_listed

MB = 1024 * 1024
MOST_BODY = 16 * MB
MOST_ERROR = 64 * 1024
MOST_REDIRECTS = 5
CONNECT = 30.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        timeout=httpx.Timeout(None, connect=CONNECT),
        headers={"accept-encoding": ACCEPTED},
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # steps share no cookies
        follow_redirects=False,
    )


class HttpVerb:
    """Sends the agent's request once per attempt."""

    def __init__(self, agent: Agent, setting: WorkflowContext) -> None:
        action = agent.does
        assert isinstance(action, Http)
        self.setting = setting
        self.method = Template(action.method)
        self.url = UrlTemplate(action.url)
        self.hosts = action.hosts
        self.headers = {name: Template(value) for name, value in action.headers.items()}
        self.body = Template(action.body)
        self.keys = setting.keys

    async def run(self, work: AttemptContext) -> Data:
        method = (await render_text(self.method, work.scope)).strip().upper()
        if not _TOKEN.fullmatch(method):
            raise StepError("setup", f"{method[:40]!r} is not an HTTP method")
        url = await self._url(work)
        headers = await self._headers(work)
        body = await render(self.body, await self.keys.with_secrets(work.scope, self.body))
        content: bytes | None = None
        if isinstance(body, str):
            content = body.encode("utf-8", "replace")
        elif body is not None:
            light = is_light(self.body.references, work.scope)
            content = _json_bytes(body) if light else await anyio.to_thread.run_sync(_json_bytes, body)
            headers.setdefault("content-type", b"application/json")
        where = f"{method} {_plain(url)}"
        try:
            return await self._send(work, method, url, headers, content)
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise StepError("setup", f"{where} cannot be sent ({type(error).__name__})") from None
        except httpx.DecodingError as error:
            raise StepError("invalid", f"{where}: the body cannot be decoded: {one_line(str(error))}") from None
        except (httpx.TransportError, httpx.StreamError) as error:
            if "location header" in str(error):  # httpx reads the target of a redirect before we do
                raise StepError("rejected", f"{where} answered with a redirect without a url") from None
            what = "no connection" if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) else "cut off"
            reason = one_line(str(error)) or type(error).__name__
            raise StepError("network", f"{where}: {what}: {reason}") from None

    async def _url(self, work: AttemptContext) -> httpx.URL:
        try:
            url = _url(await render(self.url, work.scope))
        except UrlError as error:
            raise StepError("setup", str(error)) from None
        if self.url.from_value and not self._is_listed(url):
            fix = f"its `hosts` has {', '.join(self.hosts)}" if self.hosts else f"add hosts: [{_host(url)}]"
            raise StepError("setup", f"the host {_host(url)} comes from a value and is not listed; {fix}")
        return url

    def _is_listed(self, url: httpx.URL) -> bool:
        return is_listed(url.raw_host.decode("ascii", "replace"), _origin(url)[2], self.hosts)

    async def _headers(self, work: AttemptContext) -> dict[str, bytes]:
        headers: dict[str, bytes] = {}
        for name, template in self.headers.items():
            value = await render(template, await self.keys.with_secrets(work.scope, template))
            if value is None:
                continue
            text = show(value).strip()
            if not _TOKEN.fullmatch(name):
                raise StepError("setup", f"{name[:40]!r} cannot be the name of a header")
            if _CONTROL.search(text):
                raise StepError("setup", f"header {name} contains a line break or another control character")
            headers[name.lower()] = text.encode("utf-8", "replace")
        return headers

    async def _send(
        self, work: AttemptContext, method: str, url: httpx.URL, headers: dict[str, bytes], content: bytes | None
    ) -> Data:
        """Follows redirects itself, as the agent's headers are only for the origin they were written for."""
        client = self.setting.shared(httpx.AsyncClient, _client, httpx.AsyncClient.aclose)
        own = url.raw_host
        for _ in range(MOST_REDIRECTS + 1):
            encoded = {name.encode(): value for name, value in headers.items()}
            request = client.build_request(method, url, headers=encoded, content=content)
            response = await client.send(request, stream=True)
            work.alive()
            try:
                if response.status_code not in _REDIRECTS or "location" not in response.headers:
                    return await self._answer(work, method, url, response)
                status, target = response.status_code, _target(method, url, response)
            finally:
                with anyio.move_on_after(0.5, shield=True):
                    await response.aclose()
            if target.raw_host != own and not self._is_listed(target):
                what = f"a redirect to {_host(target)}, which is not in `hosts`; add it there to allow it"
                raise StepError("rejected", f"{method} {_plain(url)} answered {status}: {what}")
            becomes_get = (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST")
            if _origin(target) != _origin(url):
                headers = {"content-type": headers["content-type"]} if "content-type" in headers else {}
                if secret_names(self.body) and content is not None and not becomes_get:
                    what = (
                        f"a redirect to {_plain(target)}, which is not followed because the body contains a "
                        "secret"
                    )
                    raise StepError("rejected", f"{method} {_plain(url)} answered {status}: {what}")
            if becomes_get:
                method, content = "GET", None
                dropped = [name for name in headers if name.startswith("content-") or name == "transfer-encoding"]
                headers = {name: value for name, value in headers.items() if name not in dropped}
            if content is None:
                headers.pop("content-type", None)
            url = target
        raise StepError("rejected", f"{method} {_plain(url)}: more than {MOST_REDIRECTS} redirects")

    async def _answer(self, work: AttemptContext, method: str, url: httpx.URL, response: httpx.Response) -> Data:
        status = response.status_code
        where = f"{method} {_plain(url)} answered {status}"
        if not response.is_success:
            text = self.keys.hide(await _error_text(work, response))
            short = one_line(text)
            kind = _kind(status)
            after = retry_after(response.headers) if kind in ("rate_limit", "server") else None
            if after is not None and after > MAX_RETRY_AFTER:
                asked, most = show_duration(round(after)), show_duration(MAX_RETRY_AFTER)
                where += f" (the server asked to wait {asked}, capped at {most})"
                after = MAX_RETRY_AFTER
            raise StepError(kind, f"{where}: {short}" if short else where, retry_after=after, detail=text[:2000])
        body = bytearray()
        async for chunk in decoded(response):
            work.alive()
            body += chunk
            if len(body) > MOST_BODY:
                raise StepError("invalid", f"{where}: the body is larger than {MOST_BODY // MB} MB")
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json" and not kind.endswith("+json"):
            return _text(bytes(body), response)
        if not body and (method == "HEAD" or status in (204, 205)):
            return None
        try:
            return strict_json(bytes(body))
        except (ValueError, RecursionError) as error:
            text = self.keys.hide(_text(bytes(body[:8000]), response))
            raise StepError(
                "invalid", f"{where}: the body is not JSON: {one_line(str(error))}", detail=text[:2000]
            ) from None


def _json_bytes(body: Data) -> bytes:
    return json_text(body).encode("utf-8", "replace")


def _url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise StepError("setup", f"the url cannot be read: {one_line(str(error))}") from None
    if url.scheme not in ("http", "https"):
        raise StepError("setup", f"the url has to start with http:// or https://, not {url.scheme[:20]!r}")
    if not _reachable(url):
        raise StepError("setup", "the url has no valid host")
    return url


def _target(method: str, url: httpx.URL, response: httpx.Response) -> httpx.URL:
    """The target of a redirect."""
    try:
        target = url.join(response.headers["location"])
    except (httpx.InvalidURL, ValueError):
        target = httpx.URL("")
    if target.scheme not in ("http", "https") or not _reachable(target):
        raise StepError(
            "rejected",
            f"{method} {_plain(url)} answered {response.status_code}: a redirect to a url that is not http",
        )
    return target


def _reachable(url: httpx.URL) -> bool:
    """Whether host and port can exist; httpx accepts some that cannot."""
    host = url.host
    escaped = "%" in host and ":" not in host  # "http://[x" becomes the host "%5Bx"
    return bool(host) and not escaped and (url.port is None or 0 < url.port < 65536)


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host.lower(), url.port or (443 if url.scheme == "https" else 80)


def _plain(url: httpx.URL) -> str:
    """The url for messages: without userinfo, query and fragment, which may hold secrets."""
    return str(url.copy_with(userinfo=b"", query=None, fragment=None))


def _host(url: httpx.URL) -> str:
    """The host for messages."""
    return one_line(url.host)[:100]


async def _error_text(work: AttemptContext, response: httpx.Response) -> str:
    """The start of the body of an error response; empty where it cannot be read."""
    body = bytearray()
    try:
        with anyio.move_on_after(10):
            async for chunk in decoded(response):
                work.alive()
                body += chunk
                if len(body) > MOST_ERROR:
                    break
    except httpx.HTTPError:
        pass
    return _text(bytes(body[:MOST_ERROR]), response)


def _text(body: bytes, response: httpx.Response) -> str:
    try:
        return body.decode(response.charset_encoding or "utf-8", "replace")
    except (LookupError, ValueError):
        return body.decode("utf-8", "replace")


def _kind(status: int) -> str:
    if status == 429:
        return "rate_limit"
    if status >= 500:
        return "server"
    return "auth" if status in (401, 403) else "rejected"
