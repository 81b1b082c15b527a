"""The store's rules about objects, listings and uploads, without HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pytest

from tests.support import store_body
from tests.support.store_api import Api
from tests.support.store_request import Request, byte_range, operation_of, parse_target
from tests.support.store_rules import Rule, Script, Seen
from tests.support.store_state import MIN_PART_BYTES, Store
from tests.support.store_values import Conditions, StoredObject, StoreError, md5


@pytest.fixture
def store() -> Store:
    made = Store()
    made.create_bucket('bucket')
    return made


def put(store: Store, key: str, body: bytes = b'', conditions: Conditions | None = None) -> None:
    store.put('bucket', key, StoredObject(body=body, etag=md5(body)), conditions)


def listed(store: Store, prefix: str = '', *, delimiter: str = '', after: str = '', limit: int = 1000) -> list[str]:
    page = store.list_objects('bucket', prefix, delimiter=delimiter, after=after, limit=limit)
    found = [key for key, _ in page.items]
    while page.next is not None:
        page = store.list_objects('bucket', prefix, delimiter=delimiter, after=after, resume=page.next, limit=limit)
        found += [key for key, _ in page.items]
    return found


def begin_upload(store: Store, *bodies: bytes) -> tuple[str, list[tuple[int, str]]]:
    upload_id = store.create_upload('bucket', 'key', {}, {})
    parts = [
        (number, store.upload_part('bucket', 'key', upload_id, number, body).etag) for number, body in enumerate(bodies, 1)
    ]
    return upload_id, parts


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


# ---------------------------------------------------------------------- buckets and objects


def test_keys_are_kept_as_they_are(store: Store) -> None:
    """Keys that a file system would change are different keys."""
    keys = ['a', 'a//b', 'a/../b', 'a/./b', '/a', 'a.', 'a/', 'é', 'e\u0301', '\N{PILE OF POO}']

    for key in keys:
        put(store, key)

    assert listed(store) == sorted(keys)


def test_key_length_is_counted_in_bytes(store: Store) -> None:
    """A key may have 1,024 bytes of UTF-8, not 1,025."""
    put(store, 'é' * 512)

    with pytest.raises(StoreError) as refused:
        put(store, 'é' * 512 + 'a')

    assert refused.value.code == 'KeyTooLongError'


def test_missing_things_have_their_own_codes(store: Store) -> None:
    """A missing bucket and a missing key are told apart, and deleting a missing key succeeds."""
    with pytest.raises(StoreError, match='NoSuchKey'):
        store.get('bucket', 'key')
    with pytest.raises(StoreError, match='NoSuchBucket'):
        store.get('other', 'key')

    store.delete('bucket', 'key')


def test_only_empty_buckets_are_deleted(store: Store) -> None:
    """A bucket with objects stays."""
    put(store, 'key')
    with pytest.raises(StoreError, match='BucketNotEmpty'):
        store.delete_bucket('bucket')

    store.delete('bucket', 'key')
    store.delete_bucket('bucket')

    assert store.list_buckets() == []


def test_creating_a_bucket_again_keeps_its_objects(store: Store) -> None:
    """A second create_bucket by the owner changes nothing."""
    put(store, 'key', b'body')

    store.create_bucket('bucket')

    assert store.get('bucket', 'key').body == b'body'


@pytest.mark.parametrize(
    ('conditions', 'status'),
    [
        (Conditions(if_none_match='*'), 412),
        (Conditions(if_match='"other"'), 412),
        (Conditions(if_none_match='"other"'), 501),
    ],
)
def test_conditional_write_refused(store: Store, conditions: Conditions, status: int) -> None:
    """A write whose condition does not hold changes nothing."""
    put(store, 'key', b'old')

    with pytest.raises(StoreError) as refused:
        put(store, 'key', b'new', conditions)

    assert refused.value.status == status
    assert store.get('bucket', 'key').body == b'old'


def test_conditional_write_allowed(store: Store) -> None:
    """If-None-Match: * writes where nothing is, If-Match over what is named; over nothing it is a 404."""
    put(store, 'key', b'old', Conditions(if_none_match='*'))
    put(store, 'key', b'new', Conditions(if_match=f'"{md5(b"old")}"'))
    assert store.get('bucket', 'key').body == b'new'

    with pytest.raises(StoreError, match='NoSuchKey'):
        put(store, 'other', b'', Conditions(if_match='"any"'))


def test_conditional_read() -> None:
    """If-Match of another ETag is 412, If-None-Match of this one 304; as a copy's source, both are 412."""
    stored = StoredObject(body=b'', etag='abc')

    Conditions(if_match='"xyz", "abc"', if_none_match='"xyz"').check_read(stored)
    with pytest.raises(StoreError, match='412'):
        Conditions(if_match='"xyz"').check_read(stored)
    with pytest.raises(StoreError, match='304'):
        Conditions(if_none_match='"abc"').check_read(stored)
    with pytest.raises(StoreError, match='412'):
        Conditions(if_none_match='"abc"').check_copy(stored)


