"""Forms with files: read however they are cut, written so that they read the same, and never held in memory."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from switchboard.core.errors import Problem
from switchboard.core.types import FilePart, Form, Segment, Upload
from switchboard.wire import multipart
from switchboard.wire.multipart import FileReader, FormReader, FormWriter, boundary_of, form_type

MANY = settings(max_examples=300, deadline=None)
BOUNDARY = b"b0undary"
CRLF = b"\r\n"

Read = tuple[list[tuple[str, str]], list[tuple[str, str, str, bytes]]]


def field(name: str, value: str) -> bytes:
    return b'content-disposition: form-data; name="%b"\r\n\r\n%b' % (name.encode(), value.encode())


def file(name: str, filename: str, data: bytes, kind: str = "audio/wav") -> bytes:
    lines = b'content-disposition: form-data; name="%b"; filename="%b"' % (name.encode(), filename.encode())
    return lines + b"\r\ncontent-type: " + kind.encode() + b"\r\n\r\n" + data


def form(*parts: bytes, boundary: bytes = BOUNDARY, end: bool = True) -> bytes:
    last = b"--" + boundary + b"--\r\n" if end else b""
    return b"".join(b"--" + boundary + CRLF + p + CRLF for p in parts) + last


def content(part: FilePart) -> bytes:
    return b"".join(Upload((part.data,)).chunks())


def seen(f: Form) -> Read:
    return f.fields, [(x.name, x.filename, x.content_type, content(x)) for x in f.files]


def read(pieces: list[bytes], boundary: bytes = BOUNDARY) -> Read:
    """What a form that comes in `pieces` says."""
    reader = FormReader(boundary)
    try:
        for p in pieces:
            reader.feed(p)
        return seen(reader.end())
    finally:
        reader.close()


def refused(data: bytes) -> Problem:
    with pytest.raises(Problem) as e:
        read([data])
    return e.value


#: Sound that holds what looks like the end of a part.
SOUND = b"\x00\x01\r\n--b0undar\r\n--b0undaryX\r\n-\r\n--b0undary-\xff\r\n\r"
WHOLE = form(
    field("model", "tts-żółć"),
    file("file", "zażółć.wav", SOUND),
    field("empty", ""),
    file("mask", "", b"", "image/png"),
)
SAID: Read = (
    [("model", "tts-żółć"), ("empty", "")],
    [("file", "zażółć.wav", "audio/wav", SOUND), ("mask", "", "image/png", b"")],
)


# ---- coming in


def test_a_form_cut_once_at_every_byte() -> None:
    for at in range(len(WHOLE) + 1):
        assert read([WHOLE[:at], WHOLE[at:]]) == SAID, at


def test_a_form_a_byte_at_a_time() -> None:
    assert read([WHOLE[i : i + 1] for i in range(len(WHOLE))]) == SAID


@MANY
@given(at=st.lists(st.integers(0, len(WHOLE)), max_size=12))
def test_a_form_in_any_pieces(at: list[int]) -> None:
    assert read([WHOLE[a:b] for a, b in pairwise([0, *sorted(at), len(WHOLE)])]) == SAID


def test_a_form_whose_end_is_missing_at_every_byte() -> None:
    """But for the line end behind the last boundary, which clients leave out."""
    end = len(WHOLE) - len(CRLF)
    for at in range(end):
        assert "its end is missing" in refused(WHOLE[:at]).message, at
    assert read([WHOLE[:end]]) == SAID


def test_a_field_that_comes_twice_counts_last() -> None:
    reader = FormReader(BOUNDARY)
    reader.feed(form(field("a", "1"), field("b", "2"), field("a", "3")))
    f = reader.end()
    assert (f.field("a"), f.field("b"), f.field("c")) == ("3", "2", None)
    assert f.fields == [("a", "1"), ("b", "2"), ("a", "3")]
    reader.close()


def test_files_lie_one_behind_the_other() -> None:
    reader = FormReader(BOUNDARY)
    reader.feed(form(file("image[]", "a.png", b"first"), file("image[]", "b.png", b"second"), field("x", "y")))
    f = reader.end()
    assert [(x.data.start, x.data.size) for x in f.files] == [(0, 5), (5, 6)]
    assert [content(x) for x in reversed(f.files)] == [b"second", b"first"]
    reader.close()


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (b'filename="a.wav"', "a.wav"),
        (b"filename=a.wav", "a.wav"),
        (b'filename="a \\"b\\" c.wav"', 'a "b" c.wav'),
        (b'filename="a; name=b.wav"', "a; name=b.wav"),
        ('filename="zażółć 录音.wav"'.encode(), "zażółć 录音.wav"),
        (b'filename="\xff.wav"', "\ufffd.wav"),
        (b'filename=""', ""),
        (b"filename=\"a.wav\"; filename*=UTF-8''other.wav", "a.wav"),
        (b'filename="C:\\fakepath\\a.wav"', "a.wav"),
        (b'filename="../../etc/passwd"', "../../etc/passwd"),  # it is a name, and nobody opens it
    ],
)
def test_names_of_files(written: bytes, name: str) -> None:
    part = b'Content-Disposition: form-data; name="file"; %b\r\nContent-Type: audio/wav\r\n\r\nx' % written
    assert read([form(part)]) == ([], [("file", name, "audio/wav", b"x")])


def test_a_file_without_a_type() -> None:
    part = b'content-disposition: form-data; name="file"; filename="a"\r\n\r\nx'
    assert read([form(part)]) == ([], [("file", "a", "", b"x")])


@pytest.mark.parametrize("nothing", [form(), b"--" + BOUNDARY + b"--"])
def test_a_form_without_parts(nothing: bytes) -> None:
    assert read([nothing]) == ([], [])


def test_line_ends_before_it_and_anything_behind_it_are_passed_over() -> None:
    assert read([CRLF + form(field("a", "1")) + b"epilogue\r\n--b0undary\r\n"]) == ([("a", "1")], [])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "its end is missing"),
        (b"hello", "boundary"),
        (b"--other\r\n" + field("a", "1") + b"\r\n--other--\r\n", "boundary"),
        (form(field("a", "1")).replace(CRLF, b"\n"), "boundary"),
        (form(b"content-disposition: form-data\r\n\r\nx"), "a part has no name"),
        (form(b'content-disposition: attachment; name="a"\r\n\r\nx'), "a part has no name"),
        (form(b"content-type: text/plain\r\n\r\nx"), "a part has no name"),
        (form(b"\r\nx"), "a part has no name"),
        (form(b"content disposition: form-data\r\n\r\nx"), "invalid character"),
        (form(b": x\r\n\r\nx"), "0-length header"),
        (form(b"x: y\r\n" * 9 + field("a", "1")), "header count"),
        (form(b"x: " + b"y" * 5000 + CRLF + field("a", "1")), "header size"),
        (form(b"y" * 5000 + b": x\r\n" + field("a", "1")), "header size"),
    ],
)
def test_what_is_no_form(data: bytes, why: str) -> None:
    p = refused(data)
    assert (p.code, p.param) == ("INVALID_REQUEST", None)
    assert p.message.startswith("The body is not a form as it should be: ")
    assert why in p.message


def test_huge_headers_are_refused_before_they_are_whole() -> None:
    reader = FormReader(BOUNDARY)
    with pytest.raises(Problem) as e:  # noqa: PT012  how far it is fed is what is asked
        reader.feed(b"--" + BOUNDARY + b"\r\nx: ")
        for _ in range(10):
            reader.feed(b"y" * 1000)
    assert "header size" in e.value.message
    reader.close()


def test_text_that_is_not_utf_8_is_refused_by_name() -> None:
    p = refused(form(b'content-disposition: form-data; name="prompt"\r\n\r\n\xff\xfe'))
    assert p.message == "prompt: this is not UTF-8."
    p = refused(form(b'content-disposition: form-data; name="\xff"\r\n\r\nx'))
    assert p.message == "the name of a part: this is not UTF-8."
    p = refused(form(b'content-disposition: form-data; name="%b"\r\n\r\n\xff' % (b"n" * 500)))
    assert len(p.message) < 100


def test_how_many_parts_a_form_may_have() -> None:
    assert len(read([form(*[field("a", "1")] * 100, *[file("f", "x", b"y")] * 28)])[1]) == 28
    p = refused(form(*[field("a", "1")] * 100, *[file("f", "x", b"y")] * 29))
    assert (p.code, p.message) == ("INVALID_REQUEST", "A form has at most 128 parts.")


def test_how_large_the_fields_of_a_form_may_be() -> None:
    most = multipart._FIELD_SIZE
    for values in ([most], [most // 2, most // 2]):
        assert read([form(*[field("a", "x" * n) for n in values])])[0] == [("a", "x" * n) for n in values]
    for values in ([most + 1], [most // 2, most // 2 + 1]):
        p = refused(form(*[field("a", "x" * n) for n in values]))
        assert (p.code, p.message) == ("PAYLOAD_TOO_LARGE", f"The fields of a form are at most {most} bytes.")


def test_a_field_is_refused_as_soon_as_it_is_too_large() -> None:
    reader = FormReader(BOUNDARY)
    reader.feed(b"--" + BOUNDARY + CRLF + field("a", ""))
    with pytest.raises(Problem) as e:  # noqa: PT012  how far it is fed is what is asked
        for _ in range(10):
            reader.feed(b"x" * (multipart._FIELD_SIZE // 4))
    assert e.value.status == 413
    reader.close()


def test_samples_of_speakers_fit_into_fields() -> None:
    """OpenAI's ``known_speaker_references[]``: four data URLs of sound, ten seconds each."""
    samples = [field("known_speaker_references[]", "data:audio/wav;base64," + "A" * 640_000)] * 4
    assert len(read([form(*samples, file("file", "a.wav", b"x"))])[0]) == 4


