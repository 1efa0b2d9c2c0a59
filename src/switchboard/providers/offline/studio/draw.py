"""Images without a model: a card with the prompt on it, in colours that the prompt picks."""

from __future__ import annotations

import colorsys
import io
import re
import time
from base64 import b64encode
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

import msgspec
from PIL import Image, ImageDraw, ImageFont

from switchboard.providers.offline.studio.jobs import Draw, Refused

_SIZE: Final = re.compile(r"(\d{2,4})x(\d{2,4})")
_USUAL: Final = (1024, 1024)
_MOST: Final = 2048  # pixels of a side
_TEXT: Final = 400  # characters that find room


def cards(job: Draw) -> bytes:
    """OpenAI's list of images, as JSON. Raises `Refused`."""
    size = _size(job.size)
    data = [{"b64_json": _png(_card(job.prompt, size, i))} for i in range(job.n)]
    return msgspec.json.encode({"created": int(time.time()), "data": data, "output_format": "png"})


def streamed(job: Draw) -> Iterator[bytes]:
    """The data of OpenAI's events, as they are drawn. Raises `Refused`, here and not later."""
    size = _size(job.size)

    def events() -> Iterator[bytes]:
        for i in range(job.n):
            card = _card(job.prompt, size, i)
            for p in range(job.partials):
                about = {"type": "image_generation.partial_image", "partial_image_index": p}
                yield msgspec.json.encode({**about, "b64_json": _png(_coarse(card, 4 << job.partials - p))})
            yield msgspec.json.encode({"type": "image_generation.completed", "b64_json": _png(card)})

    return events()


def _coarse(card: Image.Image, grain: int) -> Image.Image:
    """`card` without what is smaller than `grain` pixels."""
    width, height = card.size
    small = card.resize((max(1, width // grain), max(1, height // grain)), Image.Resampling.BOX)
    return small.resize(card.size, Image.Resampling.BICUBIC)


def _png(card: Image.Image) -> str:
    """PNG in base64."""
    out = io.BytesIO()
    card.save(out, "PNG")
    return b64encode(out.getvalue()).decode()


def _size(text: str) -> tuple[int, int]:
    if text in ("", "auto"):
        return _USUAL
    found = _SIZE.fullmatch(text)
    size = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (min(size) >= 16 and max(size) <= _MOST):
        raise Refused(f"size: WIDTHxHEIGHT is expected, each from 16 to {_MOST}, or auto.", "size", "invalid_size")
    return size


def _card(prompt: str, size: tuple[int, int], number: int) -> Image.Image:
    """One card."""
    width, height = size
    picked = blake2b(f"{number} {prompt}".encode("utf-8", "replace"), digest_size=8).digest()
    hue = picked[0] / 255
    top, bottom = _color(hue, 0.45, 0.95), _color((hue + 0.12) % 1, 0.55, 0.75)
    gradient = Image.linear_gradient("L").resize(size)
    card = Image.composite(Image.new("RGB", size, bottom), Image.new("RGB", size, top), gradient)
    pen = ImageDraw.Draw(card)
    for i in range(1, 6):  # circles, where the prompt puts them
        x, y = width * picked[i] / 255, height * picked[i + 1] / 255
        r = min(size) * (0.06 + 0.14 * picked[7 - i] / 255)
        pen.ellipse((x - r, y - r, x + r, y + r), outline=_color(hue, 0.2, 1.0), width=max(1, min(size) // 200))
    margin = min(size) // 12
    font, lines = _fitted(prompt[:_TEXT], width - 2 * margin, height - 3 * margin, pen)
    text = "\n".join(lines)
    pen.multiline_text((width / 2, height / 2), text, (20, 20, 30), font, anchor="mm", align="center")
    small = ImageFont.load_default(max(8, min(size) // 40))
    pen.text((margin, height - margin), "drawn offline, by no model", (20, 20, 30), small, anchor="ls")
    return card


def _color(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    r, g, b = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(r * 255), round(g * 255), round(b * 255)


def _fitted(
    text: str, width: int, height: int, pen: ImageDraw.ImageDraw
) -> tuple[ImageFont.FreeTypeFont | ImageFont.ImageFont, list[str]]:
    """The largest font in which `text` finds room, and its lines."""
    points = max(8, min(width, height) // 6)
    while True:
        font = ImageFont.load_default(points)
        lines = _wrapped(text, width, font, pen)
        if points <= 8 or len(lines) * points * 1.3 <= height:
            return font, lines
        points = max(8, points * 4 // 5)


def _wrapped(
    text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, pen: ImageDraw.ImageDraw
) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if pen.textlength(longer, font) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
