"""The pages that wait for a webhook's receiver: which one goes next, when, and which are given up.

After a failure nothing goes for a while, which grows with each further failure in a row. Then one page alone tries
whether the receiver is back, and each time it is another one. So a receiver that comes back is not met by a crowd, and
a page that it cannot take holds up no other.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Literal, TypeAlias

from .webhook_page import Page

GivenUp: TypeAlias = Literal["too_late", "tried_too_often", "too_many", "receiver_gone"]
Jitter: TypeAlias = Callable[[float, float], float]
"""Returns a number between two."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How the queue waits, and what it holds.

    Attributes:
        first_s: the pause after a failure. Each further failure doubles it.
        longest_s: the longest pause of our own.
        told_s: the longest pause that a receiver may ask for.
        tries: how often a page is sent at most.
        pages: how many wait at most.
        at_once: how many are under way at once, while the receiver confirms them.
    """

    first_s: float = 1.0
    longest_s: float = 60.0
    told_s: float = 300.0
    tries: int = 100
    pages: int = 1_500
    at_once: int = 4


class PageQueue:
    """Orders the pages. It does no input or output, and its caller tells it the time.

    Args:
        jitter: makes pauses differ.
        left: called with each page that waits no longer, for whatever reason.

    Attributes:
        given_up: how many pages were given up, by the reason; whoever reads it may clear it.
        failures: how many tries in a row have failed.
    """

    def __init__(
        self, patience: Patience, jitter: Jitter = random.uniform, left: Callable[[Page], object] = lambda _: None
    ) -> None:
        self._patience = patience
        self._jitter = jitter
        self._left = left
        self._pages: dict[str, Page] = {}
        self._order: list[tuple[float, int, int, Page]] = []
        self._numbers = count()
        self._under_way: set[str] = set()
        self._paused_until = 0.0
        self.failures = 0
        self.given_up: Counter[GivenUp] = Counter()

    def __len__(self) -> int:
        """Return how many pages wait, those that are under way among them."""
        return len(self._pages)

    def put(self, page: Page) -> bool:
        """Take a page in, and return whether it takes the place of an earlier one of its alert.

        Where too many wait, the least urgent goes.
        """
        has_overtaken = self._forget(page.identifier)
        self._pages[page.identifier] = page
        if page.identifier not in self._under_way:  # else it follows the one that is
            self._push(page)
        if len(self._pages) > self._patience.pages:
            # Of the least urgent ones that which has the least time left.
            self._give_up(max(self._pages.values(), key=lambda one: (one.urgency, -one.ends_at)), "too_many")
        return has_overtaken

    def drop(self, identifier: str) -> bool:
        """Forget the page of an alert that nobody needs to be told any more; return whether there was one."""
        return self._forget(identifier)

    def take(self, now: float) -> Page | None:
        """Return the page to send now, which is then under way; None if there is none."""
        self._give_up_late(now)
        most = 1 if self.failures else self._patience.at_once
        if self.wait_s(now) > 0 or len(self._under_way) >= most:
            return None
        page = heapq.heappop(self._order)[-1]
        self._under_way.add(page.identifier)
        return page

    def wait_s(self, now: float) -> float:
        """Return how long to wait for the next page that is here already."""
        while self._order and self._pages.get(self._order[0][-1].identifier) is not self._order[0][-1]:
            heapq.heappop(self._order)
        if not self._order:
            return self._patience.longest_s
        return max(0.0, max(self._paused_until, self._order[0][0]) - now)

    def succeeded(self, page: Page) -> None:
        """Take note that the receiver has confirmed a page."""
        self.failures, self._paused_until = 0, 0.0
        if self._pages.get(page.identifier) is page:
            self._forget(page.identifier)
        self._leave(page)

    def failed(self, page: Page, now: float, told_s: float | None = None) -> None:
        """Take note that a try has failed.

        Args:
            told_s: the pause that the receiver asks for.
        """
        self.failures += 1
        page.tries += 1
        self._leave(page)
        pause_s = max(self._pause(self.failures), min(told_s or 0.0, self._patience.told_s))
        self._paused_until = max(self._paused_until, now + pause_s)
        page.due_at = now + max(pause_s, self._pause(page.tries))
        if self._pages.get(page.identifier) is not page:
            return
        if page.tries >= self._patience.tries:
            self._give_up(page, "tried_too_often")
        else:
            self._push(page)

    def give_up_all(self) -> None:
        """Give up all that wait: the receiver wants nothing more."""
        for page in list(self._pages.values()):
            self._give_up(page, "receiver_gone")

    def _forget(self, identifier: str) -> bool:
        page = self._pages.pop(identifier, None)
        if page is not None:
            self._left(page)
        return page is not None

    def _leave(self, page: Page) -> None:
        """Note that a page is no longer under way. A later one of its alert has waited for that."""
        self._under_way.discard(page.identifier)
        waiting = self._pages.get(page.identifier)
        if waiting is not None and waiting is not page:
            self._push(waiting)

    def _give_up_late(self, now: float) -> None:
        head = self._order[0][-1] if self._order else None
        if self.failures or (head and head.ends_at <= now):
            for page in [page for page in self._pages.values() if page.ends_at <= now]:
                self._give_up(page, "too_late")

    def _give_up(self, page: Page, why: GivenUp) -> None:
        self._forget(page.identifier)
        self.given_up[why] += 1

    def _push(self, page: Page) -> None:
        heapq.heappush(self._order, (page.due_at, page.urgency, next(self._numbers), page))
        if len(self._order) > 2 * len(self._pages) + 100:  # most of them wait no longer
            self._order = [entry for entry in self._order if self._pages.get(entry[-1].identifier) is entry[-1]]
            heapq.heapify(self._order)

    def _pause(self, failures: int) -> float:
        """Return a pause that grows with the failures in a row, and is never quite the same."""
        longest = min(self._patience.longest_s, self._patience.first_s * 2.0 ** min(failures - 1, 30))
        return self._jitter(0.75, 1.25) * longest
