"""Switchboard: the self-hosted backend between the apps that people build and the AI providers."""

from switchboard import compiled

__version__ = "0.1.0"

if not compiled.fresh():
    compiled.interpret()
