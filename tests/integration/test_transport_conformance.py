"""The rules that every transport keeps, over a real store: what the tests elsewhere rely on is what it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from s3po.transport import Transport
from s3po.transport.boto import BotoTransport
from s3po.transport.session import build_client
from s3po.transport.settings import ClientSettings
from tests.integration.conftest import REGION, Place
from tests.support.conformance import *  # noqa: F403  (the tests)


@pytest.fixture(scope='module')
def transport(place: Place) -> Iterator[Transport]:
    """The transport that the connections use too, by itself."""
    settings = ClientSettings(
        endpoint_url=place.endpoint_url,
        region=REGION,
        access_key_id=place.access_key_id,
        secret_access_key=place.secret_access_key,
        verify=place.verify,
    )
    found = BotoTransport(build_client(settings))
    yield found
    found.close()


@pytest.fixture
def shortcomings(is_rgw: bool) -> Mapping[str, str]:
    """What RGW does not do; s3po looks the ETag up, and otherwise reports what the store told it."""
    ignored = {
        'test_multipart_etag': 'the first answer of RGW to a CompleteMultipartUpload has no ETag',
        'test_copy_of_something_else': 'RGW ignores x-amz-copy-source-if-match',
    }
    return ignored if is_rgw else {}