# ---- anything at all


def problem_of(data: list[bytes], boundary: bytes) -> Problem | None:
    """What is wrong with a form that comes as `data`, if anything is; nothing but a `Problem` may be raised."""
    reader = FormReader(boundary)
    try:
        for d in data:
            reader.feed(d)
        f = reader.end()
    except Problem as p:
        return p
    else:
        assert sum(x.data.size for x in f.files) <= sum(map(len, data))
        return None
    finally:
        reader.close()


def only_problems(data: list[bytes], boundary: bytes) -> None:
    p = problem_of(data, boundary)
    assert p is None or (p.status in (400, 413) and len(p.message) < 300)


@MANY
@given(data=st.lists(st.binary(max_size=60), max_size=5), boundary=st.binary(min_size=1, max_size=5))
def test_any_bytes_are_read_or_refused(data: list[bytes], boundary: bytes) -> None:
    only_problems(data, boundary)


TOKENS = [
    *[
        b"--" + BOUNDARY,
        b"--" + BOUNDARY + CRLF,
        b"--" + BOUNDARY + b"--",
        b"\r\n--" + BOUNDARY,
        b"\r\n--" + BOUNDARY + b" ",
    ],
    *[CRLF, b"\r", b"\n", b"-", b"--", b":", b";", b'"', b"=", b"\\", b"\0", b"\xff", b"*", b" "],
    *[
        b"content-disposition: form-data",
        b"content-disposition:",
        b'; name="a"',
        b"; name=",
        b'; filename="b"',
        b"; filename",
    ],
    *[
        b"; name*=UTF-8''a",
        b"; filename*0=a",
        b"content-type: audio/wav",
        b"content-transfer-encoding: base64",
        b"x" * 4300,
    ],
]


