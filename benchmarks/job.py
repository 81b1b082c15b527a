"""What one process measures, as the process that started it tells it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

ACCESS_KEY = 'key'
SECRET_KEY = 'secret-key'
REGION = 'us-east-1'


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One piece of work for one client.

    Attributes:
        verb: What to do; the name of a client's method.
        endpoint: The store's URL.
        status: Host and port where the store tells how many requests it had.
        ca: The certificate to trust, as a path; None over HTTP.
        bucket: The bucket to read from or write to.
        count: How many objects.
        size_bytes: The size of each.
        width: How many requests at once.
        path: The directory or file to upload from or download to; '' where bodies are in memory.
        part_bytes: The size of a part; None leaves the client every default.
        ballast: A file to remove just before the work begins (see `Sink.fill_ballast`).
        payload: 'signed' or 'unsigned'; None leaves it to the client.
    """

    verb: str
    endpoint: str
    status: tuple[str, int]
    ca: str | None
    bucket: str
    count: int
    size_bytes: int
    width: int
    path: str
    part_bytes: int | None
    payload: str | None
    ballast: str

    @property
    def is_default(self) -> bool:
        """Whether the client is to be used as it comes."""
        return self.part_bytes is None

    def to_json(self) -> str:
        """The job as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The job that `to_json` wrote."""
        values = json.loads(text)
        return cls(**{**values, 'status': tuple(values['status'])})
