"""What a provider says of an error, as a client may hear it: without keys, hosts and addresses."""

from __future__ import annotations

from typing import Any, Final

from switchboard.core.masking import mask_all, mask_secrets
from switchboard.dialects.realtime import JsonObject

#: Events in which a provider says why something failed.
TELLING: Final = frozenset({"error", "response.done", "conversation.item.input_audio_transcription.failed"})


def mask_words(event: JsonObject, secrets: tuple[str, ...]) -> bool:
    """Take out of one of `TELLING` what nobody may see: `secrets`, whatever looks like one, and in messages hosts too. Whether there was any."""
    error = _error_in(event)
    if not isinstance(error, dict):
        return False
    changed = False
    for name in ("message", "type", "code", "param"):
        said = error.get(name)
        if isinstance(said, str):
            shown = mask_all(said, secrets) if name == "message" else mask_secrets(said, secrets)
            changed = changed or shown != said
            error[name] = shown
    return changed


def _error_in(event: JsonObject) -> Any:
    response = event.get("response")
    details = response.get("status_details") if isinstance(response, dict) else None
    return details.get("error") if isinstance(details, dict) else event.get("error")
