"""The states of a request: from when a server has counted it at the latest."""

from __future__ import annotations

from agentdeck.limits.reservations import COUNTED, LATEST, RESERVED, SENT, Amounts, RequestProgress


def test_a_request_goes_from_reserved_by_sent_to_counted() -> None:
    request = RequestProgress()
    assert request.state == (RESERVED, 0.0)
    request.sent_at = 10.0
    assert request.state == (SENT, 10.0 + LATEST)
    request.answered_at = 11.0
    assert request.state == (COUNTED, 11.0)
    request.end(50.0, answered=True)
    assert request.counts_from == 11.0


def test_a_request_without_an_answer_counts_from_the_latest_possible_time() -> None:
    sent, unsent, answered = RequestProgress(sent_at=10.0), RequestProgress(), RequestProgress(sent_at=10.0)
    sent.end(30.0, answered=False)
    assert sent.counts_from == 10.0 + LATEST
    unsent.end(30.0, answered=False)
    assert unsent.counts_from == 30.0 + LATEST, "the part that was written may have been all of it"
    answered.end(30.0, answered=True)
    assert answered.counts_from == 30.0


def test_the_first_text_of_an_answer_is_remembered() -> None:
    request = RequestProgress()
    request.add_text(1.0, 5)
    request.add_text(2.0, 50)
    assert (request.first_text_at, request.first_characters, request.characters) == (1.0, 5, 50)


def test_amounts_count_for_their_own_rates() -> None:
    amounts = Amounts(1, 20, 300)
    rates = ("requests", "tokens", "input_tokens", "output_tokens")
    assert [amounts.at_request(rate) for rate in rates] == [1, 20, 20, 0]
    assert [amounts.at_answer(rate) for rate in rates] == [0, 300, 0, 300]
