"""The HTTP settings of buckets (authorities, timeouts, proxies) equal botocore's."""

from __future__ import annotations

import math
import os
import pathlib
from typing import Any

import pytest
from botocore.config import Config

from s3po.config import __version__
from s3po.endpoints.boto_client import build_client
from s3po.endpoints.resolver import HttpSettings, NotServable
from s3po.endpoints.settings import ClientSettings
from s3po.errors import S3poError
from s3po.http import Timeouts, TLSOptions
from tests.support.addresses import CUSTOM, asking_places, forget_environment, places, plain_places


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    forget_environment(monkeypatch, tmp_path)


def test_http_settings() -> None:
    """Both resolvers return the same settings."""
    timeouts = Timeouts(connect_timeout_s=1.5, read_timeout_s=2.5, min_bytes_per_s=3)
    given = {**CUSTOM, 'timeouts': timeouts, 'verify': False}
    expected = HttpSettings(timeouts=timeouts, tls=TLSOptions(verify=False))

    assert plain_places(**given).http == asking_places(**given).http == expected


@pytest.mark.parametrize('name', ['AWS_CA_BUNDLE', 'REQUESTS_CA_BUNDLE'])
def test_authorities_of_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Authorities in the environment are trusted unless the caller passes verify; a blank path is an error of botocore's."""
    monkeypatch.setenv('REQUESTS_CA_BUNDLE', '/second')
    monkeypatch.setenv(name, '/first')
    assert plain_places(**CUSTOM).http.tls.verify == asking_places(**CUSTOM).http.tls.verify == '/first'
    assert plain_places(verify=False, **CUSTOM).http.tls.verify is False

    monkeypatch.setenv(name, ' ')
    with pytest.raises(S3poError, match='Invalid CA bundle'):
        _ = places(**CUSTOM).http


def test_http_settings_of_the_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """Settings of the caller's client configuration are used."""
    config = Config(
        connect_timeout=3,
        read_timeout=None,
        client_cert=('cert', 'key'),
        user_agent_extra='mine/1',
        s3={'payload_signing_enabled': False},
    )

    assert places(**CUSTOM, client_config=config).http == HttpSettings(
        timeouts=Timeouts(connect_timeout_s=3, read_timeout_s=math.inf),
        tls=TLSOptions(client_cert=('cert', 'key')),
        user_agent_extra='mine/1',
        payload_signing=False,
    )
    (tmp_path / 'config').write_text('[default]\ns3 =\n  payload_signing_enabled = true\n')
    monkeypatch.setenv('AWS_CONFIG_FILE', os.fspath(tmp_path / 'config'))
    assert places(**CUSTOM).http.payload_signing is True
    assert f's3po/{__version__}' in places(**CUSTOM)._client().meta.config.user_agent


@pytest.mark.parametrize('make', [plain_places, asking_places])
@pytest.mark.parametrize(
    ('variables', 'proxy'),
    [
        ({'https_proxy': 'http://user:word@proxy:8080'}, 'http://user:word@proxy:8080'),
        ({'HTTPS_PROXY': 'proxy:8080'}, 'http://proxy:8080'),
        ({'HTTPS_PROXY': '//proxy:8080'}, 'http://proxy:8080'),
        ({'http_proxy': 'http://proxy:8080'}, None),
        ({'https_proxy': 'http://proxy:8080', 'no_proxy': 'example.com'}, None),
        ({'https_proxy': 'http://proxy:8080', 'NO_PROXY': '*'}, None),
        ({'https_proxy': 'http://proxy:8080', 'NO_PROXY': 'example.org'}, 'http://proxy:8080'),
    ],
)
def test_proxies_of_the_environment(
    make: Any, variables: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy for the scheme is used as in botocore, unless the endpoint is excluded."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    given = {**CUSTOM, 'endpoint_url': 'https://s3.example.com'}
    place = make(**given).find('bucket')
    client: Any = build_client(ClientSettings(**given))

    assert place.proxy == client._endpoint.http_session._proxy_config.proxy_url_for('https://s3.example.com') == proxy
    assert 'word' not in repr(place)


@pytest.mark.parametrize('make', [plain_places, asking_places])
@pytest.mark.parametrize(
    ('endpoint', 'variable', 'value', 'reason'),
    [
        ('http://s3.example.com', 'http_proxy', 'http://user:word@proxy:8080', 'it is reached over http, through a proxy'),
        ('https://s3.example.com', 'https_proxy', 'https://user:word@proxy:8080', 'the proxy requires https'),
        ('https://s3.example.com', 'https_proxy', 'socks5://user:word@proxy:8080', 'the proxy requires socks5'),
    ],
)
def test_proxies_that_are_not_served(
    make: Any, endpoint: str, variable: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unsupported proxies are not servable; the reason contains no password."""
    monkeypatch.setenv(variable, value)

    with pytest.raises(NotServable) as caught:
        make(**{**CUSTOM, 'endpoint_url': endpoint}).find('bucket')
    assert caught.value.reason == reason


def test_proxies_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies in the configuration replace those of the environment."""
    monkeypatch.setenv('https_proxy', 'http://other:8080')
    given = {**CUSTOM, 'endpoint_url': 'https://s3.example.com'}

    assert places(**given, client_config=Config(proxies={'https': 'proxy:1'})).find('bucket').proxy == 'http://proxy:1'
    assert places(**given, client_config=Config(proxies={})).find('bucket').proxy is None