@MANY
@given(tokens=st.lists(st.sampled_from(TOKENS), max_size=20), at=st.integers(0, 200))
@example(tokens=[b"--" + BOUNDARY + CRLF, b"content-disposition: form-data", b"; name*=UTF-8''a", CRLF, CRLF], at=0)
def test_pieces_of_forms_in_any_order_are_read_or_refused(tokens: list[bytes], at: int) -> None:
    data = b"".join(tokens)
    only_problems([data[:at], data[at:]], BOUNDARY)
    only_problems([form(*tokens)], BOUNDARY)


@MANY
@given(kind=st.binary(max_size=40) | st.binary(max_size=30).map(lambda b: b"multipart/form-data; boundary=" + b))
def test_any_content_type_has_a_boundary_or_none(kind: bytes) -> None:
    with suppress(Problem):
        boundary = boundary_of(kind)
        assert boundary is None or 1 <= len(boundary) <= 200


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        (b"multipart/form-data; boundary=x", b"x"),
        (b"Multipart/Form-Data;Boundary=x", b"x"),
        (b'multipart/form-data; boundary="a b"', b"a b"),
        (b"multipart/form-data; charset=utf-8; boundary=x", b"x"),
        (b"multipart/form-data; boundary=" + b"x" * 200, b"x" * 200),
        (b"multipart/mixed; boundary=x", None),
        (b"audio/wav", None),
        (b"", None),
    ],
)
def test_the_boundary_of_a_content_type(kind: bytes, boundary: bytes | None) -> None:
    assert boundary_of(kind) == boundary


