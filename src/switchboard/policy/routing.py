"""Which provider and which of its models answer a request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from switchboard.core.errors import Problem
from switchboard.core.ports import Provider
from switchboard.policy.profile import Profile

_REMEMBERED: Final = 1024
MODEL_NAME: Final = re.compile(r"[A-Za-z0-9._:/@-]{1,256}")


class Target(Struct, frozen=True, gc=False):
    """A provider, the model asked of it, and whether that is another one than the client asked for."""

    provider: Provider
    model: str
    substituted: bool = False


class Routing:
    """Finds targets among `providers`."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self.providers = providers
        self._known: dict[tuple[str, str, bool], Target] = {}
        self._listed = {m: p for p in reversed(list(providers.values())) if p.configured for m in p.models}

    def default(self, profile: Profile) -> Target:
        """What answers where no model is named. Raises `Problem` where the settings name none."""
        provider = self.providers[profile.provider]
        model = profile.model or (provider.models[0] if provider.models else "")
        if not model:
            raise Problem("INVALID_REQUEST", "model: name one; the settings of this server name none.", param="model")
        return self._named(model, provider) or Target(provider, model)

    def _named(self, model: str, default: Provider) -> Target | None:
        """The target that `model` names: listed by a provider, or written ``provider/model``."""
        if model in default.models:
            return Target(default, model)
        listed = self._listed.get(model)
        if listed is not None:
            return Target(listed, model)
        name, _, rest = model.partition("/")
        provider = self.providers.get(name)
        if provider is not None and rest and (rest in provider.models or _takes_any(provider)):
            return Target(provider, rest)
        return None

    def target(self, asked: str, profile: Profile, *, documents: bool) -> Target:
        """What answers a request for the model `asked` ("": none was named).

        Raises `Problem`: 400 for a name that cannot be one, on ``/v1`` 404 for an unknown one.
        """
        key = (asked, profile.name, documents)
        known = self._known.get(key)
        if known is None:
            known = self._find(asked, profile, documents)
            if len(self._known) < _REMEMBERED:
                self._known[key] = known
        return known

    def _find(self, asked: str, profile: Profile, documents: bool) -> Target:
        if not asked:
            return self.default(profile)
        if MODEL_NAME.fullmatch(asked) is None:
            text = "model: a name is 1 to 256 letters, digits and . _ : / @ -"
            raise Problem("INVALID_MODEL", text, param="model")
        if "model" in profile.locked:
            return self._instead(asked, profile)
        default = self.providers[profile.provider]
        if not profile.models or asked in profile.models:
            named = self._named(asked, default)
            if named is not None:
                return named
            if asked == profile.model or _takes_any(default):
                return Target(default, asked)
        if documents:
            return self._instead(asked, profile)
        raise Problem("MODEL_NOT_FOUND", f"The model '{asked}' does not exist here.", param="model")

    def _instead(self, asked: str, profile: Profile) -> Target:
        target = self.default(profile)
        return Target(target.provider, target.model, target.model != asked)


def _takes_any(provider: Provider) -> bool:
    """Whether a provider is asked for names that the settings do not list."""
    return provider.capabilities.any_model and not provider.models
