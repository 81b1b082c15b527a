"""Sources of keys: what each finds, half pairs, merged sources, and no secret in a repr or message."""

from __future__ import annotations

import copy
import logging
import pathlib
import pickle
import traceback
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import s3po
from s3po.connection.pickling import packed_credentials
from s3po.credentials import (
    ConfigCredentials,
    Credentials,
    EnvironmentCredentials,
    MetadataCredentials,
    StaticCredentials,
    URLCredentials,
    merge_credentials,
)
from s3po.endpoints.settings import ClientSettings
from s3po.endpoints.signing_keys import FixedKeys, key_source
from s3po.errors import ConfigurationError, CredentialsError
from tests.support.canaries import SECRET_ACCESS_KEY, SESSION_TOKEN, secrets_in

Fields = tuple[str, str, str | None, str | None]


def fields(credentials: Credentials) -> Fields:
    """The four fields of the credentials."""
    found = credentials
    return found.access_key_id, found.secret_access_key, found.session_token, found.region


@pytest.fixture
def files(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A home directory with an empty .aws, and an environment without AWS settings."""
    for name in ('AWS_SHARED_CREDENTIALS_FILE', 'AWS_CONFIG_FILE'):
        monkeypatch.delenv(name)
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / '.aws').mkdir()
    return tmp_path / '.aws'


def section(name: str, number: int | str, *, region: str | None = None, token: bool = False) -> str:
    """A section of a credentials file."""
    lines = [f'[{name}]', f'aws_access_key_id = key{number}', f'aws_secret_access_key = secret{number}']
    lines += [f'aws_session_token = token{number}'] * token + ([f'region = {region}'] if region else [])
    return '\n'.join(lines) + '\n'


# ---------------------------------------------------------------------- each kind


def test_static() -> None:
    """Arguments that are not passed are empty."""
    assert fields(StaticCredentials('key', 'secret', 'token', 'eu-west-1')) == ('key', 'secret', 'token', 'eu-west-1')
    assert fields(StaticCredentials(region='eu-west-1')) == ('', '', None, 'eu-west-1')
    assert StaticCredentials(access_key_id='key', secret_access_key='secret')
    assert not StaticCredentials()


@pytest.mark.parametrize(
    ('url', 'expected'),
    [
        ('http://key:hack-me@your-s3-host', ('key', 'hack-me')),
        ('https://key:hack-me@your-s3-host:9000/bucket?x=1', ('key', 'hack-me')),
        ('http://k%40y:a%2Fb+c%3D%25%3A@[::1]:9000', ('k@y', 'a/b+c=%:')),
        ('http://key:a+b=c:d@host', ('key', 'a+b=c:d')),
        ('http://host/a@b', ('', '')),
        ('http://host', ('', '')),
    ],
)
def test_url(url: str, expected: tuple[str, str]) -> None:
    """User name and password of the URL are percent-decoded."""
    found = URLCredentials(url, region='us-east-1')

    assert fields(found) == (*expected, None, 'us-east-1')
    assert bool(found) == bool(expected[0])


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_secret_in_a_url(key: str, secret: str) -> None:
    """Every percent-encoded key and secret is decoded to the original."""
    encoded = ':'.join(urllib.parse.quote(each.encode('utf-8', 'surrogatepass'), safe='') for each in (key, secret))
    found = URLCredentials(f'http://{encoded}@host')

    assert (found.access_key_id, found.secret_access_key) == (key, secret)


@pytest.mark.parametrize(
    'url',
    [
        f'http://key@{SECRET_ACCESS_KEY}:host',
        f'http://key:{SECRET_ACCESS_KEY}@host',
        f'key:{SECRET_ACCESS_KEY}@host',
        f'ftp://key:{SECRET_ACCESS_KEY.replace("/", "")}@host',
        f'http://key:{SECRET_ACCESS_KEY.replace("/", "")}@[::1',
        f'http://key:{SECRET_ACCESS_KEY.replace("/", "")}\u2100@host',
        f'http://{SECRET_ACCESS_KEY.replace("/", "")}@host',
        f'http://:{SECRET_ACCESS_KEY.replace("/", "")}@host',
    ],
)
def test_bad_urls(url: str) -> None:
    """The error shows the expected form, and no part of the value."""
    with pytest.raises(ConfigurationError, match='http://key:secret@host') as caught:
        URLCredentials(url)

    assert secrets_in(''.join(traceback.format_exception(caught.value)).partition('ConfigurationError')[2]) == []
    assert caught.value.__cause__ is None


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables are read when the object is created; a token without keys is ignored."""
    assert fields(EnvironmentCredentials()) == ('', '', None, None)
    monkeypatch.setenv('AWS_SESSION_TOKEN', 'token')
    assert fields(EnvironmentCredentials()) == ('', '', None, None)
    monkeypatch.setenv('AWS_ACCESS_KEY_ID', 'key')
    monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', 'secret')
    monkeypatch.setenv('AWS_DEFAULT_REGION', 'eu-west-2')
    assert fields(EnvironmentCredentials()) == ('key', 'secret', 'token', 'eu-west-2')
    monkeypatch.setenv('AWS_REGION', 'eu-west-1')

    assert fields(EnvironmentCredentials()) == ('key', 'secret', 'token', 'eu-west-1')
    assert fields(EnvironmentCredentials('us-west-1')) == ('key', 'secret', 'token', 'us-west-1')


def test_files(files: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The credentials file precedes the config file; keys of different sections are never mixed."""
    assert fields(ConfigCredentials()) == ('', '', None, None)
    (files / 'config').write_text(
        section('default', 1, region='r1') + section('profile "x y"', 2) + '[profile z]\nregion = r3\n'
    )
    assert fields(ConfigCredentials()) == ('key1', 'secret1', None, 'r1')
    assert fields(ConfigCredentials(profile='x y')) == ('key2', 'secret2', None, None)
    (files / 'credentials').write_text(section('default', 4, token=True) + section('z', 5))

    assert fields(ConfigCredentials()) == ('key4', 'secret4', 'token4', 'r1')
    assert fields(ConfigCredentials(profile='z')) == ('key5', 'secret5', None, 'r3')
    assert fields(ConfigCredentials(profile='z', region='mine')) == ('key5', 'secret5', None, 'mine')
    monkeypatch.setenv('AWS_PROFILE', 'z')
    assert fields(ConfigCredentials()) == ('key5', 'secret5', None, 'r3')
    assert fields(ConfigCredentials(profile='default')) == ('key4', 'secret4', 'token4', 'r1')
    assert not ConfigCredentials(profile='not there')


def test_sections_of_one_name(files: pathlib.Path) -> None:
    """Two sections of the same profile in one file are not mixed either."""
    (files / 'own').write_text(section('profile x', 1, token=True) + section('x', 2))

    assert fields(ConfigCredentials('~/.aws/own', 'x')) == ('key2', 'secret2', None, None)


def test_files_named(files: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are set by the argument or the environment; ~ is expanded."""
    (files / 'credentials').write_text(section('default', 0))
    for number in (1, 2, 3):
        (files / str(number)).write_text(section('default' if number != 2 else 'profile p', number, region=f'r{number}'))
    assert fields(ConfigCredentials('~/.aws/1')) == ('key1', 'secret1', None, 'r1')
    assert fields(ConfigCredentials(files / '2', profile='p')) == ('key2', 'secret2', None, 'r2')
    assert not ConfigCredentials('~/not there')
    monkeypatch.setenv('AWS_SHARED_CREDENTIALS_FILE', '~/.aws/3')
    monkeypatch.setenv('AWS_CONFIG_FILE', '~/.aws/2')

    assert fields(ConfigCredentials()) == ('key3', 'secret3', None, 'r3')
    assert fields(ConfigCredentials(profile='p')) == ('key2', 'secret2', None, 'r2')


@pytest.mark.parametrize(
    'text', [f'aws_secret_access_key = {SECRET_ACCESS_KEY}\n', f'[default]\n{SECRET_ACCESS_KEY}\n', '[default]\na=1\na=2\n']
)
def test_invalid_file(files: pathlib.Path, text: str) -> None:
    """The error names the file and the line, and quotes nothing."""
    (files / 'credentials').write_text(text)
    with pytest.raises(CredentialsError, match=r'\.aws/credentials cannot be parsed \(line \d\)') as caught:
        ConfigCredentials()

    assert secrets_in(''.join(traceback.format_exception(caught.value))) == []


def test_file_that_cannot_be_read(files: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be read is an error, and does not count as empty."""
    (files / 'credentials').write_bytes(b'[default]\n\xff\xfe = 1\n')
    with pytest.raises(CredentialsError, match='credentials cannot be parsed'):
        ConfigCredentials()
    with pytest.raises(CredentialsError, match='is a directory'):
        ConfigCredentials(files)

    def refuse(*_: object) -> int:
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr('s3po.credentials.files.os.open', refuse)
    with pytest.raises(CredentialsError, match='credentials cannot be read: Permission denied'):
        ConfigCredentials()


# ---------------------------------------------------------------------- half a pair


def test_half_pairs(files: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a pair is rejected at creation; the error names the missing half, and its source."""
    with pytest.raises(ConfigurationError, match='^secret_access_key is missing'):
        StaticCredentials('key')
    with pytest.raises(ConfigurationError, match='^access_key_id is missing'):
        StaticCredentials(secret_access_key=SECRET_ACCESS_KEY)
    with pytest.raises(ConfigurationError, match='^session_token needs'):
        StaticCredentials(session_token=SESSION_TOKEN)
    with pytest.raises(ConfigurationError, match='^secret_access_key is missing: .*http://key:secret@host'):
        URLCredentials('http://key@host')
    (files / 'credentials').write_text('[default]\naws_secret_access_key = x\n')
    (files / 'config').write_text(section('default', 1))
    with pytest.raises(CredentialsError, match=r"^access_key_id is missing: .*profile 'default' of .*\.aws/credentials"):
        ConfigCredentials()
    monkeypatch.setenv('AWS_ACCESS_KEY_ID', 'key')
    with pytest.raises(CredentialsError, match='^secret_access_key is missing: .*AWS_SECRET_ACCESS_KEY'):
        EnvironmentCredentials()


@pytest.mark.parametrize(
    'make',
    [
        lambda: StaticCredentials(b'key', b'secret'),  # type: ignore[arg-type]
        lambda: StaticCredentials('key', 'secret', region=1),  # type: ignore[arg-type]
        lambda: URLCredentials(None),  # type: ignore[arg-type]
        lambda: ConfigCredentials(1),  # type: ignore[arg-type]
        lambda: ConfigCredentials(profile=b'x'),  # type: ignore[arg-type]
        lambda: merge_credentials(StaticCredentials(), {'access_key_id': 'key'}),  # type: ignore[arg-type]
    ],
)
def test_wrong_types(make: Callable[[], object]) -> None:
    """Arguments of wrong types are rejected."""
    with pytest.raises(ConfigurationError):
        make()


# ---------------------------------------------------------------------- merged sources


@st.composite
def sources(draw: st.DrawFn) -> list[Credentials]:
    """Sources with and without keys; all values of a source end with its number."""
    made: list[Credentials] = []
    for number in range(draw(st.integers(0, 5))):
        has_keys, has_token, has_region = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
        region = f'region{number}' if has_region else None
        token = f'token{number}' if has_keys and has_token else None
        keys = (f'key{number}', f'secret{number}') if has_keys else ('', '')
        made.append(StaticCredentials(*keys, token, region))
        if draw(st.booleans()):
            made[-1:] = [merge_credentials(*made[-2:])]
    return made


@given(sources())
def test_merging(given: list[Credentials]) -> None:
    """The merged credentials have all keys of the first source with keys, also its missing token, and the first region."""
    merged = merge_credentials(*given)
    first = next((each for each in given if each), StaticCredentials())
    region = next((each.region for each in given if each.region), None)

    assert fields(merged) == (*fields(first)[:3], region)
    assert bool(merged) == bool(first)
    # The number of each source is one digit.
    assert len({each[-1] for each in fields(merged)[:3] if each}) == bool(merged)


def test_merging_with_a_service() -> None:
    """A source whose keys are fetched later is used only if no other one has keys."""
    service = MetadataCredentials(region='eu-west-1')
    static = StaticCredentials('key', 'secret')

    assert fields(merge_credentials(service, static)) == ('key', 'secret', None, 'eu-west-1')
    assert not merge_credentials(service, static).can_refresh
    assert merge_credentials(StaticCredentials(), service).can_refresh


# ---------------------------------------------------------------------- secrets


def kinds(monkeypatch: pytest.MonkeyPatch, files: pathlib.Path) -> list[Credentials]:
    """One source of each kind, with the secrets."""
    monkeypatch.setenv('AWS_ACCESS_KEY_ID', 'key')
    monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', SECRET_ACCESS_KEY)
    monkeypatch.setenv('AWS_SESSION_TOKEN', SESSION_TOKEN)
    lines = f'aws_access_key_id=key\naws_secret_access_key={SECRET_ACCESS_KEY}\naws_session_token={SESSION_TOKEN}\n'
    (files / 'credentials').write_text(f'[default]\n{lines}')
    found = [
        StaticCredentials('key', SECRET_ACCESS_KEY, SESSION_TOKEN),
        URLCredentials(f'http://key:{urllib.parse.quote(SECRET_ACCESS_KEY, safe="")}@host'),
        EnvironmentCredentials(),
        ConfigCredentials(),
    ]
    return [*found, merge_credentials(*found)]


def test_nothing_is_shown(monkeypatch: pytest.MonkeyPatch, files: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    """No secret is in a repr, a text, a log, an f-string, an attribute, or a pickle of environment or file credentials."""
    for each in kinds(monkeypatch, files):
        assert each.secret_access_key == SECRET_ACCESS_KEY
        settings = ClientSettings(credentials=each)
        connection = s3po.Connection(credentials=each)
        logging.getLogger(__name__).warning('%s %r', each, [each])
        slots = [getattr(each, name, None) for kind in type(each).__mro__ for name in getattr(kind, '__slots__', ())]
        shown = [each, slots, settings, connection, vars(connection), key_source(settings, pytest.fail).current]
        assert secrets_in(f'{each} {shown!r} {caplog.text}') == []
        if isinstance(each, EnvironmentCredentials | ConfigCredentials):
            assert SECRET_ACCESS_KEY.encode() not in pickle.dumps(each)
            continue
        with pytest.raises(TypeError, match='credentials cannot be pickled on their own'):
            pickle.dumps(each)


def test_pickles(monkeypatch: pytest.MonkeyPatch, files: pathlib.Path) -> None:
    """A Connection pickles passed keys with their values, and others as a source to be read again."""
    for each in kinds(monkeypatch, files):
        connection = s3po.Connection(credentials=each, endpoint_url='http://127.0.0.1:9', region='us-east-1')
        for arrived in (pickle.loads(pickle.dumps(connection)), copy.deepcopy(connection)):
            source = key_source(arrived._settings, pytest.fail)
            keys = source.current
            assert keys is not None
            assert (keys.access_key_id, keys.secret_access_key) == ('key', SECRET_ACCESS_KEY)
            assert isinstance(source, FixedKeys)
            assert arrived._arguments['credentials'].reveal().region == each.region
    pickled = pickle.dumps(s3po.Connection(credentials=EnvironmentCredentials()))
    assert SECRET_ACCESS_KEY.encode() not in pickled
    monkeypatch.setenv('AWS_ACCESS_KEY_ID', 'other')
    assert pickle.loads(pickled)._settings.access_key_id == 'other'
    assert pickle.loads(pickle.dumps(EnvironmentCredentials('here'))).region == 'here'
    assert pickle.loads(pickle.dumps(ConfigCredentials(region='here'))).region == 'here'
    assert copy.copy(each) is each


def returned_keys() -> dict[str, Any]:
    """A function that can be pickled."""
    return {'access_key_id': 'key', 'secret_access_key': 'secret'}


def test_pickles_of_what_changes() -> None:
    """A function is pickled if it can be, a metadata service as a source; others are an error."""
    for source in (returned_keys, MetadataCredentials('here'), merge_credentials(MetadataCredentials('here'))):
        arrived = pickle.loads(pickle.dumps(s3po.Connection(credentials=source)))
        assert arrived._settings.credentials is not None
        assert arrived._settings.region in (None, 'here')
    assert pickle.loads(pickle.dumps(MetadataCredentials('here'))).region == 'here'
    with pytest.raises(ConfigurationError, match='credentials belongs to this process, so the Connection cannot be pickled'):
        pickle.dumps(s3po.Connection(credentials=lambda: None))
    assert packed_credentials(object()) is None