@pytest.mark.parametrize(
    "kind",
    [b"multipart/form-data", b"multipart/form-data; boundary=", b"multipart/form-data; boundary=" + b"x" * 201],
)
def test_a_form_whose_boundary_is_missing_or_too_long(kind: bytes) -> None:
    with pytest.raises(Problem) as e:
        boundary_of(kind)
    assert (e.value.status, e.value.message) == (400, "The content type of a form needs a boundary.")


# ---- going out


def spooled(*files: tuple[str, str, str, bytes]) -> Form:
    """A form that holds `files` (name, name of the file, type, data)."""
    reader = FormReader(BOUNDARY)
    reader.feed(form(*[file(name, filename, data, kind) for name, filename, kind, data in files]))
    return reader.end()


def written(f: Form, boundary: bytes) -> Upload:
    writer = FormWriter(boundary)
    for name, value in f.fields:
        writer.field(name, value)
    for part in f.files:
        writer.file(part, part.filename)
    return writer.body()


def test_what_is_written() -> None:
    f = spooled(("file", "a.wav", "audio/wav", b"sound"))
    f.fields.append(("model", "whisper-1"))
    body = written(f, b"B")
    assert b"".join(body.chunks()) == (
        b'--B\r\ncontent-disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
        b'--B\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\ncontent-type: audio/wav\r\n\r\nsound\r\n'
        b"--B--\r\n"
    )
    assert body.size == len(b"".join(body.chunks()))
    assert form_type(b"B") == b"content-type: multipart/form-data; boundary=B\r\n"
    f.close()


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("audio/wav", b"audio/wav"),
        ("audio/webm; codecs=opus", b"audio/webm; codecs=opus"),
        ("", b"application/octet-stream"),
        ("audio/wäv", b"application/octet-stream"),
        ("a\r\nx: y", b"application/octet-stream"),
        ("a" * 201, b"application/octet-stream"),
    ],
)
def test_types_that_a_header_can_hold(kind: str, told: bytes) -> None:
    f = spooled(("file", "a", "audio/wav", b"x"))
    f.files[0].content_type = kind
    assert b"\r\ncontent-type: " + told + b"\r\n\r\nx" in b"".join(written(f, b"B").chunks())
    f.close()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ('a"b', b"a%22b"),
        ("a\r\nb", b"a%0D%0Ab"),
        ('"; filename="x', b"%22; filename=%22x"),
        ("zażółć", "zażółć".encode()),
    ],
)
def test_names_cannot_break_out_of_their_header(name: str, told: bytes) -> None:
    f = spooled(("file", "a", "audio/wav", b"x"))
    f.fields, f.files[0].filename = [(name, "v")], name
    body = b"".join(written(f, b"B").chunks())
    assert b'name="%b"\r\n\r\nv' % told in body
    assert b'name="file"; filename="%b"\r\n' % told in body
    f.close()


