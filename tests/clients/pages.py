"""Pages for Chromium, served from ``http://localhost``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Found = tuple[str, bytes] | None


@contextmanager
def pages(find: Callable[[str], Found]) -> Iterator[str]:
    """The origin of a site whose files `find` gives by their path, with their kind."""

    class Site(BaseHTTPRequestHandler):
        """That site."""

        def do_GET(self) -> None:
            kind, body = find(self.path) or ("", b"")
            self.send_response(200 if kind else 404)
            self.send_header("content-type", kind or "text/plain")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing is written."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
