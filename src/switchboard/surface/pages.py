"""What a browser is shown: the first page, and the documentation of the API with assets from a package of ours."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from importlib.resources import files
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

_INDEX: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Switchboard</title>
<link rel="icon" href="data:,">
<style>
  :root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }}
  body {{ max-width: 44rem; margin: 3rem auto; padding: 0 1.25rem; }}
  h1 {{ margin: 0 0 .25rem; font-size: 1.6rem; }}
  p.lead {{ margin-top: 0; opacity: .75; }}
  pre {{ padding: .9rem 1rem; border: 1px solid color-mix(in srgb, currentColor 20%, transparent); border-radius: .5rem; overflow-x: auto; }}
  dt {{ font-weight: 600; }} dd {{ margin: 0 0 .75rem; }}
  code {{ font: .9em ui-monospace, monospace; }}
</style>
</head>
<body>
<h1>Switchboard</h1>
<p class="lead">is running, version {version}. Chat is answered by <b>{provider}</b>{model}.</p>
<pre><code>curl -N {base}/api/chat \\
  -H 'content-type: application/json' \\
  -d '{{"messages": [{{"role": "user", "content": "Hello there"}}]}}'</code></pre>
<dl>
<dt>OpenAI SDKs</dt><dd>base URL <code>{base}/v1</code></dd>
<dt>API</dt><dd><a href="/docs">documentation</a>, <a href="/openapi.json">OpenAPI</a></dd>
<dt>Operation</dt><dd><a href="/health">health</a>, <a href="/health/ready">ready</a>, <a href="/api/status">status</a>, <a href="/metrics">metrics</a></dd>
</dl>
</body>
</html>
"""


def router(
    document: Callable[[], dict[str, Any]], base: Callable[[], str], answering: Callable[[], tuple[str, str]]
) -> APIRouter:
    """`document` makes the OpenAPI document, `base` is this server's address, `answering` names provider and model."""
    r = APIRouter(include_in_schema=False)

    @r.get("/")
    async def index() -> HTMLResponse:
        provider, model = answering()
        named = f", model <code>{escape(model)}</code>" if model else ""
        page = _INDEX.format(version=__version__, provider=escape(provider), model=named, base=escape(base()))
        return HTMLResponse(page, headers=_HEADERS)

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
