"""OpenAI's wires for images, both halves: ``POST /v1/images/generations`` (JSON) and ``POST /v1/images/edits`` (a form).

Source: the OpenAI API reference, "Create image", "Create image edit". The models of today give images in base64 and
nothing else; those that are gone gave addresses, took a ``style`` and had other names for qualities. A request that was
written for them is brought up to date.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Fault, Problem, UpstreamError
from switchboard.core.events import Event, Images, Metered, Picture
from switchboard.core.ports import Context, Decoder, Meter, Pipe
from switchboard.core.types import Draw, Form, Lines, Upload, Usage
from switchboard.dialects import _openai_shapes as shapes
from switchboard.dialects._openai_media import (
    MediaUsage,
    NoDecoder,
    OpenAIErrors,
    TypedTap,
    decode,
    read_members,
    required_text,
    told_error,
    typed_event,
)
from switchboard.dialects.openai_chat import error_body
from switchboard.wire.multipart import FormWriter, form_type

_LONGEST: Final = 32_000  # characters of a prompt
_MOST: Final = 10  # images at once
_PARTIAL: Final = 3  # images before they are finished
_LAST: Final = frozenset({"image_generation.completed", "image_edit.completed"})
#: Qualities of models that are gone, as today's call them.
_QUALITIES: Final = {"standard": "medium", "hd": "high"}
_KINDS: Final = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp", b"GIF8": "gif", b"<svg": "svg+xml"}


class ImagesRequest(Struct):
    """A request as far as it is checked; other members pass to the provider."""

    prompt: str
    model: str | None = None
    n: int | None = None
    size: str | None = None
    quality: str | None = None
    response_format: Literal["url", "b64_json"] | None = None
    stream: bool | None = None
    partial_images: int | None = None


class _Image(Struct):
    b64_json: str | None = None
    url: str | None = None


class _Answer(Struct):
    data: list[_Image] | UnsetType = UNSET
    usage: MediaUsage | None = None
    error: Raw | UnsetType = UNSET


_decoder: Final = msgspec.json.Decoder(_Answer)


def read_request(body: Any, raw: bytes, *, addresses: bool = False) -> Draw:
    """The operation that a request for images asks for. Raises `Problem` that names the field at fault."""
    request, members = read_members(body, raw, ImagesRequest)
    _check_count(request.n, "n", 1, _MOST)
    _check_count(request.partial_images, "partial_images", 0, _PARTIAL)
    return Draw(
        request.model or "",
        request.stream is True,
        choices=request.n or 1,
        members=members,
        prompt=required_text(request.prompt, "prompt", _LONGEST),
        size=request.size or "",
        addresses=addresses or request.response_format == "url",
    )


def read_form(form: Form) -> Draw:
    """The operation that a form with images to edit asks for. Raises `Problem` that names the field at fault."""
    if not any(f.name in ("image", "image[]") for f in form.files):
        raise Problem("INVALID_REQUEST", "image: at least one image is needed.", param="image")
    for f in form.files:
        if f.name not in ("image", "image[]", "mask", "markup"):
            raise Problem("INVALID_REQUEST", f"{f.name[:64]}: no file of this name is taken.", param=f.name[:64])
        if not f.data.size:
            raise Problem("INVALID_REQUEST", f"{f.name}: the file is empty.", param=f.name)
    prompt = form.field("prompt")
    if prompt is None:
        raise Problem("INVALID_REQUEST", "prompt: this field is required.", param="prompt")
    n, partial = _count(form, "n"), _count(form, "partial_images")
    _check_count(n, "n", 1, _MOST)
    _check_count(partial, "partial_images", 0, _PARTIAL)
    return Draw(
        form.field("model") or "",
        form.field("stream") == "true",
        choices=n or 1,
        members={},
        prompt=required_text(prompt, "prompt", _LONGEST),
        size=form.field("size") or "",
        form=form,
        addresses=form.field("response_format") == "url",
    )


def _count(form: Form, name: str) -> int | None:
    value = form.field(name)
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > 9:
        raise Problem("INVALID_REQUEST", f"{name}: a number is expected.", param=name)
    return int(value)


def _check_count(value: int | None, name: str, least: int, most: int) -> None:
    if value is not None and not least <= value <= most:
        raise Problem("INVALID_REQUEST", f"{name}: must be between {least} and {most}.", param=name)


def address_of(base64: str) -> str:
    """An address that holds the image itself."""
    begin = b""
    with suppress(ValueError):  # of what is no base64 nobody can tell the kind
        begin = b64decode(base64[:16] + "=" * (-len(base64[:16]) % 4))
    kind = next((k for magic, k in _KINDS.items() if begin.startswith(magic)), "png")
    return f"data:image/{kind};base64,{base64}"


class ImagesEncoder:
    """Writes lists of images, and the events of streamed ones; `addresses`: see `Draw`."""

    content_type = b"text/event-stream"
    whole_type = b"application/json"
    headers: Lines = b""
    keepalive = b": keep-alive\n\n"

    def __init__(self, context: Context, kind: str, addresses: bool) -> None:
        self._context = context
        self._kind = kind
        self._addresses = addresses

    def encode(self, events: Sequence[Event]) -> bytes:
        """Events for `events`; usage goes with the last image."""
        usage = next((e.usage for e in events if isinstance(e, Metered)), Usage())
        about = {"created_at": self._context.created, "background": "auto", "output_format": "png", "quality": "auto"}
        about["size"] = "auto"
        out = b""
        for e in events:
            if isinstance(e, Picture) and e.partial is not None:
                part = {"type": f"{self._kind}.partial_image", "partial_image_index": e.partial, "b64_json": e.base64}
                out += typed_event(part | about)
            elif isinstance(e, Picture):
                done = {"type": f"{self._kind}.completed", "b64_json": e.base64, "usage": _usage_out(usage)}
                out += typed_event(done | about)
        return out

    def whole(self, answer: Images) -> bytes:
        """The list."""
        data: list[dict[str, str]] = [{"b64_json": p} for p in answer.pictures]
        if self._addresses:
            for item in data:
                item["url"] = address_of(item["b64_json"])
        body: dict[str, Any] = {"created": self._context.created, "data": data}
        if answer.usage is not None:
            body["usage"] = _usage_out(answer.usage)
        return shapes.encode(body)

    def error(self, problem: Problem) -> bytes:
        """An event in place of the last one."""
        return typed_event({"type": "error", "error": error_body(problem)})


def _usage_out(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "input_tokens_details": {"text_tokens": usage.input, "image_tokens": 0},
    }


class OpenAIImages(OpenAIErrors):
    """Images out of a prompt. As a client's half it is made with `addresses` or without."""

    name = "openai_images"
    _event = "image_generation"

    def __init__(self, addresses: bool = False) -> None:
        self._addresses = addresses

    def encoder(self, context: Context) -> ImagesEncoder:
        return ImagesEncoder(context, self._event, self._addresses)

    def build(self, op: Draw, model: str, capabilities: Capabilities) -> bytes | Upload:
        if op.form is not None:
            raise Problem("INVALID_REQUEST", f"The model '{model}' edits no images.")
        members: dict[str, Any] = {"model": model, **op.members}
        if capabilities.base64_images is not None and capabilities.base64_images.fullmatch(model):
            quality = members.get("quality")
            known = None if quality is None else shapes.decode_any(quality)
            if known in _QUALITIES:
                members["quality"] = _QUALITIES[known]
            members.pop("response_format", None)  # there is only one, and addresses are made of it
            style = members.pop("style", None)
            if style is not None and bytes(style) != b"null":
                op.drop("style")
        return shapes.encode(members)

    def headers(self, op: Draw) -> Lines:
        return b""

    def decoder(self, context: Context) -> Decoder:
        return NoDecoder()

    def answer(self, body: bytes) -> Images:
        answer, data = _read(body)
        usage = answer.usage.read() if answer.usage is not None else Usage()
        usage.images = len(data)
        return Images([x.b64_json or "" for x in data], usage)

    def passed(self, op: Draw, body: bytes, meter: Meter) -> bytes:
        answer, data = _read(body)
        usage = answer.usage.read() if answer.usage is not None else op.asked()
        usage.images = len(data)
        meter.usage(usage)
        if not op.addresses or all(x.url for x in data):
            return body
        members = shapes.decode_members(body)
        items: list[dict[str, Any]] = msgspec.json.decode(members["data"], type=list[dict[str, Raw]])
        for item, x in zip(items, data, strict=True):
            if not x.url and x.b64_json:
                item["url"] = address_of(x.b64_json)
        return shapes.encode({**members, "data": items})

    def tap(self, context: Context, meter: Meter) -> Pipe:
        return TypedTap(context, meter, _LAST, images=True)


class OpenAIImageEdits(OpenAIImages):
    """Images out of images."""

    name = "openai_image_edits"
    _event = "image_edit"

    def build(self, op: Draw, model: str, capabilities: Capabilities) -> Upload:
        assert op.form is not None
        writer = FormWriter(op.form.boundary)
        writer.field("model", model)
        today = capabilities.base64_images is not None and capabilities.base64_images.fullmatch(model)
        for name, value in op.form.fields:
            if name == "model" or (today and name == "response_format"):
                continue
            writer.field(name, _QUALITIES.get(value, value) if today and name == "quality" else value)
        for part in op.form.files:
            writer.file(part, part.filename or "image.png")
        return writer.body()

    def headers(self, op: Draw) -> Lines:
        assert op.form is not None
        return form_type(op.form.boundary)


def _read(body: bytes) -> tuple[_Answer, list[_Image]]:
    answer = decode(_decoder, body, "a list of images")
    told_error(answer.error)
    if answer.data is UNSET or not answer.data:
        raise UpstreamError(Fault.PROTOCOL, f"not a list of images: {body[:200]!r}")
    return answer, answer.data
