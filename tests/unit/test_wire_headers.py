"""Which request supports which header of an object: the same as in botocore's model."""

from __future__ import annotations

import pytest

from s3po.errors import ConfigurationError
from s3po.s3 import headers as wire_headers
from s3po.s3.headers import taken_by
from s3po.s3.parameters import METADATA_PREFIX, _header_members, _shapes, check_headers, known_headers, unknown_headers
from s3po.transport.boto_hooks import CREATING

OPERATIONS = ('PutObject', 'CreateMultipartUpload', 'CopyObject', 'CompleteMultipartUpload')

# Headers for which the model has no parameters.
OTHERS = {'x-amz-meta-colour', 'x-amz-meta-', 'x-amz-copy-source-of-tomorrow', 'x-custom', 'date', 'user-agent', 'range'}


def known_names() -> set[str]:
    """Every header for which any of the requests has a parameter, of whatever type."""
    shapes = [shape for operation in OPERATIONS for shape in _shapes(operation).values()]
    return {str(shape.serialization['name']).lower() for shape in shapes if shape.serialization.get('location') == 'header'}


def is_sent_by_boto(operation: str, name: str) -> bool:
    """Whether the reference transport sends the header with the request, as a parameter or unchanged."""
    headers = {name: 'x'}
    return bool(known_headers(operation, headers)) or (operation in CREATING and bool(unknown_headers(headers)))


def may_be_given(name: str) -> bool:
    """Whether callers may pass the header."""
    try:
        check_headers({name: 'x'})
    except ConfigurationError:
        return False
    return True


@pytest.mark.parametrize('operation', OPERATIONS)
def test_headers_as_boto(operation: str) -> None:
    """Each request sends the headers that botocore sends, of all known and some unknown ones."""
    given = [name for name in sorted(known_names() | OTHERS) if may_be_given(name)]

    assert set(taken_by(operation, dict.fromkeys(given, 'x'))) == {name for name in given if is_sent_by_boto(operation, name)}


def test_what_s3po_sets_itself() -> None:
    """Checksum headers need no table, since callers may not pass them."""
    refused = {name for name in known_names() if not may_be_given(name)}
    checksums = {name for name in refused if name.startswith('x-amz-checksum-')}

    assert checksums
    assert refused - checksums == {'content-length', 'x-amz-sdk-checksum-algorithm'}


@pytest.mark.parametrize('operation', OPERATIONS)
def test_names_and_values(operation: str) -> None:
    """Names are case-insensitive and sent in lower case; values are sent unchanged."""
    headers = {'IF-None-Match': ' *  "x" ', 'If-MATCH': 'é', 'X-Amz-Request-Payer': ''}
    lowered = {name.lower(): value for name, value in headers.items()}

    assert taken_by(operation, headers) == {name: value for name, value in lowered.items() if is_sent_by_boto(operation, name)}
    assert taken_by(operation, headers) is not headers
    assert taken_by(operation, {}) == {}


def test_tables_name_what_there_is() -> None:
    """The tables contain only headers of botocore's model."""
    known = {name for operation in OPERATIONS for name in _header_members(operation)}
    tables = (wire_headers.NOT_FOR_CREATE, wire_headers.NOT_FOR_COPY, wire_headers.FOR_COMPLETE, wire_headers.ONLY_FOR_COPY)

    assert frozenset().union(*tables) <= known
    assert not any(name.startswith(METADATA_PREFIX) for name in known)
