"""Forms with files as clients send them, and as a provider reads them."""

from __future__ import annotations

from switchboard.core.types import Upload
from switchboard.wire.multipart import FormReader, boundary_of

BOUNDARY = "----client-boundary-7"
#: The header that goes with `form`.
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}

#: A file: the field's name, the file's, its content type, its data.
File = tuple[str, str, str, bytes]


def form(fields: dict[str, str] | list[tuple[str, str]], *files: File) -> bytes:
    """The body of a form with `fields` and `files`."""
    out = b""
    for name, value in fields.items() if isinstance(fields, dict) else fields:
        out += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    for name, filename, kind, data in files:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
        out += f"{head}Content-Type: {kind}\r\n\r\n".encode() + data + b"\r\n"
    return out + f"--{BOUNDARY}--\r\n".encode()


def heard(request: bytes) -> tuple[list[tuple[str, str]], list[File]]:
    """The fields and files of a form that a provider was sent: `request` is all of it, its head too, and nothing else."""
    head, _, body = request.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    assert line.startswith("POST ") and line.endswith(" HTTP/1.1")
    headers = dict(x.lower().split(": ", 1) for x in lines)
    if headers.get("transfer-encoding") == "chunked":
        assert "content-length" not in headers
        body = unchunked(body)
    assert int(headers.get("content-length", len(body))) == len(body)
    kind = next(x for x in lines if x.lower().startswith("content-type: "))
    boundary = boundary_of(kind.partition(": ")[2].encode())
    assert boundary is not None
    reader = FormReader(boundary)
    reader.feed(body)
    f = reader.end()
    files = [(x.name, x.filename, x.content_type, b"".join(Upload((x.data,)).chunks())) for x in f.files]
    reader.close()
    return f.fields, files


def unchunked(body: bytes) -> bytes:
    """A body without the framing of HTTP's chunks, which has to be right to the last byte."""
    out: list[bytes] = []
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        assert body[length : length + 2] == b"\r\n"
        if not length:
            assert body == b"\r\n"
            return b"".join(out)
        out.append(body[:length])
        body = body[length + 2 :]


def in_chunks(*pieces: bytes) -> bytes:
    """A body as a client sends it that does not know its length."""
    return b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (*pieces, b""))
