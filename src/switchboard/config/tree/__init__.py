"""The tree of settings. Every key, its type, its default and what it means; `docs/settings.md` is made from it."""

from switchboard.config.tree.apps import Chat, ProfileSettings, RealtimeSettings, TurnDetection
from switchboard.config.tree.callers import Callers, Quota
from switchboard.config.tree.process import Cors
from switchboard.config.tree.providers import ProviderSettings
from switchboard.config.tree.settings import Settings
from switchboard.config.tree.types import fields_of

__all__ = [
    "Callers",
    "Chat",
    "Cors",
    "ProfileSettings",
    "ProviderSettings",
    "Quota",
    "RealtimeSettings",
    "Settings",
    "TurnDetection",
    "fields_of",
]
