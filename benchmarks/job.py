"""The description of one measurement, which the benchmark passes to a child process."""

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
        verb: The name of the client's method to call.
        endpoint: The store's URL.
        status: Host and port of the store's counter of requests.
        ca: The path of the certificate to trust; None over HTTP.
        bucket: The bucket to read from or write to.
        count: The number of objects.
        size_bytes: The size of each object.
        width: The number of requests at once.
        path: The directory or file to upload from or download to; '' if the bodies are in memory.
        part_bytes: The size of a part; None leaves all settings of the client at their defaults.
        ballast: A file to remove just before the work begins (see `Sink.fill_ballast`).
        payload: 'signed' or 'unsigned'; None for the client's default.
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
        """Whether the client is used with all its defaults."""
        return self.part_bytes is None

    def to_json(self) -> str:
        """The job as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The job of a text from `to_json`."""
        values = json.loads(text)
        return cls(**{**values, 'status': tuple(values['status'])})
