"""The options of a teacher or a judge behind a server: its address, and how much it may cost."""

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from didact.errors import ConfigError, check_range, nearest
from didact.files import user_cache
from didact.memory.answer_store import Spent
from didact.options import convert, hints_of

KEY = "DIDACT_{}_KEY"
"""The environment variable with a key, by its name in capitals."""
MILLION = 1_000_000


@dataclass(frozen=True, kw_only=True)
class RemoteConfig:
    """Options of a teacher or a judge behind a server that talks like OpenAI's.

    Raises:
        ConfigError: an option is out of range, or a combination can't work.
    """

    url: str
    """Its address, with http:// or https://."""
    model: str = ""
    """The model's name at the server; empty for the first that it lists."""
    key: str = "server"
    """Which key is sent: that of the environment variable DIDACT_SERVER_KEY, or of another name between these two."""
    gives: Literal["", "labels", "embeddings"] = ""
    """What it gives of examples; empty for labels, or embeddings where those are learned."""
    chat: bool = False
    """Whether a plain prompt is sent as a message of a user, where completions are written."""
    top_k: int = 20
    """How many of the likeliest tokens the server is asked for."""
    max_tokens: int = 256
    """The largest answer of a chat, in tokens."""
    instruction: str = ""
    """A file with the instruction to a chat; empty for didact's own."""
    schema: str = ""
    """A judge's file with the JSON schema of its answer, which has a number `score`; empty for didact's own."""
    concurrency: int = 16
    """The largest number of requests at once."""
    timeout: float = 120.0
    """The longest that a request may take, in seconds."""
    seconds: float | None = None
    """The longest that all of them may take, in seconds."""
    retries: int = 4
    """How often a failed request is repeated."""
    calls: int | None = None
    """The largest number of requests, repeated ones too."""
    tokens: int | None = None
    """The largest number of tokens that the server reads and writes."""
    money: float | None = None
    """The largest sum, in the unit of the prices."""
    input_price: float = 0.0
    """The price of a million tokens that the server reads."""
    output_price: float = 0.0
    """The price of a million tokens that it writes."""
    answers: str = ""
    """The file of its answers; empty for one in the user's cache folder."""

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ConfigError(f"The server is {self.url!r}, but must be an address with http:// or https://.")
        if "@" in self.url.partition("//")[2].partition("/")[0]:
            raise ConfigError(f"The server's address has a password in it; put a key into {self.variable} instead.")
        if not re.fullmatch(r"[A-Za-z0-9_]+", self.key):
            raise ConfigError(f"key is {self.key!r:.60}, but must be a name: key=NAME is the variable DIDACT_NAME_KEY.")
        for name, least in (("top_k", 1), ("max_tokens", 1), ("concurrency", 1), ("retries", 0)):
            check_range(name, getattr(self, name), at_least=least)
        for name in ("timeout", "seconds", "calls", "tokens", "money"):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), above=0, below=math.inf)
        for name in ("input_price", "output_price"):
            check_range(name, getattr(self, name), at_least=0, below=math.inf)
        if self.money is not None and not (self.input_price or self.output_price):
            raise ConfigError(
                f"money is {self.money:g}, but nothing has a price; give input_price and output_price, those of a "
                "million tokens."
            )

    @classmethod
    def read(cls, words: str, field: str) -> Self:
        """Read `URL,model=NAME,calls=100`.

        Args:
            words: the address, and options.
            field: the name of the option, for messages.

        Raises:
            ConfigError: an option is unknown, or has a wrong value.
        """
        url, *pairs = (part.strip() for part in words.split(","))
        hints, found = hints_of(cls), {}
        for pair in pairs:
            name, equals, value = pair.partition("=")
            name = name.strip().replace("-", "_")
            if not equals or name not in hints or name == "url":
                known = nearest(name, set(hints) - {"url"})
                raise ConfigError(f"{field} has the option {pair!r:.60}, but must be like URL,model=NAME. {known}")
            found[name] = convert(f"{field}'s {name}", value.strip(), hints[name])
        return cls(url=url, **found)

    @property
    def root(self) -> str:
        """The address without `/v1`."""
        return self.url.rstrip("/").removesuffix("/v1")

    @property
    def variable(self) -> str:
        """The environment variable of its key."""
        return KEY.format(self.key.upper())

    @property
    def limit(self) -> Spent:
        """The budget."""
        given = (math.inf if limit is None else limit for limit in (self.calls, self.tokens, self.money))
        return Spent(*given)

    def price(self, read: float, written: float) -> float:
        """What it costs that the server reads and writes so many tokens."""
        return (read * self.input_price + written * self.output_price) / MILLION

    @property
    def path(self) -> Path | None:
        """The file of its answers; None to keep them in memory."""
        if self.answers:
            return Path(self.answers)
        folder = user_cache("answers")
        name = hashlib.blake2b(f"{self.root} {self.model}".encode(), digest_size=16).hexdigest()
        return None if folder is None else folder / f"{name}.sqlite"
