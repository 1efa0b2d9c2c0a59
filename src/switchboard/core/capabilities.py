"""What a provider's models can do, as data: code asks these fields and never a provider's name."""

from __future__ import annotations

import re

from msgspec import Struct

#: What a request may need and not every model has.
FEATURES = ("tools", "images", "documents", "json_schema")

#: OpenAI's voices, by which clients of every document ask.
VOICES = frozenset(
    ["alloy", "ash", "ballad", "coral", "echo", "fable", "onyx", "nova", "sage", "shimmer", "verse", "marin", "cedar"]
)


class Capabilities(Struct, frozen=True):
    """What a provider takes and gives.

    `openai_like`: it speaks OpenAI's chat wire and passes on members that it does not know. `stream_usage`: it counts
    tokens in a stream when ``stream_options.include_usage`` asks it to. `any_model`: it takes model names that the
    settings do not list. `completion_tokens`: names of models (a pattern for the whole name) that want
    ``max_completion_tokens`` for ``max_tokens``; `fixed_sampling`: names that take no temperature and the like;
    `reasoning`: names that take ``reasoning_effort``. `top_k`: it takes that parameter. `lacks` names what it cannot do,
    of `FEATURES`. `own_words`: why it refuses a request may be told to anybody, for the words are ours. `uploads_grow`: it takes files whose length is not known when they begin. `prices` names the list of prices that holds for it (`policy.pricing`), "" for none. `base64_images` names models that give images in base64 and nothing else. `voices` are the names of its voices, None where it has others than are known here. `lifecycle` names the table of retired models that holds for it (`policy.retirement`), "" for none.
    """

    openai_like: bool = True
    stream_usage: bool = True
    any_model: bool = True
    completion_tokens: re.Pattern[str] | None = None
    fixed_sampling: re.Pattern[str] | None = None
    reasoning: re.Pattern[str] | None = None
    top_k: bool = False
    lacks: frozenset[str] = frozenset()
    own_words: bool = False
    uploads_grow: bool = False
    prices: str = ""
    base64_images: re.Pattern[str] | None = None
    voices: frozenset[str] | None = None
    lifecycle: str = ""