def test_tags_are_replaced_without_a_new_version(store: Store) -> None:
    """Setting tags leaves the body, the ETag and the time alone; more than ten are refused."""
    put(store, 'key', b'body')
    before = store.get('bucket', 'key')

    store.put_tags('bucket', 'key', {'a': '1'})

    after = store.get('bucket', 'key')
    assert (after.body, after.etag, after.modified) == (before.body, before.etag, before.modified)
    assert store.tags('bucket', 'key') == {'a': '1'}
    with pytest.raises(StoreError, match='10'):
        store.put_tags('bucket', 'key', {str(number): '' for number in range(11)})


# ---------------------------------------------------------------------- listings


@pytest.mark.parametrize('limit', [1, 2, 3, 1000])
def test_pages_hold_every_key_once(store: Store, limit: int) -> None:
    """However small the pages, they make the same list."""
    for key in ['a', 'b/1', 'b/2', 'c/', 'c/1', 'd']:
        put(store, key)

    assert listed(store, limit=limit) == ['a', 'b/1', 'b/2', 'c/', 'c/1', 'd']
    assert listed(store, delimiter='/', limit=limit) == ['a', 'b/', 'c/', 'd']
    assert listed(store, 'b/', delimiter='/', limit=limit) == ['b/1', 'b/2']
    assert listed(store, 'c/', delimiter='/', limit=limit) == ['c/', 'c/1']


def test_start_after(store: Store) -> None:
    """start-after leaves out the key itself, and need not be a key."""
    for key in ['a', 'b', 'c']:
        put(store, key)

    assert listed(store, after='a') == ['b', 'c']
    assert listed(store, after='aa') == ['b', 'c']
    assert listed(store, 'b', after='a') == ['b']
    assert listed(store, after='c') == []


def test_order_is_that_of_utf8(store: Store) -> None:
    """Keys are in order of their bytes, which UTF-16 would not keep."""
    keys = ['\N{PILE OF POO}', '\ufb00', 'z', 'Z']
    for key in keys:
        put(store, key)

    assert listed(store) == sorted(keys, key=str.encode)


def test_an_empty_page_is_the_last(store: Store) -> None:
    """max-keys of 0 gives nothing, and nothing to go on from."""
    put(store, 'a')

    page = store.list_objects('bucket', limit=0)

    assert (list(page.items), page.next) == ([], None)


# ---------------------------------------------------------------------- multipart uploads


def test_upload_is_assembled_in_order_of_numbers(store: Store) -> None:
    """The body is the parts', the ETag the MD5 of their MD5s with their number; completed, the upload is gone."""
    first, last = b'a' * MIN_PART_BYTES, b'b'
    upload_id, parts = begin_upload(store, first, last)

    store.complete_upload('bucket', upload_id, 'key', store.assemble('bucket', 'key', upload_id, parts), Conditions())

    stored = store.get('bucket', 'key')
    digest = hashlib.md5(hashlib.md5(first).digest() + hashlib.md5(last).digest()).hexdigest()
    assert stored.body == first + last
    assert stored.etag == f'{digest}-2'
    with pytest.raises(StoreError, match='NoSuchUpload'):
        store.parts('bucket', 'key', upload_id)


def test_a_part_sent_again_replaces_the_first(store: Store) -> None:
    """Only the last part of a number counts, and the ETag must be its."""
    upload_id, parts = begin_upload(store, b'first')
    again = store.upload_part('bucket', 'key', upload_id, 1, b'again')

    with pytest.raises(StoreError, match='InvalidPart'):
        store.assemble('bucket', 'key', upload_id, parts)

    assert store.assemble('bucket', 'key', upload_id, [(1, again.etag)]).body == b'again'


@pytest.mark.parametrize(
    ('choose', 'code'),
    [
        ([], 'MalformedXML'),
        ([1, 0], 'InvalidPartOrder'),
        ([0, 0], 'InvalidPartOrder'),
        ([0, 1], 'EntityTooSmall'),
    ],
)
def test_wrong_lists_of_parts(store: Store, choose: list[int], code: str) -> None:
    """Parts are to be in order, and all but the last are to have 5 MiB."""
    upload_id, parts = begin_upload(store, b'a', b'b')

    with pytest.raises(StoreError) as refused:
        store.assemble('bucket', 'key', upload_id, [parts[index] for index in choose])

    assert refused.value.code == code


