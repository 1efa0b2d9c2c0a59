"""Forms with files (``multipart/form-data``, RFC 7578), in and out, without holding a file in memory.

Coming in, files go into a temporary file without a name (in memory up to a megabyte), where they lie one behind the
other until the form is closed. The parser is python-multipart's.
"""

from __future__ import annotations

import os
import re
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from switchboard.core.errors import Problem
from switchboard.core.types import FilePart, Form, Lines, Segment, Upload

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_IN_MEMORY: Final = 1024 * 1024
_FIELDS: Final = 128  # parts of a form
_FIELD_SIZE: Final = 8 * 1024 * 1024  # bytes of all fields together: samples of speakers are among them
_CONTENT_TYPE: Final = re.compile(r"[\x20-\x7e]{1,200}")


def boundary_of(content_type: bytes) -> bytes | None:
    """The boundary of a form; None for another content type. Raises `Problem` for a form without one."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        return None
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 200:
        raise Problem("INVALID_REQUEST", "The content type of a form needs a boundary.")
    return boundary


def _spool() -> BinaryIO:
    return cast("BinaryIO", SpooledTemporaryFile(_IN_MEMORY))  # closed with the form


def _boundary() -> bytes:
    return os.urandom(16).hex().encode()


class FileReader:
    """Reads a body that is itself a file, of the given content type; the form has it under the name ``file``."""

    def __init__(self, content_type: bytes) -> None:
        spool = _spool()
        self._form = Form(
            spool, _boundary(), files=[FilePart("file", "", content_type.decode("latin-1"), Segment(spool, 0, 0, True))]
        )

    def feed(self, data: bytes) -> None:
        """Some of the file."""
        self._form.spool.write(data)
        self._form.files[0].data.size += len(data)

    @property
    def begun(self) -> Form | None:
        """The form, once some of the file is there."""
        return self._form if self._form.files[0].data.size else None

    def end(self) -> Form:
        """The file is whole."""
        self._form.files[0].data.growing = False
        return self._form

    def close(self) -> None:
        """Throw it away."""
        self._form.close()


class FormReader:
    """Reads one form, a piece at a time."""

    def __init__(self, boundary: bytes) -> None:
        self._spool = _spool()
        self._form = Form(self._spool, _boundary())
        self._size = 0  # bytes in the spool
        self._field_size = 0
        self._name = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._field: bytearray | None = None  # the value of the field that comes in
        self._file: FilePart | None = None  # or the file
        self._complete = False
        self._parser = MultipartParser(boundary, self._callbacks())

    def _callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._part_begin,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_end": self._end,
        }

    def feed(self, data: bytes) -> None:
        """Some of the form. Raises `Problem` (400) where it is none."""
        try:
            self._parser.write(data)
        except MultipartParseError as e:
            raise _malformed(str(e)) from None

    @property
    def begun(self) -> Form | None:
        """The form, once the model is named and some of a file is there: what may still come is then not often needed."""
        named = self._file is not None and self._file.data.size and self._form.field("model")
        return self._form if named else None

    def end(self) -> Form:
        """The form is whole. Raises `Problem` (400) where its end is missing."""
        if not self._complete:
            raise _malformed("its end is missing")
        return self._form

    def close(self) -> None:
        """Throw the files away."""
        self._spool.close()

    # ---- from the parser

    def _part_begin(self) -> None:
        if self._form.parts >= _FIELDS:
            raise Problem("INVALID_REQUEST", f"A form has at most {_FIELDS} parts.")
        self._headers = {}
        self._name = self._value = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _headers_finished(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name")
        if kind != b"form-data" or name is None:
            raise _malformed("a part has no name")
        shown = _text(name, "the name of a part")
        if b"filename" in options:
            filename = options[b"filename"].decode("utf-8", "replace")
            content_type = self._headers.get(b"content-type", b"").decode("latin-1")
            self._file = FilePart(shown, filename, content_type, Segment(self._spool, self._size, 0, True))
            self._form.files.append(self._file)
        else:
            self._form.fields.append((shown, ""))
            self._field = bytearray()

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            assert self._file is not None
            self._spool.write(data[start:end])
            self._size += end - start
            self._file.data.size += end - start
            return
        self._field_size += end - start
        if self._field_size > _FIELD_SIZE:
            raise Problem("PAYLOAD_TOO_LARGE", f"The fields of a form are at most {_FIELD_SIZE} bytes.")
        self._field += data[start:end]

    def _part_end(self) -> None:
        if self._field is not None:
            name = self._form.fields[-1][0]
            self._form.fields[-1] = (name, _text(bytes(self._field), name))
            self._field = None
        elif self._file is not None:
            self._file = None

    def _end(self) -> None:
        self._complete = True
        for file in self._form.files:  # a provider that has been asked gets the end of its form only now
            file.data.growing = False


def _malformed(why: str) -> Problem:
    return Problem("INVALID_REQUEST", f"The body is not a form as it should be: {why}.")


def _text(value: bytes, what: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Problem("INVALID_REQUEST", f"{what[:64]}: this is not UTF-8.") from None


def form_type(boundary: bytes) -> Lines:
    """The header line of a form's content type."""
    return b"content-type: multipart/form-data; boundary=%b\r\n" % boundary


class FormWriter:
    """Makes the body of a form out of fields and files."""

    def __init__(self, boundary: bytes) -> None:
        self._boundary = boundary
        self._pieces: list[bytes | Segment] = []

    def field(self, name: str, value: str) -> None:
        """Add a field."""
        self._pieces.append(self._head(name, b"") + b"\r\n" + value.encode() + b"\r\n")

    def file(self, part: FilePart, filename: str) -> None:
        """Add `part` under `filename`."""
        lines = b'; filename="%b"' % _quoted(filename)
        known = _CONTENT_TYPE.fullmatch(part.content_type)
        lines += b"\r\ncontent-type: " + (part.content_type.encode() if known else b"application/octet-stream")
        self._pieces += [self._head(part.name, lines) + b"\r\n", part.data, b"\r\n"]

    def _head(self, name: str, more: bytes) -> bytes:
        return b'--%b\r\ncontent-disposition: form-data; name="%b"%b\r\n' % (self._boundary, _quoted(name), more)

    def body(self) -> Upload:
        """The form as a body."""
        return Upload((*self._pieces, b"--%b--\r\n" % self._boundary))


def _quoted(name: str) -> bytes:
    """As browsers do it."""
    for character, stands in (('"', "%22"), ("\r", "%0D"), ("\n", "%0A")):
        name = name.replace(character, stands)
    return name.encode()
