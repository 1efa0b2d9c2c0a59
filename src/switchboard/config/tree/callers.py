"""Who may call, and how much."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from switchboard.config.tree.types import (
    ONE_OR_MANY_SECTIONS,
    BaseUrl,
    Bytes,
    Count,
    Key,
    Keys,
    Names,
    Seconds,
    Section,
)


class Jwt(Section):
    """An issuer of JSON Web Tokens whose users may ask."""

    issuer: str = Field(description="What its tokens carry as iss: https://login.example.com/.", min_length=1)
    audience: Names = Field(description="Whom its tokens are for (aud): one, or any of several.", min_length=1)
    jwks_url: BaseUrl | None = Field(
        None, description="Where its public keys are; by default what the issuer's OpenID configuration says."
    )
    algorithms: Names = Field(
        [], description="Signatures that are accepted; by default RS256 and ES256, or with a secret HS256."
    )
    secret: Key | None = Field(None, description="A shared secret, for HS256, HS384 or HS512, in place of public keys.")
    user_claim: str = Field("sub", description="The claim that names the user.")
    leeway: Seconds = Field(60, description="Seconds by which clocks may differ.")


class Callers(Section):
    """Users who are known by somebody else."""

    jwt: Annotated[list[Jwt], ONE_OR_MANY_SECTIONS] = Field(
        [], description="Issuers of tokens that are accepted: one, or a list."
    )
    firebase_project: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{3,62}$")] | None = Field(
        None, description="A Firebase project whose users are let in, by their ID tokens."
    )
    validate_with: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | None = Field(
        None, description="A function of yours that says who asks: package.module:function.", alias="validate"
    )
    validate_seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        5, description="Seconds that your function may take."
    )


class Auth(Callers):
    """Who may ask."""

    access_key: Keys = Field([], description="Keys that open everything: one, or a list while one is being replaced.")
    token_seconds: Count = Field(86_400, description="Seconds for which a token of POST /auth stands for the key.")
    api_keys: bool = Field(False, description="Whether API keys (switchboard keys create) are asked for and taken.")
    act_as: bool = Field(
        False, description="Whether the holder of an access key acts for the userId that a call names."
    )
    secret: Key | None = Field(
        None,
        description="What API keys are hashed and cookies signed with; by default a file in the data folder. Several hosts need the same.",
    )
    session_seconds: Count = Field(1_209_600, description="Seconds for which the page's cookie is good.")
    failures_per_minute: Count = Field(30, description="Wrong keys and tokens that an address may show.")
    public: list[Literal["web_chat", "speech", "openai_v1", "anthropic_v1"]] = Field(
        [],
        description="Surfaces that ask nobody who they are; needs limits.address.requests_per_minute and cors.origins.",
    )


class Quota(Section):
    """How much may be used; by default as much as one likes."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = Field(None, description="Tokens of questions and answers.")
    tokens_per_day: Count | None = None
    tokens_per_month: Count | None = None
    dollars_per_day: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="US dollars, by public prices."
    )
    dollars_per_month: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    streams: Count | None = Field(None, description="Streamed answers at a time.")
    voice_connects_per_minute: Count | None = None
    voice_sessions: Count | None = Field(None, description="Open voice sessions at a time.")


class LimitSettings(Quota):
    """How much, how many. What stands here of requests, tokens, dollars and streams holds for each caller: key, user, or
    address where nobody is known."""

    requests_per_minute: Count | None = Field(None, description="By caller.")
    voice_connects_per_minute: Count | None = 10
    voice_sessions: Count | None = Field(2, description="Open voice sessions of a caller at a time.")
    address: Quota = Field(Quota(), description="For each address.")
    everyone: Quota = Field(Quota(), description="For all callers of the app together.")
    json_body: Bytes = Field(32 * 1024 * 1024, description="Bytes of a JSON body.")
    upload: Bytes = Field(25 * 1024 * 1024, description="Bytes of a body that brings files.")
    nesting: Annotated[int, Field(ge=2, le=500)] = Field(64, description="Levels of a JSON body.")
    header_bytes: Bytes = Field(64 * 1024, description="Bytes of all headers of a request.")
    header_count: Count = Field(100, description="Headers of a request.")
    url_bytes: Bytes = Field(8 * 1024, description="Bytes of a URL.")
    header_seconds: Seconds = Field(10, description="Seconds in which all headers have to arrive.")
    body_seconds: Seconds = Field(10, description="Seconds after which a body has to keep to body_rate.")
    body_rate: Bytes = Field(1024, description="Least bytes a second of a body after body_seconds.")
    idle_seconds: Seconds = Field(75, description="Seconds that a connection may wait for its next request.")
    stall_seconds: Seconds = Field(60, description="Seconds that a client may read nothing of its answer.")
    connections: Count | None = Field(None, description="Open connections; by default what the system allows.")
    event: Bytes = Field(16 * 1024 * 1024, description="Bytes of one event of a provider's stream.")
    answer: Bytes = Field(64 * 1024 * 1024, description="Bytes of a provider's answer that is not streamed.")
