"""Facts of models: the prices of answers (the deck's, else the list price of genai-prices, whose table is in the
package), and the longest answer in tokens (the deck's, or as the vendor publishes it)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from agentdeck.providers.provider_type import PriceList, provider_type
from agentdeck.workflow.deck import Deck, Model

MILLION = 1_000_000
#: The tier to which the savings of tiers are compared.
TOP = "reasoning"
#: Anthropic's models, by their id; the first that matches counts. Bedrock, Vertex and gateways put something
#: before or after the id.
_CLAUDE = (
    (r"claude-(v?1|2|instant)", 4096),
    (r"claude-3-(opus|sonnet|haiku)", 4096),
    (r"claude-3[.-]5", 8192),
    (r"claude-opus-4(?![.-]?[2-9](?!\d))", 32_000),  # 4 and 4.1; a date may follow
    (r"claude-", 64_000),
)
#: For unknown models, as Anthropic's protocol requires a number.
_UNKNOWN = 4096


class Price(NamedTuple):
    """Dollars per million tokens, without the surcharge of some models for longer prompts: for estimates."""

    input: float
    output: float
    cached: float


class Prices:
    """Prices by the deck's names of models. None is unknown, and never 0."""

    def __init__(self, deck: Deck) -> None:
        self._deck = deck
        self._top = next(iter(deck.tiers.get(TOP, ())), "")

    def price(self, name: str) -> Price | None:
        """The approximate price of a model."""
        each = [self.usd(name, *tokens) for tokens in ((MILLION // 100, 0, 0), (0, MILLION // 100, 0))]
        cached = self.usd(name, MILLION // 100, 0, MILLION // 100)
        if each[0] is None or each[1] is None or cached is None:
            return None
        return Price(each[0] * 100, each[1] * 100, cached * 100)

    def usd(self, name: str, tokens_in: int | None, tokens_out: int | None, cached: int | None) -> float | None:
        """The price of an answer. `tokens_in` includes `cached`."""
        model = self._deck.models.get(name)
        if model is None or tokens_in is None or tokens_out is None:
            return None
        cached = min(cached or 0, tokens_in)
        if model.price is not None:
            price_in, price_out = model.price
            kept = price_in if model.cached is None else model.cached
            return ((tokens_in - cached) * price_in + cached * kept + tokens_out * price_out) / MILLION
        provider = self._deck.providers[model.provider]
        prices = provider_type(provider.type).price_list(provider.url)
        return None if prices is None else _listed(model.id, prices, tokens_in, tokens_out, cached)

    def usd_top(self, tokens_in: int | None, tokens_out: int | None, cached: int | None) -> float | None:
        """The price of the same answer on the first model of the reasoning tier."""
        return self.usd(self._top, tokens_in, tokens_out, cached)


@lru_cache(maxsize=4096)
def _listed(model: str, prices: PriceList, tokens_in: int, tokens_out: int, cached: int) -> float | None:
    from genai_prices import Usage, calc_price

    usage = Usage(input_tokens=tokens_in, output_tokens=tokens_out, cache_read_tokens=cached)
    try:
        if prices.url is not None:
            found = calc_price(usage, model, provider_api_url=prices.url)
        else:
            found = calc_price(usage, model, provider_id=prices.provider)
    except (LookupError, ValueError):
        return None
    return float(found.total_price)


def output_limit(model: Model) -> int | None:
    """The limit from the deck, else from the model's id; None for unknown."""
    return model.max_output or known_output_limit(model.id)


def known_output_limit(model: str) -> int | None:
    for pattern, tokens in _CLAUDE:
        if re.search(pattern, model.lower()):
            return tokens
    return None


def unless_limited(model: str) -> int:
    """The `max_tokens` for Anthropic's protocol where nothing limits the answer."""
    return known_output_limit(model) or _UNKNOWN
