"""Which providers and which of their models may answer a request, in order."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Raw

from switchboard.core.errors import Problem
from switchboard.core.ports import Provider
from switchboard.core.types import Generate, Native, Op, Operation
from switchboard.policy.profile import Profile
from switchboard.policy.retirement import Retirements
from switchboard.policy.target import Choice, Entry, Target

_REMEMBERED: Final = 1024
MODEL_NAME: Final = re.compile(r"[A-Za-z0-9._:/@-]{1,256}")
#: What a message part is, as a feature that a model needs for it.
_PARTS: Final = {"image_url": "images", "file": "documents"}
_DOES: Final = {
    Operation.GENERATE: "write text",
    Operation.EMBED: "make embeddings",
    Operation.DRAW: "draw",
    Operation.SPEAK: "speak",
    Operation.TRANSCRIBE: "transcribe",
    Operation.CONVERSE: "converse by voice",
}
_SHOWN: Final = {"tools": "tools", "images": "images", "documents": "documents", "json_schema": "a JSON schema"}


class Routing:
    """Finds targets among `providers`. `routes` are names that lead to several, in order. `found` is told of targets when a
    name is asked for the first time, and now and then again."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        routes: Mapping[str, Sequence[Entry]] | None = None,
        retirements: Retirements | None = None,
        found: Callable[[Sequence[Target]], None] | None = None,
    ) -> None:
        self._on_found = found or (lambda targets: None)
        self.providers = providers
        self._entries = routes or {}
        self._retirements = retirements or Retirements()
        self._known: dict[tuple[str, str, bool, Operation], Choice] = {}
        self._known_until = self._retirements.next_change(time.time())
        self._listed = {m: p for p in reversed(list(providers.values())) if p.configured for m in p.models}
        self._random = random.Random()  # noqa: S311  it shares out load

    @property
    def routes(self) -> list[str]:
        """The names of the routes."""
        return list(self._entries)

    def plan(self, op: Op, profile: Profile, *, documents: bool) -> Sequence[Target]:
        """What may answer `op`, the best first; at least one.

        Raises `Problem`: 400 for a name that cannot be a model's and for what none of its targets can do, on ``/v1``
        404 for an unknown name.
        """
        choice = self._choice(op.model, profile, documents, op.operation)
        targets = choice.targets
        native = op.native if isinstance(op, Generate) else None
        bound = native is not None and native.bound
        if len(targets) == 1 and not bound and not choice.lacks[0] and not targets[0].provider.capabilities.lacks:
            return targets
        if bound and native is not None:
            choice = _speaking(choice, native)
            targets = choice.targets
        able = self._able(choice, needs_of(op), op)
        order = [targets[i] for i in able]
        if choice.weights and len(able) > 1:
            weights = [choice.weights[i] for i in able]
            if sum(weights) > 0:
                first = self._random.choices(order, weights)[0]
                order = [first, *[t for t in order if t is not first]]
        return order

    def _able(self, choice: Choice, needs: set[str], op: Op) -> list[int]:
        """Which targets can do what is needed, and have what they need themselves."""
        asked = op.model
        able = []
        lacking: set[str] = set()
        for i, t in enumerate(choice.targets):
            missing = needs & (choice.lacks[i] | t.provider.capabilities.lacks)
            if missing:
                lacking |= missing
            elif t.provider.serves(op.operation, t.model):
                able.append(i)
        if not able:
            shown = " and ".join(_SHOWN[f] for f in sorted(lacking))
            named = f"The model '{asked}'" if asked else "The model of this server"
            raise Problem("INVALID_REQUEST", f"{named} takes no request with {shown}.")
        return [i for i in able if choice.targets[i].provider.configured] or able[:1]

    def default(self, profile: Profile, operation: Operation) -> Choice:
        """What answers `operation` where no model is named. Raises `Problem` where the settings name none."""
        chosen = profile.default(operation)
        provider = self.providers[chosen.provider]
        model = chosen.model or provider.default_model(operation)
        if not model:
            raise Problem("INVALID_REQUEST", "model: name one; the settings of this server name none.", param="model")
        return self._named(model, provider) or self._one(provider, model)

    def _one(self, provider: Provider, model: str, *, renamed: bool = False) -> Choice:
        return Choice((self._current(provider, model, renamed),), lacks=(frozenset(),))

    def _current(self, provider: Provider, model: str, renamed: bool = False) -> Target:
        """The target, or the one that has succeeded it."""
        at, lifecycle = time.time(), provider.capabilities.lifecycle
        now = self._retirements.successor(lifecycle, model, at)
        ending = self._retirements.soon(lifecycle, now or model, at)
        if now is None:
            return Target(provider, model, renamed, ending=ending)
        return Target(provider, now, True, retired=model, ending=ending)

    def _named(self, model: str, default: Provider) -> Choice | None:
        """What `model` names: a route, a model that a provider lists, or one written ``provider/model``."""
        entries = self._entries.get(model)
        if entries is not None:
            return self._route(entries, default)
        if model in default.models:
            return self._one(default, model)
        listed = self._listed.get(model)
        if listed is not None:
            return self._one(listed, model)
        name, _, rest = model.partition("/")
        provider = self.providers.get(name)
        if provider is not None and rest and (rest in provider.models or _takes_any(provider)):
            return self._one(provider, rest)
        return None

    def _route(self, entries: Sequence[Entry], default: Provider) -> Choice:
        targets = []
        for e in entries:
            name, _, model = e.target.partition("/")
            provider = self.providers.get(name)
            targets.append(
                self._current(default, e.target, True) if provider is None else self._current(provider, model, True)
            )
        weighted = any(e.weight is not None for e in entries)
        weights = tuple(e.weight or 0.0 for e in entries) if weighted else ()
        return Choice(tuple(targets), weights, tuple(e.lacks for e in entries))

    def _choice(self, asked: str, profile: Profile, documents: bool, operation: Operation) -> Choice:
        if time.time() >= self._known_until:  # a model has retired today
            self._known.clear()
            self._known_until = self._retirements.next_change(time.time())
        key = (asked, profile.name, documents, operation)
        known = self._known.get(key)
        if known is None:
            known = self._find(asked, profile, documents, operation)
            self._on_found(known.targets)
            if len(self._known) < _REMEMBERED:
                self._known[key] = known
        return known

    def _find(self, asked: str, profile: Profile, documents: bool, operation: Operation) -> Choice:
        if not asked:
            return self.default(profile, operation)
        if MODEL_NAME.fullmatch(asked) is None:
            text = "model: a name is 1 to 256 letters, digits and . _ : / @ -"
            raise Problem("INVALID_MODEL", text, param="model")
        if "model" in profile.locked:
            return self._instead(asked, profile, operation)
        chosen = profile.default(operation)
        default = self.providers[chosen.provider]
        if not chosen.models or asked in chosen.models:
            named = self._named(asked, default)
            if named is None and (asked == chosen.model or _takes_any(default)):
                named = self._one(default, asked)
            if named is not None and any(t.provider.serves(operation, t.model) for t in named.targets):
                return named
            if named is not None and not documents:
                text = f"The model '{asked}' does not {_DOES[operation]}."
                raise Problem("INVALID_REQUEST", text, param="model")
        if documents:
            return self._instead(asked, profile, operation)
        raise Problem("MODEL_NOT_FOUND", f"The model '{asked}' does not exist here.", param="model")

    def _instead(self, asked: str, profile: Profile, operation: Operation) -> Choice:
        choice = self.default(profile, operation)
        if asked in (profile.default(operation).model, choice.targets[0].model):
            return choice
        targets = tuple(Target(t.provider, t.model, True, True, t.retired, t.ending) for t in choice.targets)
        return Choice(targets, choice.weights, choice.lacks)


