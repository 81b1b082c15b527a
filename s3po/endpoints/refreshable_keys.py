"""Keys that are issued when they are needed, in botocore's form.

What may live here: what makes of a function of the caller's, or of credentials that refresh, one of botocore's sources. When to
refresh is botocore's affair, and that one greenlet does it is `session.GuardedCredentials`'.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC
from typing import Any, Final

from botocore.credentials import DeferredRefreshableCredentials

from s3po.credentials import Credentials
from s3po.credentials.pairs import KeyPair, issued_by

__all__ = ['issued_credentials']

# botocore has no refreshable keys without an end.
NEVER: Final = '9999-01-01T00:00:00+00:00'


def issued_credentials(source: Credentials | Callable[[], object], kept: dict[Any, Any]) -> DeferredRefreshableCredentials:
    """Credentials of botocore's that ask a source for keys when they have none that hold.

    Args:
        source: Credentials that refresh, or a function that returns keys and their expiry.
        kept: Where they are kept, so that all clients of a connection share them. A forked child has its own: a lock of
            theirs may be held by a thread that it does not have.
    """
    name = source.name if isinstance(source, Credentials) else 'a function'
    found: DeferredRefreshableCredentials = kept.setdefault(
        os.getpid(), DeferredRefreshableCredentials(refresh_using=_Issuer(source), method=name)
    )
    return found


class _Issuer:
    """Gives botocore new keys, as it wants them."""

    def __init__(self, source: Credentials | Callable[[], object]) -> None:
        self._source = source
        # What was given last, and is of no more use when more is asked for.
        self._known: KeyPair | None = None

    def __call__(self) -> dict[str, str | None]:
        source = self._source
        keys = self._known = source.issue(self._known) if isinstance(source, Credentials) else issued_by(source)
        return {
            'access_key': keys.access_key_id,
            'secret_key': keys.secret_access_key.reveal(),
            'token': keys.token,
            'expiry_time': NEVER if keys.expires_at is None else keys.expires_at.astimezone(UTC).isoformat(),
        }
