"""Addresses that are computed without botocore, and settings that prevent this."""

from __future__ import annotations

import itertools
import os
import pathlib

import pytest

from s3po.endpoints.boto_client import build_client
from s3po.endpoints.settings import ClientSettings
from tests.support.addresses import (
    CUSTOM,
    ENDPOINTS,
    KEYS,
    PLAIN,
    STYLES,
    by_botocore,
    by_places,
    forget_environment,
    places,
    plain_places,
    told,
)


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    forget_environment(monkeypatch, tmp_path)


@pytest.mark.parametrize(('endpoint', 'style'), list(itertools.product(ENDPOINTS[1:], STYLES)))
def test_plain_buckets_at_own_endpoints(endpoint: str, style: str) -> None:
    """botocore is not called, unless it would build a host from an IP address and a bucket name with dots."""
    found = plain_places(endpoint_url=endpoint, addressing_style=style, region='us-east-1', **KEYS)
    is_odd = style == 'virtual' and endpoint in ('http://127.0.0.1:9000', 'http://[::1]:9000')
    buckets = [bucket for bucket in PLAIN if not (is_odd and bucket == 'my.dotted.bucket')]

    assert set(by_places(found, buckets)) == set(buckets)


HARMLESS = {
    'AWS_ACCESS_KEY_ID': 'other',
    'AWS_SECRET_ACCESS_KEY': 'other',
    'AWS_DEFAULT_REGION': 'eu-west-3',
    'AWS_REGION': 'eu-west-3',
    'AWS_PROFILE': 'there',
    'AWS_ENDPOINT_URL': 'http://127.0.0.1:9',
    'AWS_ENDPOINT_URL_S3': 'http://127.0.0.1:9',
    'AWS_MAX_ATTEMPTS': '7',
    'AWS_EC2_METADATA_DISABLED': 'true',
    'AWS_LAMBDA_FUNCTION_NAME': 'function',
}


def test_harmless_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """Settings of credentials, regions or endpoints have no effect if these are passed as arguments."""
    (tmp_path / 'config').write_text('# mine\n[default]\nregion = eu-west-1\noutput=json\n\n[profile there]\nrole_arn: x\n')
    (tmp_path / 'credentials').write_text('[default]\naws_access_key_id = a\naws_secret_access_key = b\n')
    for name, value in HARMLESS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv('AWS_CONFIG_FILE', os.fspath(tmp_path / 'config'))
    monkeypatch.setenv('AWS_SHARED_CREDENTIALS_FILE', os.fspath(tmp_path / 'credentials'))
    found = plain_places(**CUSTOM).find('bucket')

    assert told(found) == by_botocore(['bucket'], build_client(ClientSettings(**CUSTOM)))['bucket']


@pytest.mark.parametrize('name', ['AWS_USE_DUALSTACK_ENDPOINT', 'AWS_S3_US_EAST_1_REGIONAL_ENDPOINT', 'AWS_NEW_IN_2040'])
def test_variables_that_may_matter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With such a variable botocore is called, also for names that only later versions may know."""
    monkeypatch.setenv(name, 'regional')

    with pytest.raises(pytest.fail.Exception, match='botocore was asked'):
        plain_places(**CUSTOM).find('bucket')


@pytest.mark.parametrize('file', ['AWS_CONFIG_FILE', 'AWS_SHARED_CREDENTIALS_FILE'])
def test_sections_for_s3(file: str, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """An `s3` section in a configuration file is respected, also if everything else is passed."""
    (tmp_path / 'file').write_text('[default]\nregion = eu-west-1\ns3 =\n  addressing_style = virtual\n')
    monkeypatch.setenv(file, os.fspath(tmp_path / 'file'))
    given = {**CUSTOM, 'endpoint_url': 'https://s3.example.com'}
    found = places(**given).find('bucket')

    assert told(found) == by_botocore(['bucket'], build_client(ClientSettings(**given)))['bucket']
    assert found.host == 'bucket.s3.example.com'


def test_files_in_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """The files in the home directory are read if no variable names others; with unknown settings, botocore is called."""
    monkeypatch.delenv('AWS_CONFIG_FILE')
    assert plain_places(**CUSTOM).find('bucket').path == '/bucket/'

    (tmp_path / '.aws' / 'models').mkdir(parents=True)
    with pytest.raises(pytest.fail.Exception):
        plain_places(**CUSTOM).find('bucket')
    (tmp_path / '.aws' / 'models').rmdir()
    (tmp_path / '.aws' / 'config').write_text('[default]\nca_bundle = somewhere\n')
    with pytest.raises(pytest.fail.Exception):
        plain_places(**CUSTOM).find('bucket')

    (tmp_path / '.aws' / 'config').write_text('')
    monkeypatch.setattr('builtins.open', lambda *_, **__: (_ for _ in ()).throw(PermissionError()))
    with pytest.raises(pytest.fail.Exception):
        plain_places(**CUSTOM).find('bucket')