def _takes_any(provider: Provider) -> bool:
    """Whether a provider is asked for names that the settings do not list."""
    return provider.capabilities.any_model and not provider.models


def _speaking(choice: Choice, native: Native) -> Choice:
    """Those targets of `choice` that speak the dialect of `native`. Raises `Problem` where none does."""
    able = [
        i
        for i, t in enumerate(choice.targets)
        if t.provider.dialect(Operation.GENERATE, native.dialect).name == native.dialect
    ]
    if not able:
        text = f"{native.bound}: the model that answers here cannot take this; it is translated to another API."
        raise Problem("FIELD_NOT_SUPPORTED", text, param=native.bound)
    weights = tuple(choice.weights[i] for i in able) if choice.weights else ()
    return Choice(tuple(choice.targets[i] for i in able), weights, tuple(choice.lacks[i] for i in able))


def needs_of(op: Op) -> set[str]:
    """What a model has to be able to do for `op`, of `core.capabilities.FEATURES`."""
    needs: set[str] = set()
    if not isinstance(op, Generate):
        return needs
    if _is_given(op.params.get("tools")) or _is_given(op.params.get("functions")):
        needs.add("tools")
    form = op.params.get("response_format")
    if b"json_schema" in bytes(form) if isinstance(form, Raw) else isinstance(form, dict) and "json_schema" in form:
        needs.add("json_schema")
    for message in op.messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            kind = _PARTS.get(part.get("type", ""))
            if kind is not None:
                needs.add(kind)
    return needs


def _is_given(value: Any) -> bool:
    return bytes(value) not in (b"null", b"[]") if isinstance(value, Raw) else bool(value)
