"""OpenAI's wires for images: what is refused, requests written for models that are gone, addresses, and streams."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects.media import (
    MANY,
    Bad,
    Meter,
    any_of,
    content,
    context,
    events,
    form,
    named,
    problem_of,
    read,
    read_back,
    refused,
    upstream_error_of,
    values,
    wrong,
)
from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Fault, Problem
from switchboard.core.events import Done, Images, Metered, Picture
from switchboard.core.types import Draw, Upload, Usage
from switchboard.dialects.openai_images import OpenAIImageEdits, OpenAIImages, address_of, read_form, read_request

WIRE, EDITS = OpenAIImages(), OpenAIImageEdits()
#: A provider whose models give images in base64 and nothing else.
TODAY = Capabilities(base64_images=re.compile("gpt-image.*"))
PNG = b64encode(b"\x89PNG\r\n\x1a\n and so on, and on").decode()
JPEG = b64encode(b"\xff\xd8\xff\xe0 and so on, and on").decode()
WEBP = b64encode(b"RIFF\x00\x00\x00\x00WEBPVP8 ").decode()
GIF = b64encode(b"GIF89a and so on, and on").decode()
SVG = b64encode(b'<svg xmlns="http://www.w3.org/2000/svg"/>').decode()
LARGE = ("image", "a.png", "image/png", b"\x89PNG" + b"x" * 100_000)
SMALL = ("image", "b.png", "image/png", b"\x89PNGb")


def drawn(**more: Any) -> Draw:
    return read(read_request, {"prompt": "a cat"} | more)


def built(model: str = "m", capabilities: Capabilities = TODAY, **more: Any) -> tuple[dict[str, Any], list[str]]:
    """What a provider is asked, and what is told to be lost."""
    op = drawn(**more)
    body = WIRE.build(op, model, capabilities)
    assert isinstance(body, bytes)
    return json.loads(body), op.dropped


def body(*images: Any, **more: Any) -> bytes:
    return json.dumps({"created": 1, "x-own": [1], "data": list(images)} | more, indent=1).encode()


# ---- what is asked


BAD: list[Bad] = [
    ({}, "prompt", "this field is required."),
    ({"prompt": None}, "prompt", "expected str, got null."),
    ({"prompt": ["a"]}, "prompt", "expected str, got array."),
    ({"prompt": ""}, "prompt", "must not be empty."),
    ({"prompt": " \n\t"}, "prompt", "must not be empty."),
    ({"prompt": "x" * 32_001}, "prompt", "32001 characters are more than the 32000 that are taken."),
    ({"prompt": "a", "n": 0}, "n", "must be between 1 and 10."),
    ({"prompt": "a", "n": 11}, "n", "must be between 1 and 10."),
    ({"prompt": "a", "n": "2"}, "n", "expected int | null, got str."),
    ({"prompt": "a", "partial_images": -1}, "partial_images", "must be between 0 and 3."),
    ({"prompt": "a", "partial_images": 4}, "partial_images", "must be between 0 and 3."),
    ({"prompt": "a", "response_format": "png"}, "response_format", "invalid enum value 'png'."),
    ({"prompt": "a", "stream": "yes"}, "stream", "expected bool | null, got str."),
    ({"prompt": "a", "size": 5}, "size", "expected str | null, got int."),
    ({"prompt": "a", "quality": []}, "quality", "expected str | null, got array."),
    ({"prompt": "a", "model": 5}, "model", "expected str | null, got int."),
]


@pytest.mark.parametrize(("asked", "param", "message"), BAD)
def test_bad_requests(asked: Any, param: str, message: str) -> None:
    assert refused(lambda: read(read_request, asked)) == (param, f"{param}: {message}")


def test_what_is_no_object() -> None:
    assert refused(lambda: read(read_request, ["a"])) == (None, "The body must be a JSON object.")


def test_what_is_asked() -> None:
    op = drawn(model="m", n=3, size="1024x1024", stream=True, partial_images=3, response_format="url")
    assert (op.prompt, op.model, op.choices, op.size) == ("a cat", "m", 3, "1024x1024")
    assert (op.stream, op.addresses, op.form) == (True, True, None)
    assert op.asked() == Usage(2, estimated=True)


@pytest.mark.parametrize("form_", [None, "b64_json"])
def test_addresses_are_for_who_asks(form_: str | None) -> None:
    assert not drawn(response_format=form_).addresses
    assert read(lambda v, raw: read_request(v, raw, addresses=True), {"prompt": "a"}).addresses


def test_the_longest_prompt_and_null() -> None:
    op = read(read_request, {"prompt": "é" * 32_000, "n": None, "stream": None, "size": None, "model": None})
    assert (len(op.prompt), op.choices, op.stream, op.size, op.model) == (32_000, 1, False, "", "")


# ---- what a provider is asked


def test_the_model_is_replaced_and_nothing_else() -> None:
    raw = b'{"x-own": {"a":[1.50, 1e2,"\\u00e9"]} ,"model":"theirs","prompt" : "a","quality":"hd","style":"vivid"}'
    body_ = WIRE.build(read(read_request, raw), "some-server", TODAY)
    assert isinstance(body_, bytes)
    assert json.loads(body_) == json.loads(raw) | {"model": "some-server"}
    assert b'{"a":[1.50, 1e2,"\\u00e9"]}' in body_


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("standard", "medium"),
        ("hd", "high"),
        ("high", "high"),
        ("medium", "medium"),
        ("auto", "auto"),
        ("new", "new"),
        (None, None),
    ],
)
def test_qualities_of_models_that_are_gone(asked: str | None, sent: str | None) -> None:
    assert built("gpt-image-1", quality=asked)[0]["quality"] == sent
    assert built("other", quality=asked)[0]["quality"] == asked
    assert built("gpt-image-1", Capabilities(), quality=asked)[0]["quality"] == asked


@pytest.mark.parametrize("asked", ["url", "b64_json", None])
def test_today_s_models_take_no_form_of_answer(asked: str | None) -> None:
    assert "response_format" not in built("gpt-image-1", response_format=asked)[0]
    assert built("other", response_format=asked)[0]["response_format"] == asked


def test_a_style_is_lost_on_today_s_models_and_that_is_told() -> None:
    assert built("gpt-image-1", style="vivid") == ({"model": "gpt-image-1", "prompt": "a cat"}, ["style"])
    assert built("other", style="vivid") == ({"model": "other", "prompt": "a cat", "style": "vivid"}, [])
    assert built("gpt-image-1") == ({"model": "gpt-image-1", "prompt": "a cat"}, [])


def test_nothing_is_lost_with_a_style_that_is_null() -> None:
    assert built("gpt-image-1", style=None) == ({"model": "gpt-image-1", "prompt": "a cat"}, [])


def test_another_target_finds_the_request_as_it_came() -> None:
    op = drawn(quality="hd", style="vivid", response_format="url")
    WIRE.build(op, "gpt-image-1", TODAY)
    second = WIRE.build(op, "other", TODAY)
    assert isinstance(second, bytes)
    assert json.loads(second) == {
        "model": "other",
        "prompt": "a cat",
        "quality": "hd",
        "style": "vivid",
        "response_format": "url",
    }


# ---- forms


BAD_FORMS: list[tuple[list[tuple[str, str]], list[tuple[str, str, str, bytes]], str, str]] = [
    ([("prompt", "a")], [], "image", "at least one image is needed."),
    ([("prompt", "a")], [("mask", "m.png", "image/png", b"x")], "image", "at least one image is needed."),
    ([("prompt", "a")], [SMALL, ("photo", "a.png", "image/png", b"x")], "photo", "no file of this name is taken."),
    ([("prompt", "a")], [("image", "a.png", "image/png", b"")], "image", "the file is empty."),
    ([("prompt", "a")], [SMALL, ("mask", "m.png", "image/png", b"")], "mask", "the file is empty."),
    ([], [SMALL], "prompt", "this field is required."),
    ([("prompt", "")], [SMALL], "prompt", "must not be empty."),
    ([("prompt", " ")], [SMALL], "prompt", "must not be empty."),
    (
        [("prompt", "x" * 32_001)],
        [SMALL],
        "prompt",
        "32001 characters are more than the 32000 that are taken.",
    ),
    ([("prompt", "a"), ("n", "x")], [SMALL], "n", "a number is expected."),
    ([("prompt", "a"), ("n", "")], [SMALL], "n", "a number is expected."),
    ([("prompt", "a"), ("n", "-1")], [SMALL], "n", "a number is expected."),
    ([("prompt", "a"), ("n", "²")], [SMALL], "n", "a number is expected."),
    ([("prompt", "a"), ("n", "1" * 5000)], [SMALL], "n", "a number is expected."),
    ([("prompt", "a"), ("n", "0")], [SMALL], "n", "must be between 1 and 10."),
    ([("prompt", "a"), ("n", "11")], [SMALL], "n", "must be between 1 and 10."),
    ([("prompt", "a"), ("partial_images", "4")], [SMALL], "partial_images", "must be between 0 and 3."),
]


@pytest.mark.parametrize(("fields", "files", "param", "message"), BAD_FORMS)
def test_bad_forms(
    fields: list[tuple[str, str]], files: list[tuple[str, str, str, bytes]], param: str, message: str
) -> None:
    assert refused(lambda: read_form(form(fields, *files))) == (param, f"{param}: {message}")


def test_a_file_s_name_is_not_repeated_at_length() -> None:
    param, message = refused(lambda: read_form(form([("prompt", "a")], SMALL, ("x" * 300, "", "", b"x"))))
    assert param == "x" * 64 and len(message) < 110


@pytest.mark.parametrize("name", ["image", "image[]"])
def test_a_form(name: str) -> None:
    fields = [("model", "theirs"), ("prompt", "a"), ("n", "2"), ("size", "512x512"), ("response_format", "url")]
    op = read_form(form([*fields, ("stream", "true")], (name, *SMALL[1:]), (name, *SMALL[1:])))
    assert (op.model, op.prompt, op.choices, op.size) == ("theirs", "a", 2, "512x512")
    assert (op.stream, op.addresses, op.form is not None) == (True, True, True)
    plain = read_form(form([("prompt", "a"), ("stream", "false")], SMALL))
    assert (plain.model, plain.choices, plain.stream, plain.addresses) == ("", 1, False, False)


def test_a_markup_is_taken_as_a_mask_is() -> None:
    """A file of the edits of GPT Image 2.5, in the official SDK."""
    op = read_form(form([("prompt", "a")], SMALL, ("markup", "m.png", "image/png", b"markup")))
    assert op.form is not None
    again = read_back(b"".join(EDITS.build(op, "m", TODAY).chunks()), op.form.boundary)
    assert [f.name for f in again.files] == ["image", "markup"]


@pytest.mark.parametrize(("asked", "sent"), [("standard", "medium"), ("hd", "high"), ("high", "high")])
def test_qualities_of_models_that_are_gone_in_a_form(asked: str, sent: str) -> None:
    op = read_form(form([("prompt", "a"), ("quality", asked)], SMALL))
    assert op.form is not None
    for model, quality in (("gpt-image-x", sent), ("other", asked)):
        again = read_back(b"".join(EDITS.build(op, model, TODAY).chunks()), op.form.boundary)
        assert again.field("quality") == quality


FIELDS = [("model", "theirs"), ("prompt", "żółty\r\nkot"), ("response_format", "url"), ("x-own", "1"), ("x-own", "2")]


@pytest.mark.parametrize(("model", "kept"), [("gpt-image-1", False), ("other", True)])
def test_a_form_goes_on_whole_but_for_its_model(model: str, kept: bool) -> None:
    op = read_form(form(FIELDS, LARGE, SMALL, ("mask", 'm".png', "image/png", b"mask")))
    upload = EDITS.build(op, model, TODAY)
    assert op.form is not None
    again = read_back(b"".join(upload.chunks()), op.form.boundary)
    assert EDITS.headers(op) == b"content-type: multipart/form-data; boundary=%b\r\n" % op.form.boundary
    wanted = [("model", model), *FIELDS[1:2], *(FIELDS[2:3] if kept else []), *FIELDS[3:]]
    assert again.fields == wanted
    assert [(f.name, f.filename, f.content_type, content(f)) for f in again.files] == [
        LARGE,
        SMALL,
        ("mask", 'm".png'.replace('"', "%22"), "image/png", b"mask"),
    ]
    assert op.form.fields == FIELDS  # for the next target


def test_a_file_without_a_name_gets_one() -> None:
    op = read_form(form([("prompt", "a")], ("image", "", "image/png", b"x")))
    assert op.form is not None
    again = read_back(b"".join(EDITS.build(op, "m", TODAY).chunks()), op.form.boundary)
    assert again.files[0].filename == "image.png"


def test_images_cannot_be_edited_where_they_are_drawn() -> None:
    op = read_form(form([("prompt", "a")], SMALL))
    assert refused(lambda: WIRE.build(op, "m", TODAY)) == (None, "The model 'm' edits no images.")


# ---- answers


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "png"),
        (JPEG, "jpeg"),
        (WEBP, "webp"),
        (SVG, "svg+xml"),
        (GIF, "gif"),
        ("AAAA", "png"),
        ("", "png"),
        ("AA", "png"),
    ],
)
def test_addresses_that_hold_the_image(data: str, kind: str) -> None:
    assert address_of(data) == f"data:image/{kind};base64,{data}"


@pytest.mark.parametrize("data", ["A", "AAAAA", "é", "****", "A=A=A", "😀" * 9])
def test_an_address_of_what_is_no_base64(data: str) -> None:
    assert address_of(data) == f"data:image/png;base64,{data}"


def test_addresses_are_added_where_the_provider_gave_none() -> None:
    answer = body({"b64_json": PNG, "x-own": 1}, {"url": "https://cdn.example/i.png"}, {"b64_json": JPEG, "url": None})
    told = json.loads(WIRE.passed(drawn(response_format="url"), answer, Meter()))
    assert told["data"] == [
        {"b64_json": PNG, "x-own": 1, "url": f"data:image/png;base64,{PNG}"},
        {"url": "https://cdn.example/i.png"},
        {"b64_json": JPEG, "url": f"data:image/jpeg;base64,{JPEG}"},
    ]
    assert (told["created"], told["x-own"]) == (1, [1])


@pytest.mark.parametrize("asked", ["b64_json", None, "url"])
def test_what_is_right_passes_byte_for_byte(asked: str | None) -> None:
    answer = body({"url": "https://cdn.example/i.png"}) if asked == "url" else body({"b64_json": PNG})
    assert WIRE.passed(drawn(response_format=asked), answer, Meter()) is answer


def test_images_are_counted() -> None:
    meter = Meter()
    WIRE.passed(drawn(), body({"b64_json": PNG}, {"b64_json": PNG}), meter)
    WIRE.passed(drawn(), body({"b64_json": PNG}, usage={"input_tokens": 5, "output_tokens": 272}), meter)
    assert meter.counted == [Usage(2, estimated=True, images=2), Usage(5, 272, images=1)]


def test_an_answer_that_is_read() -> None:
    answer = WIRE.answer(body({"b64_json": PNG}, {"b64_json": JPEG}, usage={"input_tokens": 5, "output_tokens": 9}))
    assert (answer.pictures, answer.usage, answer.size()) == ([PNG, JPEG], Usage(5, 9, images=2), 0)
    assert answer.events() == [Picture(PNG), Picture(JPEG), Metered(Usage(5, 9, images=2)), Done()]


@pytest.mark.parametrize("addresses", [True, False])
def test_an_answer_that_is_written(addresses: bool) -> None:
    encoder = OpenAIImages(addresses).encoder(context())
    told = json.loads(encoder.whole(Images([PNG], Usage(5, 9))))
    image = {"b64_json": PNG} | ({"url": f"data:image/png;base64,{PNG}"} if addresses else {})
    usage = {
        "input_tokens": 5,
        "output_tokens": 9,
        "total_tokens": 14,
        "input_tokens_details": {"text_tokens": 5, "image_tokens": 0},
    }
    assert told == {"created": 1_750_000_000, "data": [image], "usage": usage}
    assert "usage" not in json.loads(encoder.whole(Images([PNG])))
    assert (encoder.whole_type, encoder.content_type) == (b"application/json", b"text/event-stream")


@pytest.mark.parametrize(("wire", "name"), [(WIRE, "image_generation"), (EDITS, "image_edit")])
def test_a_stream_that_is_written(wire: OpenAIImages, name: str) -> None:
    encoder = wire.encoder(context())
    out = encoder.encode([Picture(PNG, 0)]) + encoder.encode([Picture(JPEG), Metered(Usage(5, 9)), Done()])
    partial, done = events(out)
    assert (partial["type"], partial["partial_image_index"], partial["b64_json"]) == (f"{name}.partial_image", 0, PNG)
    assert (done["type"], done["b64_json"], done["usage"]["total_tokens"]) == (f"{name}.completed", JPEG, 14)
    assert {e["created_at"] for e in (partial, done)} == {1_750_000_000}
    tap = wire.tap(context(), Meter())
    assert tap.feed(out) == out  # it is what our own tap takes for a whole stream
    tap.eof()
    assert tap.error is None
    (error,) = events(encoder.error(Problem("PROVIDER_CUT")))
    assert (error["type"], error["error"]["code"]) == ("error", "provider_cut")


@pytest.mark.parametrize(
    "answer",
    [b"", b"<html>", b"[]", b"{}", b'{"data": null}', b'{"data": []}', b'{"data": [1]}', b"\xff", b"[" * 100_000],
)
def test_what_is_no_list_of_images(answer: bytes) -> None:
    for run in (lambda: WIRE.answer(answer), lambda: WIRE.passed(drawn(), answer, Meter())):
        assert wrong(run).fault is Fault.PROTOCOL


def test_an_error_in_place_of_images() -> None:
    answer = b'{"error": {"message": "no", "type": "image_generation_user_error", "code": "moderation_blocked"}}'
    e = wrong(lambda: WIRE.passed(drawn(), answer, Meter()))
    assert (e.fault, e.code) == (Fault.EVENT, "moderation_blocked")
    assert wrong(WIRE.decoder(context()).eof).fault is Fault.PROTOCOL


# ---- anything at all


NAMES = ("prompt", "model", "n", "size", "quality", "style", "response_format", "stream", "partial_images", "x-own")


@MANY
@given(asked=values | any_of(*NAMES), good=st.booleans(), model=st.sampled_from(["gpt-image-1", "m"]))
def test_any_request_is_read_or_refused_by_name(asked: Any, good: bool, model: str) -> None:
    if good and isinstance(asked, dict):
        asked = asked | {"prompt": "a cat"}
    assert named(problem_of(lambda: WIRE.build(read(read_request, asked), model, TODAY)))


texts = st.text(st.characters(codec="utf-8"), max_size=6)


@MANY
@given(
    fields=st.lists(st.tuples(st.sampled_from(NAMES) | texts, texts | st.sampled_from(["1", "true", "a"])), max_size=6),
    files=st.lists(
        st.tuples(
            st.sampled_from(["image", "image[]", "mask", "x"]),
            st.just("a.png"),
            st.sampled_from(["image/png", "", "x"]),
            st.binary(max_size=5),
        ),
        max_size=3,
    ),
)
def test_any_form_is_read_or_refused_by_name(
    fields: list[tuple[str, str]], files: list[tuple[str, str, str, bytes]]
) -> None:
    def run() -> Upload:
        return EDITS.build(read_form(form(fields, *files)), "m", TODAY)

    assert named(problem_of(run))


images = st.fixed_dictionaries({"b64_json": st.text(max_size=20)}, optional={"url": st.none() | st.text()})
items = values | images | st.fixed_dictionaries({}, optional={"b64_json": values, "url": values})


@MANY
@given(
    answer=st.binary(max_size=60)
    | values.map(lambda v: json.dumps(v).encode())
    | st.lists(images | items, max_size=3).map(lambda v: json.dumps({"data": v}).encode()),
    addresses=st.booleans(),
)
def test_any_answer_is_passed_or_refused(answer: bytes, addresses: bool) -> None:
    asked = drawn(response_format="url" if addresses else None)
    upstream_error_of(lambda: OpenAIImages(addresses).encoder(context()).whole(WIRE.answer(answer)))
    e = upstream_error_of(lambda: WIRE.passed(asked, answer, Meter()))
    assert e is None or e.fault in (Fault.PROTOCOL, Fault.EVENT)
