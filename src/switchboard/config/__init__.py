"""The settings: one typed tree, where each value came from, and what is wrong with it, told all at once."""

from switchboard.config.load import SettingsError, load
from switchboard.config.tree import Settings

__all__ = ["Settings", "SettingsError", "load"]
