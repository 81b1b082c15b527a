"""delete_many() deletes and counts only the caller's keys (F69), however the store spells them in its response."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import s3po
from s3po.errors import NetworkError
from tests.conftest import BUCKET, impatient
from tests.support.servers import Store
from tests.support.store_xml import document, element

Connect = Callable[..., s3po.Connection]


def answered(*said: tuple[str, str], times: int | None = None) -> dict[str, Any]:
    """A rule: DeleteObjects does its work, and the response lists these keys, each as deleted (code '') or failed."""
    items = [
        element('Error', [element('Key', key), element('Code', code), element('Message', 'No.')])
        if code
        else element('Deleted', [element('Key', key)])
        for key, code in said
    ]
    # The store sends scripted bodies as Latin-1.
    body = document('DeleteResult', *items).decode('latin-1')
    return {'operation': 'DeleteObjects', 'times': times, 'action': {'work': True, 'status': 200, 'body': body}}


def keys(conn: s3po.Connection) -> list[str]:
    return [entry.key for entry in conn.list(BUCKET) if isinstance(entry, s3po.ListEntry)]


@pytest.mark.fault('F69')
@pytest.mark.parametrize(('named', 'spelled'), [('a%2Fb', 'a/b'), ('a+b', 'a b'), ('a b', 'a+b'), ('cafe\u0301', 'caf\u00e9')])
def test_key_that_the_store_spells_otherwise(conn: s3po.Connection, store: Store, named: str, spelled: str) -> None:
    """If the response spells a key differently, nothing else is deleted, and the caller's key is reported as unconfirmed."""
    for key in (named, spelled):
        conn.upload(BUCKET, key, b'')
    store.script(answered((spelled, 'InternalError')))

    report = conn.delete_many(BUCKET, [named])

    assert keys(conn) == [spelled]
    assert report.deleted == 0
    assert [(failure.key, type(failure.error)) for failure in report] == [(named, NetworkError)]
    assert repr(spelled) in str(report.failed[0].error)


@pytest.mark.fault('F69')
@pytest.mark.parametrize('named', ['dir/a\r', 'dir/a\r\n', ' a', 'a ', 'a\x01', 'a\x00b'])
def test_key_that_xml_changes(conn: s3po.Connection, store: Store, named: str) -> None:
    """A key that XML cannot represent exactly is deleted by a request of its own."""
    twins = [named.replace('\r\n', '\n').replace('\r', '\n'), named.strip()]
    others = [twin for twin in twins if twin != named]
    for key in (named, *others, 'plain'):
        conn.upload(BUCKET, key, b'')

    report = conn.delete_many(BUCKET, [named, 'plain'])

    assert (report.deleted, report.failed) == (2, ())
    assert set(keys(conn)) == set(others)
    assert [seen['key'] for seen in store.log('DeleteObject')] == [named]


@pytest.mark.fault('F69')
def test_failures_of_unknown_keys(conn: s3po.Connection, store: Store) -> None:
    """Reported failures of keys that were not requested do not change the count of deleted keys."""
    store.script(answered(*((f'other{number}', 'AccessDenied') for number in range(22))))

    report = conn.delete_many(BUCKET, ['a'])

    assert report.deleted == 0
    assert [failure.key for failure in report] == ['a']


@pytest.mark.fault('F69')
def test_repeated_failures(conn: s3po.Connection, store: Store) -> None:
    """A failure that is listed several times counts once."""
    store.script(answered(*[('a', 'AccessDenied')] * 5, ('b', '')))

    report = conn.delete_many(BUCKET, ['a', 'b'])

    assert report.deleted == 1
    assert [failure.key for failure in report] == ['a']


@pytest.mark.fault('F69')
def test_keys_that_are_missing_in_the_answer(conn: s3po.Connection, store: Store) -> None:
    """A key that is missing in the response is requested again; if it is missing again, it is reported as failed."""
    store.script(answered(('a', ''), times=1))
    report = conn.delete_many(BUCKET, ['a', 'b', 'c'])
    assert (report.deleted, report.failed) == (3, ())

    store.script(answered(('a', '')))
    report = conn.delete_many(BUCKET, ['a', 'b', 'c'])
    assert (report.deleted, [failure.key for failure in report]) == (1, ['b', 'c'])


@pytest.mark.fault('F69')
def test_answer_about_another_key_beside_all_that_were_named(store: Store, connect: Connect) -> None:
    """A response with a key that was not requested is rejected as a whole: the store may have deleted something else."""
    conn = connect(store.endpoint_url, retry=impatient(0))
    store.create_bucket(BUCKET)
    store.script(answered(('a', ''), ('x', '')))

    report = conn.delete_many(BUCKET, ['a'])

    assert (report.deleted, [failure.key for failure in report]) == (0, ['a'])
    assert "'x'" in str(report.failed[0].error)


@pytest.mark.fault('F69')
def test_keys_that_are_named_twice(conn: s3po.Connection, store: Store) -> None:
    """A key that is passed twice is sent once and counts twice."""
    report = conn.delete_many(BUCKET, ['a', 'b', 'a'])

    assert (report.deleted, report.failed) == (3, ())


@pytest.mark.fault('F69')
def test_stores_that_name_failures_only(conn: s3po.Connection, store: Store) -> None:
    """If the response lists only failures, the other keys count as deleted, as in a quiet response."""
    store.script(answered(('b', 'AccessDenied')))

    report = conn.delete_many(BUCKET, ['a', 'b'])

    assert (report.deleted, [failure.key for failure in report]) == (1, ['b'])
