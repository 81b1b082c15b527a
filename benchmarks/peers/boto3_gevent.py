"""boto3 under gevent: patches the standard library, then makes the calls from a pool of greenlets."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import gevent.pool  # noqa: E402  (the patch comes first)

from peers.boto3_client import Boto3  # noqa: E402


class Gevent(Boto3):
    """From greenlets."""

    def spread(self, function: object, names: list[str]) -> list:
        return gevent.pool.Pool(self.job.width).map(function, names)
