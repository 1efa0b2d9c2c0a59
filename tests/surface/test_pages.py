"""What a browser is shown."""

from __future__ import annotations

import json

import pytest

from support.gateway import gateway

pytestmark = pytest.mark.anyio


async def test_the_first_page(shell: str) -> None:
    async with gateway(shell, public_url="https://chat.example.com/") as g:
        a = await g.ask("/")
        assert a.status == 200
        assert a.headers["content-type"].startswith("text/html")
        assert "https://chat.example.com/v1" in a.text and "https://chat.example.com/api/chat" in a.text
        assert "Offline" in a.text and "echo" in a.text
        policy = a.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert a.headers["x-content-type-options"] == "nosniff"


async def test_the_first_page_names_the_port_that_it_is_reached_at(shell: str) -> None:
    """Port 0 is any free one: a page that says so names an address where nobody is."""
    async with gateway(shell) as g:
        text = (await g.ask("/", None, {"host": f"127.0.0.1:{g.port}"})).text
        assert "127.0.0.1:0/" not in text
        assert f"http://127.0.0.1:{g.port}/v1" in text


async def test_what_the_settings_say_is_text_on_the_page(shell: str) -> None:
    rows = {"up": {"base_url": "http://127.0.0.1:9/v1", "title": "<script>alert(1)</script>", "api_key": "Canary7Kq9z"}}
    async with gateway(shell, providers=rows, chat={"model": "m"}) as g:
        text = (await g.ask("/")).text
        assert "<script>alert" not in text and "&lt;script&gt;" in text
        assert "Canary" not in text


async def test_the_documentation_needs_nobody_else(shell: str) -> None:
    async with gateway(shell) as g:
        page = await g.ask("/docs")
        assert page.status == 200
        assert "https://" not in page.text and "http://" not in page.text
        for name, kind in (
            ("swagger-ui-bundle.js", "text/javascript"),
            ("swagger-ui.css", "text/css"),
            ("favicon-32x32.png", "image/png"),
        ):
            assert f"/docs/{name}" in page.text
            a = await g.ask(f"/docs/{name}")
            assert (a.status, a.headers["content-type"].split(";")[0]) == (200, kind)
            assert len(a.body) > 100


@pytest.mark.parametrize("name", ["nothing.js", "..%2f__init__.py", "swagger-ui.css.map", "%00"])
async def test_other_files_are_not_given(shell: str, name: str) -> None:
    async with gateway(shell) as g:
        a = await g.ask(f"/docs/{name}")
        assert (a.status, a.json["error"]["code"]) == (404, "NOT_FOUND")


async def test_the_openapi_document(shell: str) -> None:
    async with gateway(shell, chat={"paths": ["/bot"]}) as g:
        document = (await g.ask("/openapi.json")).json
        assert document["openapi"].startswith("3.")
        assert {"/api/chat", "/bot", "/v1/chat/completions", "/v1/models", "/health"} <= set(document["paths"])
        text = json.dumps(document)
        assert "HTTPValidationError" not in text  # errors have our own shapes
        named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
        assert named <= set(document["components"]["schemas"])
        assert all("422" not in op["responses"] for item in document["paths"].values() for op in item.values())
