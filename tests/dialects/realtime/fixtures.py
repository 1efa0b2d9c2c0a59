"""What the tests of the Realtime dialect stand on: the official SDK's types of both shapes, and events made of them."""

from __future__ import annotations

import json
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st
from openai.types.beta.realtime import ConversationItem, ConversationItemWithReference
from openai.types.beta.realtime.realtime_client_event import RealtimeClientEvent as BetaClientEvent
from openai.types.beta.realtime.realtime_server_event import RealtimeServerEvent as BetaServerEvent
from openai.types.beta.realtime.transcription_session import TranscriptionSession
from openai.types.realtime import AudioTranscription
from openai.types.realtime.realtime_client_event import RealtimeClientEvent as GaClientEvent
from openai.types.realtime.realtime_server_event import RealtimeServerEvent as GaServerEvent
from openai.types.realtime.realtime_session_create_request import RealtimeSessionCreateRequest
from pydantic import BaseModel

from switchboard.dialects.realtime import Shape, Translator

Json = dict[str, Any]
Strategy = st.SearchStrategy[Any]

BETA, GA = Shape.BETA, Shape.GA


def _by_type(union: Any) -> dict[str, Any]:
    return {
        name: kind for kind in get_args(get_args(union)[0]) for name in get_args(kind.model_fields["type"].annotation)
    }


#: The SDK's type of each event, by the event's type.
CLIENT = {BETA: _by_type(BetaClientEvent), GA: _by_type(GaClientEvent)}
SERVER = {BETA: _by_type(BetaServerEvent), GA: _by_type(GaServerEvent)}

_NUMBERS = st.integers(-(2**53), 2**53)
_TEXT = st.text(max_size=12)
_ANY = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_TEXT, inner, max_size=2),
    max_leaves=4,
)
_SCALARS: dict[Any, Strategy] = {
    str: _TEXT,
    int: _NUMBERS,
    float: st.floats(-1e6, 1e6).map(lambda f: round(f, 3)),
    bool: st.booleans(),
    object: _ANY,
    Any: _ANY,
    NoneType: st.none(),
}


def _item(*contents: tuple[str, list[str]], reference: bool) -> Strategy:
    """Beta items as there are: the SDK has one type for all, all of whose members may be missing."""
    common = {"id": _TEXT, "object": st.just("realtime.item"), "status": st.sampled_from(["completed", "incomplete"])}
    kinds = [
        st.fixed_dictionaries(
            {
                "type": st.just("message"),
                "role": st.just(role),
                "content": st.lists(st.one_of([_part(t) for t in types]), max_size=2),
            },
            optional=common,
        )
        for role, types in contents
    ]
    names: list[dict[str, Strategy]] = [
        {"type": st.just("function_call"), "name": _TEXT, "arguments": _TEXT, "call_id": _TEXT},
        {"type": st.just("function_call_output"), "call_id": _TEXT, "output": _TEXT},
    ]
    kinds += [st.fixed_dictionaries(n, optional=common) for n in names]
    if reference:
        kinds.append(st.fixed_dictionaries({"type": st.just("item_reference"), "id": _TEXT}))
    return st.one_of(kinds)


def _part(kind: str) -> Strategy:
    said = {"text": _TEXT} if kind.endswith("text") else {"audio": _TEXT, "transcript": _TEXT}
    return st.fixed_dictionaries({"type": st.just(kind)}, optional=dict(said))


