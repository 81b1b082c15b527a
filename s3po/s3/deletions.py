"""DeleteObjects: which keys its XML can contain, and what its response confirms.

Invariant: only the caller's (key, version id) are ever sent, counted or reported. A key as spelled in the response is compared
with these, and not used otherwise.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TypeAlias

from s3po.errors import NetworkError, TransportError
from s3po.model import DeleteFailure
from s3po.s3.protocol import Extra, Transport
from s3po.s3.status import error_for, is_gone
from s3po.s3.xml import Deletion
from s3po.s3.xml_characters import survives_xml

__all__ = ['delete_odd_keys', 'failures_of']

# A key and a version id; None for the current version.
Name: TypeAlias = tuple[str, str | None]
Names: TypeAlias = Sequence[Name]


def delete_odd_keys(transport: Transport, bucket: str, keys: Names, extra: Extra) -> tuple[list[DeleteFailure], Names]:
    """Delete one by one the keys that an XML list cannot contain unambiguously.

    Returns:
        The failures among them, and the other keys, without duplicates.
    """
    plain = []
    failures = []
    for key, version_id in dict.fromkeys(keys):
        if survives_xml(key) and (version_id is None or survives_xml(version_id)):
            plain.append((key, version_id))
            continue
        try:
            transport.delete_object(bucket, key, version_id=version_id, extra=extra)
        except TransportError as error:
            if not is_gone(error):
                failures.append(DeleteFailure(key=key, error=error, version_id=version_id))
    return failures, plain


def failures_of(bucket: str, asked: Names, answer: Deletion) -> list[DeleteFailure]:
    """The keys that a response to DeleteObjects does not confirm as deleted, in the caller's spelling.

    Some stores list no deleted keys, as if the request were quiet: then all keys that they do not report as errors are deleted.

    Raises:
        NetworkError: The response contains keys that were not in the request, although it covers all that were.
    """
    if not answer.failures and set(answer.deleted) == set(asked):
        # The usual case, without a call for each key.
        return []
    known = _Asked(asked)
    strangers = [key for key, version_id in answer.deleted if not known.confirm(key, version_id)]
    for failure in answer.failures:
        # DeleteObjects has one status, 200, for all keys; with 400, error_for() treats unknown codes as InvalidRequest.
        doing = f'DeleteObjects s3://{bucket}/{failure.key}'
        error = error_for(doing, status=400, code=failure.code, message=failure.message, headers={})
        is_known = known.confirm if is_gone(error) else functools.partial(known.refuse, error=error)
        if not is_known(failure.key, failure.version_id):
            strangers.append(failure.key)
    if strangers or answer.deleted:
        unnamed = f'; the response contains {strangers[0]!r} instead' if strangers else ''
        for key, version_id in known.open:
            text = f'DeleteObjects s3://{bucket}/{key}: the response does not confirm the deletion{unnamed}'
            known.refuse(key, version_id, NetworkError(text))
    if strangers and not known.failures:
        raise NetworkError(f'DeleteObjects s3://{bucket}: the response contains {strangers[0]!r}, which was not in the request')
    return list(known.failures.values())


class _Asked:
    """The keys of one request, and what its response confirms for each.

    Attributes:
        failures: The keys that are not deleted.
    """

    def __init__(self, asked: Names) -> None:
        self._confirmed: set[Name] = set()
        self._versions: dict[str, list[str | None]] = {}
        for key, version_id in asked:
            self._versions.setdefault(key, []).append(version_id)
        self.failures: dict[Name, DeleteFailure] = {}

    @property
    def open(self) -> list[Name]:
        """The keys that the response has not covered so far."""
        names = [(key, version) for key, versions in self._versions.items() for version in versions]
        return [name for name in names if name not in self._confirmed and name not in self.failures]

    def confirm(self, key: str, version_id: str | None) -> bool:
        """Record that a key is deleted; returns False if it was not in the request."""
        name = self._asked_for(key, version_id)
        if name is not None:
            self._confirmed.add(name)
        return name is not None

    def refuse(self, key: str, version_id: str | None, error: TransportError) -> bool:
        """Record that a key is not deleted; returns False if it was not in the request."""
        name = self._asked_for(key, version_id)
        if name is not None:
            self.failures[name] = DeleteFailure(key=name[0], error=error, version_id=name[1])
        return name is not None

    def _asked_for(self, key: str, version_id: str | None) -> Name | None:
        """The (key, version id) of the request that a name in the response means; None for none.

        Some stores omit the version, others add one that was not requested: both are accepted if only one name fits.
        """
        versions = self._versions.get(key, [])
        if version_id in versions:
            return key, version_id
        fitting = [each for each in versions if each is None or version_id is None]
        return (key, fitting[0]) if len(fitting) == 1 else None
