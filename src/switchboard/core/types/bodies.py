"""Bodies that hold more than text: uploads, files, forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import SEEK_END
from typing import BinaryIO

from msgspec import Struct


class Segment(Struct):
    """A piece of a body that lies in a (temporary) file: `size` bytes from `start` on, and more to come while it is `growing`."""

    file: BinaryIO
    start: int
    size: int
    growing: bool = False


class Upload(Struct):
    """A body that is not held in memory: `pieces` in order. Whoever sends one that is still growing is told by `on_more` of
    what has come."""

    pieces: tuple[bytes | Segment, ...]
    on_more: Callable[[], None] | None = None

    @property
    def growing(self) -> bool:
        """Whether some of it is still to come."""
        return any(isinstance(p, Segment) and p.growing for p in self.pieces)

    @property
    def size(self) -> int:
        """Bytes in all, as far as they have come."""
        return sum([len(p) if isinstance(p, bytes) else p.size for p in self.pieces])

    def chunks(self, size: int = 64 * 1024) -> Iterator[bytes]:
        """The body in pieces of at most about `size` bytes; b"" where what follows is still to come. Raises `ValueError` once
        its file is closed."""
        for piece in self.pieces:
            if isinstance(piece, bytes):
                yield piece
                continue
            at = piece.start
            while piece.growing or at < piece.start + piece.size:
                ready = piece.start + piece.size - at
                if not ready:
                    yield b""
                    continue
                piece.file.seek(at)
                data = piece.file.read(min(size, ready))
                if not data:
                    raise ValueError("the file is shorter than it was")
                piece.file.seek(0, SEEK_END)  # where more of it is written
                at += len(data)
                yield data


class FilePart(Struct):
    """A file that came in a form. `name` is that of the field, `filename` and `content_type` as the client said them."""

    name: str
    filename: str
    content_type: str
    data: Segment


class Form(Struct):
    """A form that came with files: `fields` in order, `files` in `spool`, a temporary file that has no name.

    `boundary` divides its parts where it goes on to a provider."""

    spool: BinaryIO
    boundary: bytes
    fields: list[tuple[str, str]] = []
    files: list[FilePart] = []

    @property
    def parts(self) -> int:
        """How many there are of both."""
        return len(self.fields) + len(self.files)

    def field(self, name: str) -> str | None:
        """The last value of the field `name`."""
        return next((v for n, v in reversed(self.fields) if n == name), None)

    def close(self) -> None:
        """Throw the files away."""
        self.spool.close()
