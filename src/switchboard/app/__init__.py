"""The composition root: settings become an immutable `Runtime`, and the `Application` that serves it.

What lives as long as the process (registry, ledger, log, metrics, connections to providers) is in `Application`; what a
reload replaces (providers, policies, routes) is in `Runtime`. An exchange keeps the runtime that it began with.
"""

from switchboard.app.application import Application, public_address
from switchboard.app.runtime import Runtime, default_provider, secrets_of

__all__ = ["Application", "Runtime", "default_provider", "public_address", "secrets_of"]
