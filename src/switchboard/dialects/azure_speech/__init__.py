"""Azure Speech's wires over HTTP, the client's half: speech from SSML, and transcription by two services.

Source: Microsoft's documentation, "Text to speech REST API", "Speech to text REST API for short audio", "Fast
transcription API" (2024-11-15). No client of ours speaks them: everything is translated.
"""

from __future__ import annotations

from switchboard.dialects.azure_speech.synthesis import AzureSynthesis
from switchboard.dialects.azure_speech.transcription import SHORT, AzureTranscription, Recording

__all__ = ["SHORT", "AzureSynthesis", "AzureTranscription", "Recording"]
