"""Messages in order, over a connection where one may overtake another."""

from __future__ import annotations

import random

from agentdeck.places.numbered import Numbered


def test_messages_are_taken_in_the_order_in_which_they_were_made() -> None:
    here, there = Numbered(), Numbered()
    data = [b"%d" % n for n in range(100)]
    messages = [here.made(one) for one in data]
    random.Random(16).shuffle(messages)
    assert [one for message in messages for one in there.put(message)] == data


def test_a_message_waits_for_those_before_it() -> None:
    here, there = Numbered(), Numbered()
    first, second, third = here.made(b"a"), here.made(b""), here.made(b"c")
    assert there.put(second) == []
    assert there.put(first) == [b"a", b""]
    assert there.put(third) == [b"c"]
