"""What a browser is shown: the first page, and the documentation of the API with assets from a package of ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from switchboard import __version__
from switchboard.core.errors import Problem

_ASSETS: Final = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon-32x32.png": "image/png",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {"content-security-policy": _POLICY, "x-content-type-options": "nosniff"}
#: The first page has no script and no style of its own in it; images may lie where a provider has put them.
_PAGE: Final = {"app.js": "text/javascript; charset=utf-8", "style.css": "text/css; charset=utf-8"}
_PAGE_HEADERS: Final = _HEADERS | {
    "content-security-policy": _POLICY.replace(" 'unsafe-inline'", "").replace("data:", "data: https:")
}

_DOCS: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Switchboard API</title>
<link rel="icon" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "/openapi.json", dom_id: "#ui", deepLinking: true, tryItOutEnabled: true, validatorUrl: null});</script>
</body>
</html>
"""


@cache
def _page(name: str) -> bytes:
    """A file of the first page."""
    return files("switchboard.surface").joinpath("page", name).read_bytes()


def router(
    document: Callable[[], dict[str, Any]], base: Callable[[], str], answering: Callable[[], tuple[str, str]]
) -> APIRouter:
    """`document` makes the OpenAPI document, `base` is this server's address, `answering` names provider and model."""
    r = APIRouter(include_in_schema=False)

    @r.get("/")
    async def index() -> HTMLResponse:
        provider, model = answering()
        named = f", model <code>{escape(model)}</code>" if model else ""
        page = Template(_page("index.html").decode())
        text = page.substitute(version=__version__, provider=escape(provider), model=named, base=escape(base()))
        return HTMLResponse(text, headers=_PAGE_HEADERS)

    @r.get("/page/{name}")
    async def page(name: str) -> Response:
        kind = _PAGE.get(name)
        if kind is None:
            raise Problem("NOT_FOUND")
        return Response(_page(name), headers={"content-type": kind, "cache-control": "no-cache"} | _PAGE_HEADERS)

    @r.get("/docs")
    async def docs() -> HTMLResponse:
        return HTMLResponse(_DOCS, headers=_HEADERS)

    @r.get("/docs/{name}")
    async def asset(name: str, request: Request) -> Response:
        kind = _ASSETS.get(name)
        if kind is None:
            raise Problem("NOT_FOUND")
        data = files("fastapi_swagger").joinpath("resources", name).read_bytes()
        return Response(data, headers={"content-type": kind, "cache-control": "public, max-age=86400"})

    @r.get("/openapi.json")
    async def openapi() -> JSONResponse:
        return JSONResponse(document())

    return r
