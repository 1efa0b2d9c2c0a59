"""OpenAI's wire for embeddings, both halves: ``POST /v1/embeddings``.

Source: the OpenAI API reference, "Create embeddings". A vector is a list of numbers or, with ``encoding_format:
base64``, the bytes of its 32-bit floats (little-endian). Not every server gives what was asked for: here a client gets it.
"""

from __future__ import annotations

import array
import sys
from base64 import b64decode, b64encode
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Fault, Problem, UpstreamError
from switchboard.core.events import Embeddings
from switchboard.core.ports import Context, Encoder, Meter, Pipe
from switchboard.core.types import Embed, Lines, Usage
from switchboard.dialects import _openai_shapes as shapes
from switchboard.dialects._encoders import WholeOnly
from switchboard.dialects._openai_media import (
    MediaUsage,
    NoDecoder,
    OpenAIErrors,
    TypedTap,
    decode,
    read_members,
    told_error,
)

#: The most texts that are taken at once.
MOST: Final = 2048


class EmbeddingsRequest(Struct):
    """A request as far as it is checked; other members pass to the provider."""

    input: str | list[Any]
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: str | None = None


class _Item(Struct):
    embedding: Raw
    index: int = 0


class _Answer(Struct):
    data: list[_Item] | UnsetType = UNSET
    usage: MediaUsage | None = None
    error: Raw | UnsetType = UNSET


_decoder: Final = msgspec.json.Decoder(_Answer)
_numbers: Final = msgspec.json.Decoder(list[float])


def read_request(body: Any, raw: bytes) -> Embed:
    """The operation that an embeddings request asks for. Raises `Problem` that names the field at fault."""
    request, members = read_members(body, raw, EmbeddingsRequest)
    if request.dimensions is not None and request.dimensions < 1:
        raise Problem("INVALID_REQUEST", "dimensions: must be at least 1.", param="dimensions")
    return Embed(
        request.model or "",
        members=members,
        texts=_texts(request.input),
        base64=request.encoding_format == "base64",
        dimensions=request.dimensions,
    )


def _texts(value: str | list[Any]) -> list[str] | list[list[int]]:
    """The input as a list: of texts, or of lists of token ids. Raises `Problem`."""
    if isinstance(value, str) or (value and all(type(x) is int for x in value)):
        value = [value]
    if not value:
        raise Problem("INVALID_REQUEST", "input: at least one text is needed.", param="input")
    if len(value) > MOST:
        raise Problem(
            "INVALID_REQUEST", f"input: {len(value)} texts are more than the {MOST} that are taken.", param="input"
        )
    kind = type(value[0])
    for i, x in enumerate(value):
        where = "input" if len(value) == 1 else f"input[{i}]"
        if type(x) is not kind or not _is_text(x):
            text = f"{where}: a text or a list of token ids is expected, all of one kind."
            raise Problem("INVALID_REQUEST", text, param=where)
        if not x:
            raise Problem("INVALID_REQUEST", f"{where}: must not be empty.", param=where)
    return value


def _is_text(x: Any) -> bool:
    return isinstance(x, str) or (isinstance(x, list) and all(type(n) is int and n >= 0 for n in x))


def packed(vector: list[float]) -> str:
    """`vector` in base64."""
    return b64encode(_little(array.array("f", vector)).tobytes()).decode()


def unpacked(text: bytes) -> list[float]:
    """A vector out of base64. Raises `ValueError`."""
    return list(_little(array.array("f", b64decode(text, validate=True))))


def _little(numbers: array.array[float]) -> array.array[float]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


class EmbeddingsEncoder(WholeOnly):
    """Writes a list of embeddings."""

    def __init__(self, context: Context, base64: bool) -> None:
        self._context = context
        self._base64 = base64

    def whole(self, answer: Embeddings) -> bytes:
        """The list."""
        data = [
            {"object": "embedding", "index": i, "embedding": packed(v) if self._base64 else v}
            for i, v in enumerate(answer.vectors)
        ]
        usage = answer.usage or Usage()
        counted = {"prompt_tokens": usage.input, "total_tokens": usage.input}
        return shapes.encode({"object": "list", "data": data, "model": self._context.model, "usage": counted})


class OpenAIEmbeddings(OpenAIErrors):
    """The dialect itself; as a client's half it is made for vectors in `base64` or as numbers."""

    name = "openai_embeddings"

    def __init__(self, base64: bool = False) -> None:
        self._base64 = base64

    def encoder(self, context: Context) -> Encoder:
        return EmbeddingsEncoder(context, self._base64)

    def build(self, op: Embed, model: str, capabilities: Capabilities) -> bytes:
        return shapes.encode({"model": model, **op.members})

    def headers(self, op: Embed) -> Lines:
        return b""

    def decoder(self, context: Context) -> NoDecoder:
        return NoDecoder()

    def answer(self, body: bytes) -> Embeddings:
        answer, data = _read(body)
        data = sorted(data, key=lambda x: x.index)
        return Embeddings([_vector(x.embedding) for x in data], answer.usage.read() if answer.usage else None)

    def passed(self, op: Embed, body: bytes, meter: Meter) -> bytes:
        answer, data = _read(body)
        if answer.usage is not None:
            meter.usage(answer.usage.read())
        wanted = b'"' if op.base64 else b"["
        if all(bytes(memoryview(x.embedding)[:1]) == wanted for x in data):
            return body
        members = shapes.decode_members(body)
        items: list[dict[str, Any]] = msgspec.json.decode(members["data"], type=list[dict[str, Raw]])
        for item, x in zip(items, data, strict=True):
            vector = _vector(x.embedding)
            item["embedding"] = packed(vector) if op.base64 else vector
        return shapes.encode({**members, "data": items})

    def tap(self, context: Context, meter: Meter) -> Pipe:
        return TypedTap(context, meter, frozenset())


def _read(body: bytes) -> tuple[_Answer, list[_Item]]:
    answer = decode(_decoder, body, "a list of embeddings")
    told_error(answer.error)
    if answer.data is UNSET or not answer.data:
        raise UpstreamError(Fault.PROTOCOL, f"not a list of embeddings: {body[:200]!r}")
    return answer, answer.data


def _vector(raw: Raw) -> list[float]:
    value = bytes(raw)
    try:
        return unpacked(value[1:-1]) if value[:1] == b'"' else _numbers.decode(value)
    except (ValueError, msgspec.DecodeError) as e:
        raise UpstreamError(Fault.PROTOCOL, f"not a vector: {e}") from None
