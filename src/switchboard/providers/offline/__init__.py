"""The provider that needs no network and no key: what a fresh machine runs, and what tests run against.

`echo` repeats the last user message. The scripted models show every way in which a provider can fail.
"""

from switchboard.core.ports import Provider, Transport
from switchboard.providers.base import Kind, Row
from switchboard.providers.offline.provider import OfflineProvider

__all__ = ["KIND", "OfflineProvider"]


def _make(row: Row, transport: Transport) -> Provider:
    return OfflineProvider(row.name, studio=transport, pace=row.pace, timeouts=row.timeouts)


KIND = Kind(type="offline", title="Offline", make=_make, key_needed=False, network=False)
