"""The tests' own store: how it parses requests and selects scripted rules."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.support.store_api import Api
from tests.support.store_request import Request, byte_range, operation_of, parse_target
from tests.support.store_rules import Rule, Script, Seen
from tests.support.store_state import Store
from tests.support.store_values import StoreError


@pytest.fixture
def store() -> Store:
    made = Store()
    made.create_bucket('bucket')
    return made


def seen(operation: str = 'UploadPart', *, key: str = 'key', nth: int = 1, query: Iterable[tuple[str, str]] = ()) -> Seen:
    return Seen(
        connection=1,
        nth=nth,
        method='PUT',
        operation=operation,
        bucket='bucket',
        key=key,
        query=dict(query),
        headers={'range': 'bytes=0-1'},
    )


@pytest.mark.parametrize(
    ('target', 'key', 'query'),
    [
        ('/bucket/a//b', 'a//b', {}),
        ('/bucket//a', '/a', {}),
        ('/bucket/a/../b', 'a/../b', {}),
        ('/bucket/%252F+%20', '%2F+ ', {}),
        ('/bucket/%C3%A9?uploads', 'é', {'uploads': ''}),
        ('/bucket?prefix=a%2Fb&delimiter=/', '', {'prefix': 'a/b', 'delimiter': '/'}),
    ],
)
def test_targets_are_decoded_once(target: str, key: str, query: dict[str, str]) -> None:
    """The key is the rest of the path, decoded once and not normalised."""
    assert parse_target(target) == ('bucket', key, query)


def test_operations_have_names() -> None:
    """Method, key, query and headers determine the operation."""
    copied = {'x-amz-copy-source': 'bucket/key'}

    assert operation_of('PUT', 'bucket', 'key', {}, {}) == 'PutObject'
    assert operation_of('PUT', 'bucket', 'key', {}, copied) == 'CopyObject'
    assert operation_of('PUT', 'bucket', 'key', {'partNumber': '1', 'uploadId': 'x'}, copied) == 'UploadPartCopy'
    assert operation_of('GET', 'bucket', '', {'list-type': '2'}, {}) == 'ListObjectsV2'
    assert operation_of('GET', 'bucket', 'key', {'acl': ''}, {}) == ''


@pytest.mark.parametrize(
    ('header', 'expected'),
    [
        ('', None),
        ('bytes=0-3', (0, 3)),
        ('bytes=4-', (4, 9)),
        ('bytes=4-100', (4, 9)),
        ('bytes=-3', (7, 9)),
        ('bytes=-100', (0, 9)),
        ('bytes=3-2', None),
        ('bytes=0-1,3-4', None),
        ('lines=0-1', None),
    ],
)
def test_ranges(header: str, expected: tuple[int, int] | None) -> None:
    """Ranges are limited to the object; an invalid range is ignored."""
    assert byte_range(header, 10) == expected


@pytest.mark.parametrize(('header', 'size'), [('bytes=10-', 10), ('bytes=-0', 10), ('bytes=0-', 0), ('bytes=-1', 0)])
def test_ranges_beyond_the_end(header: str, size: int) -> None:
    """A range without any byte of the object is a 416 with the size."""
    with pytest.raises(StoreError) as refused:
        byte_range(header, size)

    assert (refused.value.status, refused.value.headers) == (416, {'Content-Range': f'bytes */{size}'})


def test_aws_chunked_body_is_decoded(store: Store) -> None:
    """aws-chunked bodies are stored decoded, without the coding in Content-Encoding; trailing checksums are verified."""
    body = b'5;chunk-signature=00\r\n12345\r\n4\r\n6789\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n'
    headers = {'content-encoding': 'gzip,aws-chunked', 'x-amz-decoded-content-length': '9'}

    answer = Api(store).carry_out('PutObject', Request('PUT', 'bucket', 'key', {}, headers, body))

    stored = store.get('bucket', 'key')
    assert (stored.body, stored.headers) == (b'123456789', {'content-encoding': 'gzip'})
    assert answer.headers['x-amz-checksum-crc32'] == 'y/Q5Jg=='


def test_aws_chunked_body_of_another_length_is_refused(store: Store) -> None:
    """An aws-chunked body of another length than announced is refused."""
    headers = {'content-encoding': 'aws-chunked', 'x-amz-decoded-content-length': '10'}

    with pytest.raises(StoreError, match='IncompleteBody'):
        Api(store).carry_out('PutObject', Request('PUT', 'bucket', 'key', {}, headers, b'1\r\na\r\n0\r\n\r\n'))


def test_a_rule_skips_then_acts_then_rests() -> None:
    """`skip` lets requests pass, `times` limits the uses, and requests that do not match count for neither."""
    script = Script()
    script.add([Rule.parse({'operation': 'UploadPart', 'skip': 1, 'times': 2, 'action': {'status': 503}})])

    statuses = [script.take(seen(operation)).status for operation in ('UploadPart', 'PutObject', *['UploadPart'] * 3)]

    assert statuses == [None, None, 503, 503, None]


def test_the_first_rule_with_a_use_left_acts() -> None:
    """Rules are tried in order; a rule that skips a request leaves it to the next rule."""
    script = Script()
    script.add([Rule.parse({'skip': 1, 'times': 1, 'action': {'status': 500}})])
    script.add([Rule.parse({'times': None, 'action': {'status': 503}})])

    assert [script.take(seen()).status for _ in range(3)] == [503, 500, 503]


@pytest.mark.parametrize(
    ('rule', 'matches'),
    [
        ({}, True),
        ({'bucket': None, 'key': 'key', 'nth': 1}, True),
        ({'query': {'partNumber': '3'}, 'headers': {'range': 'bytes=0-1'}}, True),
        ({'query': {'partNumber': '4'}}, False),
        ({'headers': {'if-match': '"x"'}}, False),
        ({'key': 'other'}, False),
        ({'nth': 2}, False),
    ],
)
def test_absent_fields_match_anything(rule: dict[str, object], *, matches: bool) -> None:
    """Each field of a rule must match; absent fields match anything."""
    request = seen(query=[('partNumber', '3'), ('uploadId', 'x')])

    assert Rule.parse({**rule, 'action': {}}).matches(request) is matches


@pytest.mark.parametrize(
    'rule',
    [
        {'operation': 'GetObject'},
        {'opreation': 'GetObject', 'action': {}},
        {'action': {'sttaus': 503}},
        {'action': {'early': True}},
    ],
)
def test_misspelt_rules_are_refused(rule: dict[str, object]) -> None:
    """An invalid rule is rejected."""
    with pytest.raises(ValueError, match=r'an action|a rule|early'):
        Rule.parse(rule)