_USER = ("user", ["input_text", "input_audio"])
_SYSTEM = ("system", ["input_text"])
_MODELS = ["gpt-4o-transcribe", "gpt-4o-mini-transcribe", "whisper-1"]
_FORMATS = st.sampled_from(["pcm16", "g711_ulaw", "g711_alaw"])
_WHOLE: dict[Any, Strategy] = {
    ConversationItem: _item(_USER, _SYSTEM, ("assistant", ["text", "audio"]), reference=False),
    ConversationItemWithReference: _item(_USER, _SYSTEM, ("assistant", ["text"]), reference=True),
}
#: Where one shape's type says less than the other's: what both can be.
_MEMBERS: dict[tuple[str, str], Strategy] = {
    (AudioTranscription.__name__, "model"): st.sampled_from(_MODELS),
    (RealtimeSessionCreateRequest.__name__, "model"): st.sampled_from(["gpt-realtime", "gpt-realtime-2025-08-28"]),
    (TranscriptionSession.__name__, "input_audio_format"): _FORMATS,
}


@cache
def json_of(kind: Any) -> Strategy:
    """JSON values of a type, as the SDK's models annotate it."""
    if kind in _WHOLE:
        return _WHOLE[kind]
    if kind in _SCALARS:
        return _SCALARS[kind]
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return json_of(args[0])
    if origin in (Union, UnionType):
        return st.one_of([json_of(a) for a in args])
    if origin is Literal:
        return st.sampled_from(args)
    if origin is list:
        return st.lists(json_of(args[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(_TEXT, json_of(args[1]), max_size=2)
    assert issubclass(kind, BaseModel), kind
    return _model(kind)


def _model(kind: type[BaseModel]) -> Strategy:
    needed: dict[str, Strategy] = {}
    optional: dict[str, Strategy] = {}
    for name, field in kind.model_fields.items():
        value = _MEMBERS.get((kind.__name__, name))
        if value is None and name == "tool_choice" and "beta" in kind.__module__:
            value = st.sampled_from(["auto", "none", "required"])
        if value is None and "TurnDetection" in kind.__name__ and name == "type":
            value = st.sampled_from(["server_vad", "semantic_vad"])
        if value is None and name == "include":
            value = st.none() | st.lists(st.just("item.input_audio_transcription.logprobs"), max_size=1)
        annotation: Any = field.annotation
        value = json_of(annotation) if value is None else value
        (needed if field.is_required() else optional)[name] = value
    return st.fixed_dictionaries(needed, optional=optional)


def frame(event: Any) -> bytes:
    """An event as it is sent."""
    return json.dumps(event, separators=(",", ":")).encode()


def asked(client: Shape, event: Json, translator: Translator | None = None) -> list[Json]:
    """What a provider of the other shape gets for an event of a client."""
    translator = translator or Translator(client, other(client))
    return [json.loads(f) for f in translator.from_client(frame(event))]


def told(client: Shape, event: Json, translator: Translator | None = None) -> list[Json]:
    """What a client gets for an event of a provider of the other shape."""
    translator = translator or Translator(client, other(client))
    return [json.loads(f) for f in translator.from_provider(frame(event))]


def other(shape: Shape) -> Shape:
    return GA if shape is BETA else BETA


def check_client(shape: Shape, event: Json) -> None:
    """`event` is one of the SDK's type for it."""
    _check(CLIENT[shape], event)


def check_server(shape: Shape, event: Json) -> None:
    _check(SERVER[shape], event)


def _check(types: dict[str, Any], event: Json) -> None:
    event = json.loads(json.dumps(event))
    if event["type"] == "transcription_session.created":  # it has no type
        event["type"] = "transcription_session.updated"
    if event["type"] == "transcription_session.updated":  # secrets are told over HTTP only, whatever the type says
        event["session"]["client_secret"] = {"value": "x", "expires_at": 1}
    for name in ("session", "response"):
        body = event.get(name)
        if not isinstance(body, dict):
            continue
        if "beta" in types[event["type"]].__module__ and isinstance(body.get("tool_choice"), dict):
            # the beta takes the object too; its type says text only
            assert body["tool_choice"]["type"] == "function"
            body["tool_choice"] = "auto"
        if isinstance(body.get("input"), list):  # references have a type of their own
            body["input"] = [i for i in body["input"] if i.get("type") != "item_reference"]
    types[event["type"]].model_validate(event)
