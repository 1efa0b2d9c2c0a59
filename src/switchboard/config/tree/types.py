"""What settings are made of: sections, and the types of values that are more than text and numbers."""

from __future__ import annotations

from typing import Annotated, Any, Final, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo

from switchboard.core.capabilities import FEATURES
from switchboard.net.address import Networks
from switchboard.policy.routing import MODEL_NAME
from switchboard.providers import kinds
from switchboard.providers.base import endpoint

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Bytes = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=1)]


def _plain_origin(origin: str) -> str:
    if origin == "*":
        return origin
    scheme, found, host = origin.partition("://")
    if not found or not host or "/" in host or scheme not in ("http", "https", "app", "capacitor", "ionic", "tauri"):
        raise ValueError("an origin is a scheme and a host, without a path: https://app.example.com")
    return origin.lower()


def _networks(names: list[str]) -> list[str]:
    Networks(names)
    return names


def _base_url(url: str) -> str:
    endpoint(url)
    return url


def _socket_url(url: str) -> str:
    if not url.startswith(("ws://", "wss://")):
        raise ValueError("a realtime URL begins with ws:// or wss://")
    return url


def _kind(name: str) -> str:
    if name not in kinds():
        raise ValueError(f"there is no such type of provider; there are {', '.join(kinds())}")
    return name


def _feature(name: str) -> str:
    if name not in FEATURES:
        raise ValueError(f"there is no such feature; there are {', '.join(FEATURES)}")
    return name


def _model(name: str) -> str:
    if MODEL_NAME.fullmatch(name) is None:
        raise ValueError("a model's name is 1 to 256 letters, digits and . _ : / @ -")
    return name


def _entry(value: Any) -> Any:
    return {"target": value} if isinstance(value, str) else value


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _one_or_many_sections(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _printable(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not text.strip() or any(ord(c) < 33 or ord(c) > 126 for c in text):
        raise ValueError("a key is made of printable ASCII characters, without blanks")
    return secret


BaseUrl = Annotated[str, AfterValidator(_base_url)]
SocketUrl = Annotated[str, AfterValidator(_socket_url)]
Origin = Annotated[str, AfterValidator(_plain_origin)]
NetworkNames = Annotated[list[str], AfterValidator(_networks)]
KindName = Annotated[str, AfterValidator(_kind)]
Feature = Annotated[str, AfterValidator(_feature)]
Model = Annotated[str, AfterValidator(_model)]
Key = Annotated[SecretStr, AfterValidator(_printable)]
#: One may stand for a list of one.
ONE_OR_MANY: Final = BeforeValidator(_one_or_many)
ONE_OR_MANY_SECTIONS: Final = BeforeValidator(_one_or_many_sections)
Names = Annotated[list[str], ONE_OR_MANY]
Keys = Annotated[list[Key], ONE_OR_MANY]
#: The target by itself is a whole entry.
ENTRY: Final = BeforeValidator(_entry)
UPPER: Final = BeforeValidator(_upper)


def fields_of(section: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys of a section, as they are written."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


class Section(BaseModel):
    """A part of the tree: unknown keys are refused, and nothing changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        wanted = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and bool not in (wanted, *get_args(wanted)):
            raise ValueError("yes or no is not expected here")
        return value
