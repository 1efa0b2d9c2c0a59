"""What settings say of callers and sessions, as the policies that hold it."""

from __future__ import annotations

from typing import Any, TypeVar

from msgspec import UNSET, UnsetType

from switchboard.config.tree import Callers, ProfileSettings, Quota, RealtimeSettings, Settings, TurnDetection
from switchboard.core.counting import Allowance
from switchboard.dialects.realtime import SessionFields
from switchboard.engine.converse import HeldSession
from switchboard.engine.converse.held import SCRIBE
from switchboard.engine.converse.tools import load as load_tools
from switchboard.policy.jwt import Issuer, by_iss, firebase
from switchboard.policy.own_check import OwnCheck, load
from switchboard.policy.quotas import Quotas


def quotas_of(name: str, settings: Settings, own: ProfileSettings | None = None) -> Quotas:
    """What the callers of the profile `name` may use; it is `own` where it is not the top one."""
    caller, everyone = allowance_of(settings.limits), settings.limits.everyone
    if own is not None:
        caller = allowance_of(own.limits).over(caller)
        everyone = own.everyone or everyone
    return Quotas(name, caller, allowance_of(everyone), allowance_of(settings.limits.address))


def session_of(settings: Settings, own: ProfileSettings | None = None) -> HeldSession:
    """What is held of conversations by voice. Raises `ValueError` for tools that cannot be had."""
    said = (own.realtime if own is not None else None) or settings.realtime
    return HeldSession(
        session_fields(said),
        load_tools(said.tools, said.tool_seconds),
        frozenset(said.client_fields),
        said.idle_seconds,
        said.max_seconds,
        said.renew_seconds if said.renew else None,
        said.heartbeat_seconds,
    )


def session_fields(said: RealtimeSettings) -> SessionFields:
    """What a section of the settings says of a session."""
    scribe = {"model": said.transcription_model, "language": said.transcription_language}
    scribe = {name: value for name, value in scribe.items() if value is not None}
    noise = said.noise_reduction
    return SessionFields(
        instructions=_or_unset(said.instructions),
        voice=_or_unset(said.voice),
        input_format=_or_unset(said.input_format),
        output_format=_or_unset(said.output_format),
        transcription={"model": SCRIBE} | scribe if scribe else UNSET,
        turn_detection=_turns(said.turn_detection),
        noise_reduction=UNSET if noise is None else None if noise == "none" else {"type": noise},
    )


def _turns(said: TurnDetection) -> dict[str, Any] | UnsetType | None:
    turns = said.model_dump(exclude_none=True)
    if not turns:
        return UNSET
    if said.type == "none":
        return None
    return {"type": "server_vad" if said.eagerness is None else "semantic_vad"} | turns


T = TypeVar("T")


def _or_unset(value: T | None) -> T | UnsetType:
    return UNSET if value is None else value


def issuers_of(callers: Callers) -> dict[str, Issuer]:
    """The issuers of tokens that a section of the settings names, by `iss`. Raises `ValueError`."""
    issuers = [
        Issuer(
            name=j.issuer,
            issuer=j.issuer,
            audiences=tuple(j.audience),
            algorithms=tuple(j.algorithms),
            secret=None if j.secret is None else j.secret.get_secret_value().encode(),
            jwks_url=j.jwks_url or "",
            user_claim=j.user_claim,
            leeway=j.leeway,
        )
        for j in callers.jwt
    ]
    if callers.firebase_project is not None:
        issuers.append(firebase(callers.firebase_project))
    return by_iss(issuers)


def own_check(callers: Callers) -> OwnCheck | None:
    """The check of one's own that a section of the settings names. Raises `ValueError`."""
    if callers.validate_with is None:
        return None
    return OwnCheck(load(callers.validate_with), timeout=callers.validate_seconds)


def allowance_of(quota: Quota) -> Allowance:
    """What a section of the settings allows."""
    return Allowance(**{name: getattr(quota, name) for name in Allowance.__struct_fields__})
