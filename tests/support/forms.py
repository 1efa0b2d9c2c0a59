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
    """The fields and files of a form that a provider was sent: `request` is all of it, its head too."""
    head, _, body = request.partition(b"\r\n\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    assert int(headers[b"content-length"]) == len(body)
    kind = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-type: "))
    boundary = boundary_of(kind[len(b"content-type: ") :])
    assert boundary is not None
    reader = FormReader(boundary)
    reader.feed(body)
    f = reader.end()
    files = [(x.name, x.filename, x.content_type, b"".join(Upload((x.data,)).chunks())) for x in f.files]
    reader.close()
    return f.fields, files