#: Text that stands in a quoted name as it is.
names = st.text(st.characters(codec="utf-8", exclude_characters='"\r\n\\'), min_size=1, max_size=12)
types = st.sampled_from(["audio/wav", "image/png", "audio/webm; codecs=opus"])
datas = st.binary(max_size=80) | st.sampled_from([SOUND, b"\r\n", b"--", b"x" * 70_000])


@MANY
@given(
    fields=st.lists(st.tuples(names, st.text(st.characters(codec="utf-8"), max_size=20)), max_size=4),
    files=st.lists(st.tuples(names, names, types, datas), max_size=3),
    at=st.lists(st.integers(0, 400), max_size=5),
)
def test_what_is_written_reads_the_same(
    fields: list[tuple[str, str]], files: list[tuple[str, str, str, bytes]], at: list[int]
) -> None:
    f = spooled(*files)
    f.fields = fields
    body = b"".join(written(f, f.boundary).chunks())
    assert body.count(b"--" + f.boundary) == len(fields) + len(files) + 1  # the boundary is in none of the parts
    edges = [0, *sorted(min(n, len(body)) for n in at), len(body)]
    assert read([body[a:b] for a, b in pairwise(edges)], f.boundary) == (fields, files)
    f.close()


def test_every_form_has_a_boundary_of_its_own() -> None:
    made = {_boundary_of_a_form() for _ in range(20)}
    assert len(made) == 20
    assert all(len(b) == 32 for b in made)


def _boundary_of_a_form() -> bytes:
    f = spooled()
    f.close()
    return f.boundary


def test_a_body_is_sent_as_often_as_it_is_asked_for() -> None:
    data = bytes(range(256)) * 1000
    f = spooled(("file", "a", "audio/wav", data))
    body = Upload((b"head", f.files[0].data, b"tail"))
    first, second = body.chunks(1000), body.chunks()
    begun = next(first) + next(first)
    assert b"".join(second) == b"head" + data + b"tail"
    assert begun + b"".join(first) == b"head" + data + b"tail"  # each reads from its own place
    assert max(map(len, body.chunks(1000))) == 1000
    f.close()


def test_a_body_whose_file_is_closed_or_too_short() -> None:
    f = spooled(("file", "a", "audio/wav", b"sound"))
    body = Upload((Segment(f.spool, 0, 9),))
    with pytest.raises(ValueError, match="shorter"):
        list(body.chunks())
    chunks = Upload((b"head", f.files[0].data)).chunks()
    assert next(chunks) == b"head"
    f.close()
    with pytest.raises(ValueError, match="closed"):
        next(chunks)


# ---- a body that is a file


@pytest.mark.parametrize("pieces", [[], [b""], [b"sound"], [b"so", b"", b"und"], [b"x" * 700_000] * 3])
def test_a_body_that_is_a_file(pieces: list[bytes]) -> None:
    reader = FileReader(b"audio/ogg; codecs=opus")
    for p in pieces:
        reader.feed(p)
    f = reader.end()
    assert seen(f) == ([], [("file", "", "audio/ogg; codecs=opus", b"".join(pieces))])
    assert len(f.boundary) == 32
    reader.close()


# ---- nothing is left


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_nothing_is_left_in_the_temporary_folder(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is there ever a file with a name, that would be left if the server were killed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    readers: list[FormReader | FileReader] = [FormReader(BOUNDARY), FileReader(b"audio/wav")]
    readers[0].feed(form(file("file", "a", b"x" * size), end=False))
    readers[1].feed(b"x" * size)
    assert list(tmp_path.iterdir()) == []
    grown = len(list(Path("/proc/self/fd").iterdir())) - open_before
    assert grown == (2 if size > 1_000_000 else 0)  # what is small stays in memory
    for r in readers:
        r.close()
        r.close()
    assert list(tmp_path.iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before
