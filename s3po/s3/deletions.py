"""DeleteObjects: which keys its list can name, and what its answer confirms.

Invariant: only the caller's (key, version id) are ever sent, counted or reported. A key as the store spells it in an answer is
compared with these, and never used for anything else.
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
    """Delete those keys one by one that a list in XML cannot name without doubt.

    Returns:
        What failed of them, and the other keys, each once.
    """
    plain = []
    failures = []
    for key, version_id in dict.fromkeys(keys):
        if survives_xml(key) and survives_xml(version_id or ''):
            plain.append((key, version_id))
            continue
        try:
            transport.delete_object(bucket, key, version_id=version_id, extra=extra)
        except TransportError as error:
            if not is_gone(error):
                failures.append(DeleteFailure(key=key, error=error, version_id=version_id))
    return failures, plain


def failures_of(bucket: str, asked: Names, answer: Deletion) -> list[DeleteFailure]:
    """The keys that an answer to DeleteObjects does not confirm as deleted, in the caller's spelling.

    A store that names no deleted key at all answers as to a quiet request: then all keys that it does not refuse are deleted.

    Raises:
        NetworkError: The answer is about keys that were not in the request, although it confirms or refuses all that were.
    """
    known = _Asked(asked)
    strangers = [key for key, version_id in answer.deleted if not known.confirm(key, version_id)]
    for said in answer.failures:
        # DeleteObjects says 200 for all; 400 here only means: what the code does not tell is the caller's fault.
        doing = f'DeleteObjects s3://{bucket}/{said.key}'
        error = error_for(doing, status=400, code=said.code, message=said.message, headers={})
        is_known = known.confirm if is_gone(error) else functools.partial(known.refuse, error=error)
        if not is_known(said.key, said.version_id):
            strangers.append(said.key)
    if strangers or answer.deleted:
        unnamed = f'; the answer is about {strangers[0]!r} instead' if strangers else ''
        for key, version_id in known.open:
            text = f'DeleteObjects s3://{bucket}/{key}: the answer does not say whether it is deleted{unnamed}'
            known.refuse(key, version_id, NetworkError(text))
    if strangers and not known.failures:
        raise NetworkError(f'DeleteObjects s3://{bucket}: the answer is about {strangers[0]!r}, which was not in the request')
    return list(known.failures.values())


class _Asked:
    """The keys of one request, and what an answer says of each.

    Attributes:
        failures: Those that are not deleted.
    """

    def __init__(self, asked: Names) -> None:
        self._confirmed: set[Name] = set()
        self._versions: dict[str, list[str | None]] = {}
        for key, version_id in asked:
            self._versions.setdefault(key, []).append(version_id)
        self.failures: dict[Name, DeleteFailure] = {}

    @property
    def open(self) -> list[Name]:
        """Those of which nothing is known so far."""
        names = [(key, version) for key, versions in self._versions.items() for version in versions]
        return [name for name in names if name not in self._confirmed and name not in self.failures]

    def confirm(self, key: str, version_id: str | None) -> bool:
        """Note that a key is deleted; returns False if it was not asked for."""
        name = self._asked_for(key, version_id)
        if name is not None:
            self._confirmed.add(name)
        return name is not None

    def refuse(self, key: str, version_id: str | None, error: TransportError) -> bool:
        """Note that a key is not deleted; returns False if it was not asked for."""
        name = self._asked_for(key, version_id)
        if name is not None:
            self.failures[name] = DeleteFailure(key=name[0], error=error, version_id=name[1])
        return name is not None

    def _asked_for(self, key: str, version_id: str | None) -> Name | None:
        """The name in the request that an answer means; None for none.

        Some stores do not repeat the version, others name one where none was asked for: both are fine if one name fits.
        """
        versions = self._versions.get(key, [])
        if version_id in versions:
            return key, version_id
        fitting = [each for each in versions if each is None or version_id is None]
        return (key, fitting[0]) if len(fitting) == 1 else None
