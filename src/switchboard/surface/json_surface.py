"""What surfaces have in common whose requests are JSON."""

from __future__ import annotations

from typing import Any

from mypy_extensions import mypyc_attr

from switchboard.core.errors import Problem
from switchboard.core.ports import ClientDialect
from switchboard.core.types import Form, Lines, Op, RequestHead
from switchboard.surface import problem as shapes
from switchboard.wire.json_body import load_json


@mypyc_attr(allow_interpreted_subclasses=True)
class JsonSurface:
    """A `core.ports.Surface` of JSON. `nesting` is how deep a body may be. What derives from it says in `ask` what a body
    asks for."""

    files = False
    bare = False
    documents = True
    failure = "INTERNAL_ERROR"

    def __init__(self, *, nesting: int) -> None:
        self._nesting = nesting

    def read(self, head: RequestHead, body: bytes | Form) -> tuple[ClientDialect, Op]:
        """See `core.ports.Surface`."""
        assert isinstance(body, bytes)
        return self.ask(head, load_json(body, self._nesting), body)

    def ask(self, head: RequestHead, value: Any, body: bytes) -> tuple[ClientDialect, Op]:
        """The dialect of the answer, and what `body` asks for, which is `value` decoded. Raises `Problem`."""
        raise NotImplementedError

    def problem(self, problem: Problem, request_id: str, dialect: ClientDialect | None) -> tuple[int, Lines, bytes]:
        """See `core.ports.Surface`."""
        return shapes.common(problem, request_id)
