"""What a request counts against: the allowances of its caller, of its profile as a whole, and of its address."""

from __future__ import annotations

from collections import OrderedDict
from math import ceil
from typing import Final

from switchboard.core.counting import Allowance, Taken, Window
from switchboard.core.errors import Problem
from switchboard.core.types import Caller, Lines
from switchboard.net.address import network_of
from switchboard.policy.rules import Rule, Rules

#: Dollars are counted in billionths.
NANO: Final = 1_000_000_000
_USES: Final = (
    ("tokens_per_minute", "tokens", Window.MINUTE),
    ("tokens_per_day", "tokens", Window.DAY),
    ("tokens_per_month", "tokens", Window.MONTH),
    ("dollars_per_day", "dollars", Window.DAY),
    ("dollars_per_month", "dollars", Window.MONTH),
)
_SPAN: Final = {
    Window.MINUTE: "in a minute",
    Window.DAY: "in a day",
    Window.MONTH: "in a month",
    Window.HELD: "at a time",
}
_LONGEST_KEY: Final = 160
_LONGEST_ADDRESS: Final = 64


class Quotas:
    """The rules of a `profile`: what each `caller` may, what `everyone` together may, and what an `address` may, whichever
    profile it asks. A caller's own allowance goes over that of the profile."""

    def __init__(
        self,
        profile: str = "default",
        caller: Allowance | None = None,
        everyone: Allowance | None = None,
        address: Allowance | None = None,
        *,
        most: int = 10_000,
    ) -> None:
        self._profile = profile
        self._caller = caller or Allowance()
        self._everyone = everyone or Allowance()
        self._address = address or Allowance()
        self._by_address = self._address != Allowance()
        mine = (self._caller, self._everyone, self._address)
        #: Whether anything is to be set aside for a caller without an allowance of its own.
        self.sets_aside = any(
            a.streams is not None or any(getattr(a, n) is not None for n, _, _ in _USES) for a in mine
        )
        self._most = most
        self._known: OrderedDict[tuple[str, str], Rules] = OrderedDict()

    def rules(self, caller: Caller, peer: str) -> Rules:
        """What `caller` at the address `peer` is held to."""
        key = (caller.id, peer if self._by_address else "")
        found = self._known.get(key)
        if found is not None and (found.caller is caller or found.caller == caller):
            return found
        made = self._known[key] = self._make(caller, peer)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return made

    def _make(self, caller: Caller, peer: str) -> Rules:
        own = self._caller if caller.allowance is None else caller.allowance.over(self._caller)
        scopes = (
            (own, "caller", caller_key(self._profile, caller.id)),
            (self._everyone, "app", profile_key(self._profile)),
            (self._address, "address", "a:" + network_of(peer)[:_LONGEST_ADDRESS]),
        )

        def rules(name: str, measure: str, window: Window) -> list[Rule]:
            made = []
            for allowance, whose, who in scopes:
                limit = getattr(allowance, name)
                if limit is not None:
                    most = round(limit * NANO) if measure == "dollars" else limit
                    made.append(Rule(counter(who, measure, window), window, most, measure, whose))
            return made

        requests = tuple(rules("requests_per_minute", "requests", Window.MINUTE))
        return Rules(
            caller,
            requests,
            tuple([r.take(1) for r in requests]),
            tuple([r for use in _USES for r in rules(*use)]),
            tuple(rules("streams", "streams", Window.HELD)),
            tuple(rules("voice_connects_per_minute", "connects", Window.MINUTE)),
            tuple(rules("voice_sessions", "sessions", Window.HELD)),
        )


def caller_key(profile: str, caller: str) -> str:
    """The name under which what `caller` uses in `profile` is counted; who is known by an address only goes by its network."""
    caller = network_of(caller)
    if len(caller) > _LONGEST_KEY - len(profile):
        from hashlib import sha256

        caller = sha256(caller.encode("utf-8", "surrogatepass")).hexdigest()
    return f"c:{profile}:{caller}"


def profile_key(profile: str) -> str:
    """The name under which what all callers of `profile` use is counted."""
    return "p:" + profile


def counter(who: str, measure: str, window: Window) -> str:
    """The key of a counter: `who` is the name of a caller, a profile or an address."""
    return f"{who}/{measure}:{window[0]}"


def refusal(rule: Rule, wait: float) -> Problem:
    """What somebody is told who is over `rule` for another `wait` seconds."""
    seconds = max(1, ceil(wait))
    who = {"caller": "you", "app": "this app", "address": "this address"}[rule.whose]
    many = f"{rule.limit / NANO:g} US dollars" if rule.measure == "dollars" else f"{rule.limit} {rule.measure}"
    if rule.window in (Window.DAY, Window.MONTH):
        again = "at midnight UTC" if rule.window is Window.DAY else "on the first of the next month, UTC"
        used_up = f"The {many} {_SPAN[rule.window]} for {who} are used up; there are more {again}."
        return Problem("BUDGET_EXHAUSTED", used_up, retry_after=str(seconds), headers=b"x-should-retry: false\r\n")
    said = f"{many} {_SPAN[rule.window]} are allowed for {who}."
    text = said if rule.window is Window.HELD else f"{said} Try again in {seconds} s."
    return Problem("RATE_LIMITED", text, retry_after=str(seconds))


_NAMES: Final = {"requests": b"requests", "tokens": b"tokens"}
_LINES: Final = {
    measure: (
        b"x-ratelimit-limit-%b: %%d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%ds\r\n"
        % (name, name, name)
    )
    for measure, name in _NAMES.items()
}


def headers(rules: tuple[Rule, ...], taken: Taken) -> Lines:
    """The ``x-ratelimit-*`` headers, as OpenAI names them, of the narrowest of `rules` of a minute."""
    if len(rules) == 1:  # nearly always
        return _lines(rules[0], taken, 0)
    narrowest: dict[str, int] = {}
    for i, rule in enumerate(rules):
        known = narrowest.get(rule.measure)
        if rule.window is Window.MINUTE and (
            known is None or rule.limit - taken.used[i] < rules[known].limit - taken.used[known]
        ):
            narrowest[rule.measure] = i
    return b"".join([_lines(rules[i], taken, i) for i in narrowest.values()])


def _lines(rule: Rule, taken: Taken, i: int) -> Lines:
    lines = _LINES.get(rule.measure)
    if lines is None or rule.window is not Window.MINUTE:
        return b""
    left = rule.limit - taken.used[i]
    return lines % (rule.limit, left if left > 0 else 0, taken.resets[i] + 0.999)
