"""Switchboard: the self-hosted backend between the apps that people build and the AI providers."""

__version__ = "0.1.0"
