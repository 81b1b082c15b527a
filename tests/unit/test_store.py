"""The store's rules for objects, listings and uploads, without HTTP."""

from __future__ import annotations

import hashlib

import pytest

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


def test_keys_are_kept_as_they_are(store: Store) -> None:
    """Keys that a file system would treat as equal are different keys."""
    keys = ['a', 'a//b', 'a/../b', 'a/./b', '/a', 'a.', 'a/', 'é', 'e\u0301', '\N{PILE OF POO}']

    for key in keys:
        put(store, key)

    assert listed(store) == sorted(keys)


def test_key_length_is_counted_in_bytes(store: Store) -> None:
    """A key may have 1,024 bytes of UTF-8, and not 1,025."""
    put(store, 'é' * 512)

    with pytest.raises(StoreError) as refused:
        put(store, 'é' * 512 + 'a')

    assert refused.value.code == 'KeyTooLongError'


def test_missing_things_have_their_own_codes(store: Store) -> None:
    """A missing bucket and a missing key have different errors, and deleting a missing key succeeds."""
    with pytest.raises(StoreError, match='NoSuchKey'):
        store.get('bucket', 'key')
    with pytest.raises(StoreError, match='NoSuchBucket'):
        store.get('other', 'key')

    store.delete('bucket', 'key')


def test_only_empty_buckets_are_deleted(store: Store) -> None:
    """A bucket with objects cannot be deleted."""
    put(store, 'key')
    with pytest.raises(StoreError, match='BucketNotEmpty'):
        store.delete_bucket('bucket')

    store.delete('bucket', 'key')
    store.delete_bucket('bucket')

    assert store.list_buckets() == []


def test_creating_a_bucket_again_keeps_its_objects(store: Store) -> None:
    """Creating a bucket again changes nothing."""
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
    """A write whose condition fails changes nothing."""
    put(store, 'key', b'old')

    with pytest.raises(StoreError) as refused:
        put(store, 'key', b'new', conditions)

    assert refused.value.status == status
    assert store.get('bucket', 'key').body == b'old'


def test_conditional_write_allowed(store: Store) -> None:
    """If-None-Match: * needs a missing object, If-Match an object with that ETag; without an object it is a 404."""
    put(store, 'key', b'old', Conditions(if_none_match='*'))
    put(store, 'key', b'new', Conditions(if_match=f'"{md5(b"old")}"'))
    assert store.get('bucket', 'key').body == b'new'

    with pytest.raises(StoreError, match='NoSuchKey'):
        put(store, 'other', b'', Conditions(if_match='"any"'))


def test_conditional_read() -> None:
    """If-Match with another ETag is 412, If-None-Match with this one 304; for a copy's source, both are 412."""
    stored = StoredObject(body=b'', etag='abc')

    Conditions(if_match='"xyz", "abc"', if_none_match='"xyz"').check_read(stored)
    with pytest.raises(StoreError, match='412'):
        Conditions(if_match='"xyz"').check_read(stored)
    with pytest.raises(StoreError, match='304'):
        Conditions(if_none_match='"abc"').check_read(stored)
    with pytest.raises(StoreError, match='412'):
        Conditions(if_none_match='"abc"').check_copy(stored)


def test_tags_are_replaced_without_a_new_version(store: Store) -> None:
    """Setting tags does not change body, ETag and time; more than ten tags are rejected."""
    put(store, 'key', b'body')
    before = store.get('bucket', 'key')

    store.put_tags('bucket', 'key', {'a': '1'})

    after = store.get('bucket', 'key')
    assert (after.body, after.etag, after.modified) == (before.body, before.etag, before.modified)
    assert store.tags('bucket', 'key') == {'a': '1'}
    with pytest.raises(StoreError, match='10'):
        store.put_tags('bucket', 'key', {str(number): '' for number in range(11)})


@pytest.mark.parametrize('limit', [1, 2, 3, 1000])
def test_pages_hold_every_key_once(store: Store, limit: int) -> None:
    """Pages of any size make the same list."""
    for key in ['a', 'b/1', 'b/2', 'c/', 'c/1', 'd']:
        put(store, key)

    assert listed(store, limit=limit) == ['a', 'b/1', 'b/2', 'c/', 'c/1', 'd']
    assert listed(store, delimiter='/', limit=limit) == ['a', 'b/', 'c/', 'd']
    assert listed(store, 'b/', delimiter='/', limit=limit) == ['b/1', 'b/2']
    assert listed(store, 'c/', delimiter='/', limit=limit) == ['c/', 'c/1']


def test_start_after(store: Store) -> None:
    """start-after excludes the key itself, and need not be an existing key."""
    for key in ['a', 'b', 'c']:
        put(store, key)

    assert listed(store, after='a') == ['b', 'c']
    assert listed(store, after='aa') == ['b', 'c']
    assert listed(store, 'b', after='a') == ['b']
    assert listed(store, after='c') == []


def test_order_is_that_of_utf8(store: Store) -> None:
    """Keys are sorted by their UTF-8 bytes, which differs from the order of UTF-16."""
    keys = ['\N{PILE OF POO}', '\ufb00', 'z', 'Z']
    for key in keys:
        put(store, key)

    assert listed(store) == sorted(keys, key=str.encode)


def test_an_empty_page_is_the_last(store: Store) -> None:
    """max-keys=0 returns an empty page without a continuation token."""
    put(store, 'a')

    page = store.list_objects('bucket', limit=0)

    assert (list(page.items), page.next) == ([], None)


def test_upload_is_assembled_in_order_of_numbers(store: Store) -> None:
    """The body is that of the parts, the ETag the MD5 of their MD5s with their number; the upload no longer exists."""
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
    """A part that is sent again replaces the first one, and the ETag must be the new one."""
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
    """Parts must be in order, and all but the last must have 5 MiB."""
    upload_id, parts = begin_upload(store, b'a', b'b')

    with pytest.raises(StoreError) as refused:
        store.assemble('bucket', 'key', upload_id, [parts[index] for index in choose])

    assert refused.value.code == code


def test_refused_completion_leaves_the_upload(store: Store) -> None:
    """If the completion's condition fails, the upload can still be aborted."""
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
    """An upload id is valid for its key only; part numbers are 1 to 10,000."""
    upload_id, _ = begin_upload(store)

    with pytest.raises(StoreError, match='NoSuchUpload'):
        store.upload_part('bucket', 'other', upload_id, 1, b'')
    for number in (0, 10_001):
        with pytest.raises(StoreError, match='InvalidArgument'):
            store.upload_part('bucket', 'key', upload_id, number, b'')
