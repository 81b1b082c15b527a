"""A fake connection for tests of the batch."""

from __future__ import annotations

from collections.abc import Callable

import gevent
import gevent.event

from s3po.config import MIB
from s3po.errors import (
    ConfigurationError,
    UploadError,
)
from s3po.governor import RequestLoad
from s3po.jobs import Call
from s3po.memory import MemoryBudget
from s3po.model import Outcome
from s3po.observer import Observer


class Performer:
    """A fake connection: returns the key, or fails, or waits, depending on the key."""

    def __init__(self) -> None:
        self.silent = False
        self.endpoint_url: str | None = None
        self.observer: Observer | None = None
        self.deletes_sources = False
        self.performed: list[str] = []
        self.running = 0
        self.peak = 0
        self.renewals = 0
        self.gate = gevent.event.Event()
        self.demands: list[int] = []
        self.cleaned: list[str] = []

    def find_endpoint(self) -> str | None:
        return self.endpoint_url

    def perform(self, call: Call) -> Outcome:
        ref = call.ref
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            gevent.sleep(0)
            if ref.key.startswith('wait'):
                self.gate.wait()
            if ref.key.startswith('fail'):
                raise UploadError(f'{ref} failed', bucket=ref.bucket, key=ref.key, attempts=4)
            if ref.key.startswith('wrong'):
                raise ConfigurationError('source must be something else')
            self.performed.append(ref.key)
            return Outcome(value=(call.operation, ref.key, dict(call.options)), size_bytes=10, retries=1)
        except BaseException:
            self.cleaned.append(ref.key)
            raise
        finally:
            self.running -= 1

    def width(self) -> int:
        return 8

    def renew_credentials(self) -> None:
        self.renewals += 1

    def memory_budget(self) -> MemoryBudget:
        return MemoryBudget(256 * MIB)

    def request_load(self) -> Callable[[], RequestLoad]:
        return lambda: RequestLoad(width=max(self.demands, default=8))

    def demand_requests(self, width: int) -> None:
        self.demands.append(width)

    def release_requests(self, width: int) -> None:
        self.demands.remove(width)


def settle() -> None:
    for _ in range(10):
        gevent.sleep(0)
