"""boto3 under gevent: the standard library is patched first, then calls are made from a pool of greenlets."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import gevent.pool  # noqa: E402  (the patch comes first)

from peers.boto3_client import Boto3  # noqa: E402


class Gevent(Boto3):
    """From greenlets."""

    def spread(self, function: object, names: list[str]) -> list:
        return gevent.pool.Pool(self.job.width).map(function, names)
