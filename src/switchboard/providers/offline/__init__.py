"""The provider that needs no network and no key: what a fresh machine runs, and what tests run against.

`echo` repeats the last user message. The scripted models show every way in which a provider can fail.
"""

from switchboard.providers.offline.provider import OfflineProvider

__all__ = ["OfflineProvider"]
