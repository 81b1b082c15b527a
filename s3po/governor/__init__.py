"""Limits the requests of a connection: how many are in flight, how many per second, and how many of them are retries.

One governor covers all requests of a connection in one thread: objects of a batch, parts of an object, listings, calls
without a batch. A slot is occupied during an attempt, never during the wait between two attempts. The width follows the open
batches and the configuration. The requests to a bucket that has refused one are limited further, see `throttling`.
"""

from s3po.governor.governor import Governor, RequestLoad
from s3po.governor.slots import AttemptOutcome, Slot
from s3po.governor.tokens import Pace, Tokens

__all__ = ['AttemptOutcome', 'Governor', 'Pace', 'RequestLoad', 'Slot', 'Tokens']
