"""The balance sheet of a worker: every request it took on, and what became of it.

A request exists from the moment its connection is accepted (the client was promised an answer), not from the moment a
thread picks it up, until its response is flushed to the last byte: accepted = answered + client left + abandoned.
"""

import time
from collections import deque
from dataclasses import asdict, dataclass

MAX_NAMED = 20
"""Abandoned requests named one by one; a flood of them is only counted."""


class Account:
    """One connection's requests. Positions are bytes sent on the connection since it was accepted."""

    __slots__ = ("_ends", "accepted_at", "answered", "began", "sent")

    def __init__(self) -> None:
        self.accepted_at = time.monotonic()
        self.began = 0
        self.answered = 0
        self.sent = 0
        self._ends: deque[int] = deque()

    @property
    def accepted(self) -> int:
        """Requests taken on: a connection that has said nothing yet counts as one."""
        return max(1, self.began)

    @property
    def outstanding(self) -> int:
        """Requests taken on and not answered in full."""
        return self.accepted - self.answered

    def response_ends_at(self, position: int) -> None:
        """Note where a complete response ends; it counts as answered once that much was sent."""
        self._ends.append(position)
        self._settle()

    def has_sent(self, count: int) -> None:
        """Count bytes that the kernel took."""
        self.sent += count
        self._settle()

    def _settle(self) -> None:
        while self._ends and self._ends[0] <= self.sent:
            self._ends.popleft()
            self.answered += 1


@dataclass(frozen=True)
class Balance:
    """The sums over a worker's life; ``in_flight`` is 0 in the end."""

    accepted: int
    answered: int
    client_left: int
    abandoned: int
    in_flight: int


@dataclass(frozen=True)
class Abandoned:
    """A request given up at the time limit: what it was, how old, and how far it had come."""

    path: str
    age_s: float
    state: str

    def as_json(self) -> dict[str, object]:
        """Return the row of the restart record."""
        return asdict(self)


class Books:
    """Adds up the accounts of closed connections; the open ones are looked at when asked."""

    def __init__(self) -> None:
        self._open: dict[int, Account] = {}
        self._answered = self._client_left = self._abandoned = 0
        self.named: list[Abandoned] = []

    def open_account(self) -> Account:
        """Return the account of a connection just accepted."""
        account = Account()
        self._open[id(account)] = account
        return account

    def close_account(self, account: Account) -> None:
        """Add up a closed connection; what was not answered by then, the client did not stay for."""
        if self._open.pop(id(account), None) is not None:
            self._answered += account.answered
            self._client_left += account.outstanding

    def abandon(self, account: Account, named: list[Abandoned]) -> None:
        """Add up a connection that we close although answers are due."""
        if self._open.pop(id(account), None) is not None:
            self._answered += account.answered
            self._abandoned += len(named)
            self._client_left += account.outstanding - len(named)
            self.named += named[: MAX_NAMED - len(self.named)]

    def balance(self) -> Balance:
        """Return the sums now; safe from any thread."""
        accounts = list(self._open.values())
        in_flight = sum(account.outstanding for account in accounts)
        answered = self._answered + sum(account.answered for account in accounts)
        closed = self._client_left + self._abandoned
        return Balance(answered + in_flight + closed, answered, self._client_left, self._abandoned, in_flight)

    @property
    def answered(self) -> int:
        """Requests answered in full so far; safe from any thread."""
        return self._answered + sum(account.answered for account in list(self._open.values()))

    @property
    def in_flight(self) -> int:
        """Requests taken on and not answered in full; safe from any thread."""
        return sum(account.outstanding for account in list(self._open.values()))
