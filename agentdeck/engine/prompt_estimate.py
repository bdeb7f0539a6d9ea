"""How much a prompt will use, before it is sent: what is reserved for it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from agentdeck.engine.answer_lengths import AnswerLengths
from agentdeck.engine.prompt_size import PromptSize
from agentdeck.errors import AgentdeckError
from agentdeck.limits.rate_window import Amounts
from agentdeck.scheduler.events import Usage
from agentdeck.scheduler.program import Rule
from agentdeck.workflow.model import Data, Prompt

CHARACTERS_PER_TOKEN = 4
#: What an image counts as, and how long an answer is where neither the agent nor what was seen says so.
IMAGE, OUTPUT = 1000, 1024
#: From so many answers on, nine in ten of what was seen is taken for what comes; of the last so many. Where they
#: differ much, it takes more of them: the first ones may be unlike the rest.
LEAST, MANY, SHARE, SEEN = 10, 100, 0.9, 200
#: They differ much where the longest is so many times as long as the one in the middle.
UNLIKE = 1.5


class PromptEstimate(NamedTuple):
    """What is reserved for a prompt, and by how much more it may turn out to be used. `length` is how long the
    prompt is, in tokens as far as can be told from its text."""

    want: Amounts
    more: Amounts
    length: int


class _Seen:
    """What the attempts of one agent came to, in the order in which they began: of many that are under way the
    short ones end first, and by those alone all would look short. `ended` are those that wait for an earlier one;
    None is one of which nothing is known."""

    __slots__ = ("answers", "began", "ended", "lengths", "longer", "next")

    def __init__(self) -> None:
        self.longer: deque[float] = deque(maxlen=SEEN)
        self.answers: deque[int] = deque(maxlen=SEEN)
        self.ended: dict[int, tuple[float, int] | None] = {}
        self.began = self.next = 0
        self.lengths = AnswerLengths()

    @property
    def enough(self) -> bool:
        """Whether they tell what is to come."""
        many = len(self.answers)
        return many >= MANY or (many >= LEAST and max(self.answers) <= UNLIKE * sorted(self.answers)[many // 2])

    def end(self, number: int, found: tuple[float, int] | None) -> None:
        if number < self.next:  # the others did not wait for it
            return
        self.ended[number] = found
        if len(self.ended) > SEEN:  # one of them takes for ever
            self.next = min(self.ended)
        while self.next in self.ended:
            came = self.ended.pop(self.next)
            self.next += 1
            if came is not None:
                self.longer.append(came[0])
                self.answers.append(came[1])
                self.lengths.add(came[1])


class PromptEstimates:
    """Per agent: by the length of its prompt and what was seen of it. Until then, by the longest answer it may
    give."""

    def __init__(self) -> None:
        self._seen: dict[Rule, _Seen] = {}
        self._sizes: dict[Rule, PromptSize] = {}

    def of(self, rule: Rule, scope: Mapping[str, Data], most: int | None) -> PromptEstimate:
        """`most` is the longest answer that is allowed; None where nothing says."""
        length = self._prompt(rule, scope)
        seen = self._seen.get(rule)
        if seen is None or not seen.enough:
            return PromptEstimate(
                Amounts(1, length, OUTPUT if most is None else most), Amounts(0, length // 2, 0), length
            )
        longer, answers = sorted(seen.longer), sorted(seen.answers)
        if most is not None:
            answers = [min(most, answer) for answer in answers]
        at = math.ceil(SHARE * len(answers)) - 1
        want = Amounts(1, math.ceil(length * longer[at]), answers[at])
        far = 2 * answers[-1] - answers[len(answers) // 2]  # answers of one length are no surprise
        longest = far if most is None else min(most, far)
        more = Amounts(0, math.ceil(length * longer[-1]) - want.tokens_in, longest - want.tokens_out)
        return PromptEstimate(want, more, length)

    def longest(self, rule: Rule, reduced: bool, cut_at: int = 0) -> int | None:
        """The longest answer an agent may give; half of it where it is to be short. Twice as much as where the
        answer before it was cut, if that was of no use."""
        does = rule.agent.does
        most = max((does.max_output if isinstance(does, Prompt) else None) or 0, 2 * cut_at) or None
        return max(1, (most or OUTPUT) // 2) if reduced else most

    def lengths(self, rule: Rule) -> AnswerLengths:
        """How long its answers became."""
        return self._seen.setdefault(rule, _Seen()).lengths

    def began(self, rule: Rule) -> int:
        """The number of an attempt that begins now."""
        seen = self._seen.setdefault(rule, _Seen())
        seen.began += 1
        return seen.began - 1

    def ended(self, rule: Rule, number: int, usage: Usage | None, length: int) -> None:
        """This attempt, whose prompt is so long, came to that."""
        known = usage is not None and usage.tokens_in is not None and usage.tokens_out is not None
        found = (usage.tokens_in / length, usage.tokens_out) if known else None  # type: ignore[union-attr, operator]
        self._seen[rule].end(number, found)  # type: ignore[arg-type]

    def _prompt(self, rule: Rule, scope: Mapping[str, Data]) -> int:
        """By the text's length. What cannot be rendered counts next to nothing: the attempt will say why."""
        does = rule.agent.does
        assert isinstance(does, Prompt)
        if rule not in self._sizes:
            self._sizes[rule] = PromptSize(does)
        try:
            length = self._sizes[rule].characters(scope)
        except AgentdeckError:
            return 1
        return length // CHARACTERS_PER_TOKEN + 1 + IMAGE * len(does.images)