def test_refused_completion_leaves_the_upload(store: Store) -> None:
    """An upload whose condition does not hold can still be aborted."""
    put(store, 'key', b'old')
    upload_id, parts = begin_upload(store, b'new')
    assembled = store.assemble('bucket', 'key', upload_id, parts)

    with pytest.raises(StoreError, match='412'):
        store.complete_upload('bucket', upload_id, 'key', assembled, Conditions(if_none_match='*'))

    assert store.get('bucket', 'key').body == b'old'
    assert [upload.upload_id for upload in store.uploads('bucket')] == [upload_id]
    store.abort_upload('bucket', 'key', upload_id)
    assert store.uploads('bucket') == []


def test_an_upload_belongs_to_its_key(store: Store) -> None:
    """The id alone opens nothing; part numbers are 1 to 10,000."""
    upload_id, _ = begin_upload(store)

    with pytest.raises(StoreError, match='NoSuchUpload'):
        store.upload_part('bucket', 'other', upload_id, 1, b'')
    for number in (0, 10_001):
        with pytest.raises(StoreError, match='InvalidArgument'):
            store.upload_part('bucket', 'key', upload_id, number, b'')


# ---------------------------------------------------------------------- requests


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
    """The key is what stands in the path, decoded once and not normalised."""
    assert parse_target(target) == ('bucket', key, query)


def test_operations_have_names() -> None:
    """Method, key, query and headers tell the operation."""
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
    """Ranges are cut to the object; one that makes no sense counts as none."""
    assert byte_range(header, 10) == expected


@pytest.mark.parametrize(('header', 'size'), [('bytes=10-', 10), ('bytes=-0', 10), ('bytes=0-', 0), ('bytes=-1', 0)])
def test_ranges_beyond_the_end(header: str, size: int) -> None:
    """A range without a byte of the object is 416, and tells the size."""
    with pytest.raises(StoreError) as refused:
        byte_range(header, size)

    assert (refused.value.status, refused.value.headers) == (416, {'Content-Range': f'bytes */{size}'})


@pytest.mark.parametrize(
    ('name', 'value'),  # of '123456789', from https://reveng.sourceforge.io/crc-catalogue/
    [('crc32', 'y/Q5Jg=='), ('crc32c', '4waSgw=='), ('crc64nvme', 'rosUhgp5mIg=')],
)
def test_checksums(name: str, value: str) -> None:
    """A checksum is compared with the body."""
    store_body.verify(b'123456789', {f'x-amz-checksum-{name}': value})

    with pytest.raises(StoreError, match='BadDigest'):
        store_body.verify(b'123456780', {f'x-amz-checksum-{name}': value})


def test_aws_chunked_body_is_decoded(store: Store) -> None:
    """The chunks' frames are not stored, nor is the coding's name; trailing checksums are checked."""
    body = b'5;chunk-signature=00\r\n12345\r\n4\r\n6789\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n'
    headers = {'content-encoding': 'gzip,aws-chunked', 'x-amz-decoded-content-length': '9'}

    answer = Api(store).carry_out('PutObject', Request('PUT', 'bucket', 'key', {}, headers, body))

    stored = store.get('bucket', 'key')
    assert (stored.body, stored.headers) == (b'123456789', {'content-encoding': 'gzip'})
    assert answer.headers['x-amz-checksum-crc32'] == 'y/Q5Jg=='


def test_aws_chunked_body_of_another_length_is_refused(store: Store) -> None:
    """What was promised has to come."""
    headers = {'content-encoding': 'aws-chunked', 'x-amz-decoded-content-length': '10'}

    with pytest.raises(StoreError, match='IncompleteBody'):
        Api(store).carry_out('PutObject', Request('PUT', 'bucket', 'key', {}, headers, b'1\r\na\r\n0\r\n\r\n'))


# ---------------------------------------------------------------------- rules


def test_a_rule_skips_then_acts_then_rests() -> None:
    """The rule's skip lets requests through, times bounds the uses, and what does not match counts for neither."""
    script = Script()
    script.add([Rule.parse({'operation': 'UploadPart', 'skip': 1, 'times': 2, 'action': {'status': 503}})])

    statuses = [script.take(seen(operation)).status for operation in ('UploadPart', 'PutObject', *['UploadPart'] * 3)]

    assert statuses == [None, None, 503, 503, None]


def test_the_first_rule_with_a_use_left_acts() -> None:
    """Rules are tried in order; one that skips leaves the request to the next."""
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
    """Each field that a rule has must fit."""
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
    """A script that would do nothing, or nothing sensible, is an error of the test."""
    with pytest.raises(ValueError, match=r'an action|a rule|early'):
        Rule.parse(rule)
