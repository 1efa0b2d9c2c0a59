"""The members of sessions and responses, from either shape to the other.

Source: the types of the official ``openai`` SDK, ``types.realtime`` and ``types.beta.realtime``. The beta's objects are
flat; GA's have what concerns sound under ``audio.input`` and ``audio.output``. Members that neither shape knows pass
as they are, and so does a value that is not of the kind that its member takes: who gets it says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from switchboard.dialects.realtime.frames import JsonObject
from switchboard.dialects.realtime.losses import Losses

Path = tuple[str, ...]

REALTIME: Final = "realtime"
TRANSCRIPTION: Final = "transcription"

#: The beta's member → where GA has it.
SESSION_PATHS: Final[dict[str, Path]] = {
    "modalities": ("output_modalities",),
    "voice": ("audio", "output", "voice"),
    "speed": ("audio", "output", "speed"),
    "input_audio_format": ("audio", "input", "format"),
    "output_audio_format": ("audio", "output", "format"),
    "input_audio_transcription": ("audio", "input", "transcription"),
    "input_audio_noise_reduction": ("audio", "input", "noise_reduction"),
    "turn_detection": ("audio", "input", "turn_detection"),
    "max_response_output_tokens": ("max_output_tokens",),
}
#: The same of what `response.create` asks for.
ASKED_PATHS: Final = {
    n: SESSION_PATHS[n] for n in ("modalities", "voice", "output_audio_format", "max_response_output_tokens")
}
#: The same of a response that a server tells of, which calls its limit alike in both shapes.
TOLD_PATHS: Final = {n: p for n, p in ASKED_PATHS.items() if n != "max_response_output_tokens"}

_BETA_ONLY: Final = frozenset({"temperature", "client_secret"})
_GA_ONLY: Final = frozenset({"prompt", "truncation", "reasoning", "parallel_tool_calls"})
_GA_ONLY_WITHIN: Final = {
    "turn_detection": ("idle_timeout_ms",),
    "input_audio_transcription": ("delay", "keywords", "languages"),
    "input_audio_noise_reduction": ("strength",),
}

_FORMATS: Final[dict[str, JsonObject]] = {
    "pcm16": {"type": "audio/pcm", "rate": 24000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}
_FORMAT_NAMES: Final = {v["type"]: k for k, v in _FORMATS.items()}
_RATE: Final = 24000


def session_to_ga(session: Any, kind: str, losses: Losses) -> Any:
    """A beta session, or an update of one, as GA has it. `kind` is what it is a session for, where it does not say."""
    if not isinstance(session, dict):
        return session
    if kind == TRANSCRIPTION and "modalities" in session:  # it never answers
        losses.add("session.modalities", session.pop("modalities"))
    return {"type": kind} | _to_ga(session, "session", SESSION_PATHS, losses)


def session_to_beta(session: Any, losses: Losses) -> tuple[Any, str]:
    """A GA session, or an update of one, as the beta has it, and the kind of session that it says it is ("" where it does not)."""
    if not isinstance(session, dict):
        return session, ""
    kind = session.get("type")
    if kind not in (REALTIME, TRANSCRIPTION):
        kind = ""
    else:
        del session["type"]
    ga_only = _GA_ONLY if kind == TRANSCRIPTION else _GA_ONLY | {"include"}
    return _to_beta(session, "session", SESSION_PATHS, ga_only, losses), kind


def response_to_ga(response: JsonObject, paths: Mapping[str, Path], losses: Losses) -> JsonObject:
    """A beta response (`TOLD_PATHS`), or what one is asked to be (`ASKED_PATHS`), as GA has it, but for its items."""
    return _to_ga(response, "response", paths, losses)


def response_to_beta(response: JsonObject, paths: Mapping[str, Path], losses: Losses) -> JsonObject:
    """A GA response (`TOLD_PATHS`), or what one is asked to be (`ASKED_PATHS`), as the beta has it, but for its items."""
    return _to_beta(response, "response", paths, _GA_ONLY, losses)


def _to_ga(body: JsonObject, where: str, paths: Mapping[str, Path], losses: Losses) -> JsonObject:
    out: JsonObject = {}
    for name, value in body.items():
        if name in _BETA_ONLY:
            losses.add(f"{where}.{name}", value)
        elif name not in paths:
            out[name] = value
    for name, path in paths.items():
        if name in body:
            convert = _TO_GA.get(name)
            value = body[name] if convert is None else convert(body[name])
            if not _put(out, path, value):
                losses.add(f"{where}.{name}")
    return out


def _put(body: JsonObject, path: Path, value: Any) -> bool:
    """Put `value` at `path`, unless there is one: what is in the right shape counts."""
    for name in path[:-1]:
        below = body.get(name)
        if not isinstance(below, dict):
            below = body[name] = {}
        body = below
    return body.setdefault(path[-1], value) is value


def _to_beta(
    body: JsonObject, where: str, paths: Mapping[str, Path], ga_only: frozenset[str], losses: Losses
) -> JsonObject:
    out = {n: v for n, v in body.items() if n not in ga_only}
    for name in ga_only & body.keys():
        losses.add(f"{where}.{name}", body[name])
    for name, path in paths.items():
        found, value = _take(out, path)
        if not found:
            continue
        if name in out:
            losses.add(f"{where}.{'.'.join(path)}")
            continue
        convert = _TO_BETA.get(name)
        out[name] = value if convert is None else convert(value, f"{where}.{'.'.join(path)}", losses)
    _only_functions(out, where, losses)
    return out


def _take(body: JsonObject, path: Path) -> tuple[bool, Any]:
    """Take what is at `path` out of `body`, and the objects around it that are empty then."""
    if path[0] not in body:
        return False, None
    if len(path) == 1:
        return True, body.pop(path[0])
    below = body[path[0]]
    if not isinstance(below, dict):
        return False, None
    taken = _take(below, path[1:])
    if not below:
        del body[path[0]]
    return taken


def _only_functions(body: JsonObject, where: str, losses: Losses) -> None:
    """The beta knows tools of the client only, none that the provider calls itself."""
    tools = body.get("tools")
    if isinstance(tools, list) and any(map(_is_mcp, tools)):
        body["tools"] = [t for t in tools if not _is_mcp(t)]
        losses.add(f"{where}.tools.mcp")
    if _is_mcp(body.get("tool_choice")):
        del body["tool_choice"]
        losses.add(f"{where}.tool_choice.mcp")


def _is_mcp(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "mcp"


def _modalities_to_ga(value: Any) -> Any:
    return ["audio"] if isinstance(value, list) and "audio" in value else value


def _modalities_to_beta(value: Any, _where: str, _losses: Losses) -> Any:
    return ["audio", "text"] if value == ["audio"] else value


def _format_to_ga(value: Any) -> Any:
    return dict(_FORMATS[value]) if isinstance(value, str) and value in _FORMATS else value


def _format_to_beta(value: Any, where: str, losses: Losses) -> Any:
    if not isinstance(value, dict):
        return value
    kind = value.get("type") or "audio/pcm"
    name = _FORMAT_NAMES.get(kind) if isinstance(kind, str) else None
    if name == "pcm16" and value.get("rate", _RATE) != _RATE:
        losses.add(f"{where}.rate", value["rate"])
    return name or value


def _turn_detection_to_ga(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kind = value.get("type")
    if kind == "none":  # how early servers spelled null
        return None
    if kind is None:  # GA does not take what says nothing of its kind
        kind = "semantic_vad" if value.get("eagerness") is not None else "server_vad"
    return value | {"type": kind}


def _voice_to_beta(value: Any, _where: str, _losses: Losses) -> Any:
    """Of a voice of one's own, its id."""
    name = value.get("id") if isinstance(value, dict) else None
    return name if isinstance(name, str) else value


def _within(names: tuple[str, ...]) -> Callable[[Any, str, Losses], Any]:
    def without(value: Any, where: str, losses: Losses) -> Any:
        if isinstance(value, dict):
            for name in names:
                losses.add(f"{where}.{name}", value.pop(name, None))
        return value

    return without


_TO_GA: Final[dict[str, Callable[[Any], Any]]] = {
    "modalities": _modalities_to_ga,
    "input_audio_format": _format_to_ga,
    "output_audio_format": _format_to_ga,
    "turn_detection": _turn_detection_to_ga,
}
_TO_BETA: Final[dict[str, Callable[[Any, str, Losses], Any]]] = {
    "modalities": _modalities_to_beta,
    "voice": _voice_to_beta,
    "input_audio_format": _format_to_beta,
    "output_audio_format": _format_to_beta,
    **{name: _within(names) for name, names in _GA_ONLY_WITHIN.items()},
}
