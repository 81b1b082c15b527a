"""Makes the boto3 client of a connection.

It reads private attributes of botocore, as boto_keys.py and s3po/credentials/services.py do; tests/unit/test_boto_client.py
fails when they move.
"""

from __future__ import annotations

import functools
import logging
import os
from typing import TYPE_CHECKING, Any, Final

import boto3.session
import botocore.session
from boto3.s3.inject import inject_s3_transfer_methods
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import MetadataRetrievalError, ProfileNotFound
from botocore.httpsession import URLLib3Session

from s3po.config import __version__
from s3po.credentials import Credentials
from s3po.endpoints.boto_errors import translated
from s3po.endpoints.boto_keys import BotoKeys, refreshable
from s3po.endpoints.settings import ClientSettings, check_endpoint
from s3po.errors import ConfigurationError, CredentialsError
from s3po.secrecy import guard_logs, redacted, revealed

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ['build_client', 'build_mocked_client', 'find_credentials', 'find_region', 'keys_of_client', 'verify_of']

log = logging.getLogger(__name__)

# How many idle connections botocore keeps to one host. It opens more if more are needed at once, and closes those after one
# request, so this must not be less than the requests in flight.
MAX_POOL_CONNECTIONS: Final = 1024

NO_CREDENTIALS: Final = (
    'no credentials found: not in the arguments, the environment, the shared credentials or config file, nor from a '
    'metadata service. Give access_key_id and secret_access_key, or a profile, or anonymous=True'
)

# Only these host names are mocked by moto, whatever the environment has.
PLAIN_ENDPOINTS: Final = {
    'ignore_configured_endpoint_urls': True,
    'use_fips_endpoint': False,
    'use_dualstack_endpoint': False,
}


class _Session(botocore.session.Session):
    """A session that sends requests to EC2's metadata service only in the safe way.

    Only by version 2 of its protocol, which is safe against forged requests (botocore falls back to version 1 if version 2
    does not respond), and never through a proxy, which would see the role's keys. botocore waits 1 s and tries once, unless
    AWS_METADATA_SERVICE_TIMEOUT and AWS_METADATA_SERVICE_NUM_ATTEMPTS are set.
    """

    def __init__(self, session_vars: Any = None) -> None:
        super().__init__(session_vars=session_vars)
        self.set_config_variable('ec2_metadata_v1_disabled', value=True)

    def _create_credential_resolver(self) -> Any:
        resolver: Any = super()._create_credential_resolver()  # type: ignore[misc]  # private, so not in the stubs
        fetcher = resolver.get_provider('iam-role')._role_fetcher
        fetcher._session = URLLib3Session(timeout=fetcher._timeout, proxies={})
        return resolver


def build_client(settings: ClientSettings) -> S3Client:
    """A boto3 S3 client that neither retries nor blocks greenlets while it refreshes its credentials.

    Reads configuration files and may send requests for credentials (metadata service, role, SSO).

    Raises:
        ConfigurationError: The profile is unknown, or the endpoint or configuration is invalid.
        CredentialsError: No credentials were found, or only half of them.
    """
    guard_logs()
    with translated('making a client'):
        try:
            client, credentials = _client_of(settings)
        except MetadataRetrievalError as error:
            # IMDS is the last provider in the chain; it is normal that it does not respond.
            raise CredentialsError(f'{NO_CREDENTIALS} ({redacted(str(error))})') from error
    guard_logs()
    if credentials is None and _any(client.meta.config).signature_version is not UNSIGNED:
        raise CredentialsError(NO_CREDENTIALS)
    endpoint_url = client.meta.endpoint_url
    check_endpoint(endpoint_url, "the endpoint (endpoint_url, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or the client's)")
    settings.warn_of_risks(endpoint_url, verify_of(client))
    if settings.is_first('endpoint'):
        log.debug('the endpoint is %s', endpoint_url)
    if credentials is not None:
        if settings.is_first('credentials'):
            log.debug('credentials come from %s', getattr(credentials, 'method', type(credentials).__name__))
        _signer(client)._credentials = BotoKeys(credentials)
    _extend(client)
    return client


def keys_of_client(client: Any) -> BotoKeys | None:
    """The keys of a client that build_client() made; None for a client that does not sign."""
    found = _signer(client)._credentials
    return found if isinstance(found, BotoKeys) else None


def verify_of(client: Any) -> bool | str:
    """Whether a client verifies certificates, or the path of its trusted authorities."""
    found: bool | str = client._endpoint.http_session._verify
    return found


def find_credentials(settings: ClientSettings) -> Any:
    """The credentials of botocore for these settings; reads the environment and files again.

    Raises:
        CredentialsError: No credentials were found.
    """
    with translated('reading the credentials again'):
        _, found = _client_of(settings)
    if found is None:
        raise CredentialsError(NO_CREDENTIALS)
    return found


def build_mocked_client(region: str | None) -> S3Client:
    """A client for moto only: AWS's host names, fixed fake keys, nothing from the environment or from files.

    Needs an active mock of moto: without one its requests would go to AWS, with keys that AWS does not know.
    """
    import moto.core

    # Every source of settings is replaced by its default: AWS_PROFILE may name a profile that does not exist here.
    bare = {'profile': (None, None, None, None), 'config_file': (None, None, os.devnull, None)}
    guard_logs()
    # Any: boto3's stubs describe every service that there is, and mypy reads them all.
    session: Any = boto3.session.Session(botocore_session=botocore.session.Session(session_vars=bare))
    client: S3Client = session.client(
        's3',
        region_name=region or 'us-east-1',
        aws_access_key_id='mocked',
        aws_secret_access_key='mocked',  # noqa: S106  (moto checks nothing)
        config=_own_config(ClientSettings()).merge(_config(**PLAIN_ENDPOINTS)),
    )
    moto.core.patch_client(client)  # type: ignore[attr-defined]  # documented, if not in __all__
    _extend(client)
    return client


def find_region(settings: ClientSettings) -> str | None:
    """The region that a client would have, without making one; None if no region is set."""
    if settings.region is not None:
        return settings.region
    if settings.client is not None:
        return str(settings.client.meta.region_name)
    try:
        session = _session_of(settings)
        is_core = isinstance(session, botocore.session.Session)
        return (session.get_config_variable('region') if is_core else session.region_name) or None
    except ConfigurationError:
        return None


def _client_of(settings: ClientSettings) -> tuple[S3Client, Any]:
    if settings.client is not None:
        return _derived_client(settings.client)
    source = settings.credentials
    if isinstance(source, Credentials) and not source and not source.can_refresh:
        raise CredentialsError(f'no credentials in {source.name}: {source.reason}, or give other credentials')
    session = _session_of(settings)
    if source is not None and settings.access_key_id is None:
        # botocore gives these to the client's signers. No other client uses this session.
        session._session._credentials = refreshable(source, settings.refreshable)
    keys = (settings.access_key_id, revealed(settings.secret_access_key), revealed(settings.session_token))
    if settings.anonymous:
        # With keys given, botocore does not search for any; they sign nothing.
        keys = ('anonymous', 'anonymous', None)
    create: Any = session.create_client if isinstance(session, botocore.session.Session) else session.client
    client = create(
        's3',
        region_name=settings.region,
        endpoint_url=settings.endpoint_url,
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
        aws_session_token=keys[2],
        # None: the authorities of AWS_CA_BUNDLE or the configuration file are trusted.
        verify=None if settings.verify is True else settings.verify,
        config=_merged_config(settings),
    )
    return client, None if settings.anonymous else _signer(client)._credentials


def _derived_client(given: Any) -> tuple[S3Client, Any]:
    """A client with the credentials, region, endpoint and configuration of another, but without its retries."""
    session: Any = boto3.session.Session()
    client = session.client(
        's3',
        region_name=given.meta.region_name,
        endpoint_url=given.meta.endpoint_url,
        aws_access_key_id='replaced',
        aws_secret_access_key='replaced',  # noqa: S106  (only keeps botocore from looking for credentials)
        verify=verify_of(given),
        config=given.meta.config.merge(_fixed_config()),
    )
    credentials = _signer(given)._credentials
    # Another connection's client is guarded already.
    inner = credentials._inner if isinstance(credentials, BotoKeys) else credentials
    _signer(client)._credentials = inner
    return client, inner


def _session_of(settings: ClientSettings) -> Any:
    given = settings.session
    if given is None:
        with translated('making a session'):
            return _new_session(settings)
    if isinstance(given, botocore.session.Session):
        # A second boto3 Session around it would break it. Registered last, to see what the first one did.
        emitter = given.get_component('event_emitter')
        emitter.register_last('creating-client-class.s3', _inject_transfer_methods, unique_id='s3po-transfer-methods')
        return given
    if not isinstance(given, boto3.session.Session):
        raise ConfigurationError(f'session must be a boto3 or botocore Session, not {type(given).__name__}')
    return given


def _new_session(settings: ClientSettings) -> boto3.session.Session:
    try:
        return boto3.session.Session(profile_name=settings.profile, botocore_session=_Session())
    except ProfileNotFound:
        if settings.profile is not None or not settings.names_keys:
            raise
        # AWS_PROFILE names a profile that does not exist; with given keys it is not needed.
        bare = _Session(session_vars={'profile': (None, None, None, None)})
        return boto3.session.Session(botocore_session=bare)


def _inject_transfer_methods(class_attributes: dict[str, Any], **arguments: Any) -> None:
    """On botocore's `creating-client-class`: add the methods of boto3's clients (upload_file, …), unless they are there."""
    if 'upload_file' not in class_attributes:
        inject_s3_transfer_methods(class_attributes, **arguments)


def _own_config(settings: ClientSettings) -> Config:
    return Config(
        connect_timeout=settings.timeouts.connect_timeout_s,
        read_timeout=settings.timeouts.read_timeout_s,
        signature_version=UNSIGNED if settings.anonymous else 's3v4',
        # The default, 'when_supported', sends checksums as trailers, which many stores refuse.
        request_checksum_calculation='when_required',
        response_checksum_validation='when_required',
        user_agent_extra=f's3po/{__version__}',
        tcp_keepalive=True,
    ).merge(_fixed_config())


def _fixed_config() -> Config:
    """Settings that no caller can change: only s3po retries, and botocore keeps as many connections as s3po uses."""
    return Config(retries={'total_max_attempts': 1, 'mode': 'standard'}, max_pool_connections=MAX_POOL_CONNECTIONS)


def _merged_config(settings: ClientSettings) -> Config:
    given = settings.client_config
    if given is not None and not isinstance(given, Config):
        raise ConfigurationError(f'client_config must be a botocore.config.Config, not {type(given).__name__}')
    config = _own_config(settings)
    s3: dict[str, object] = {} if settings.addressing_style == 'auto' else {'addressing_style': settings.addressing_style}
    if settings.payload_signing != 'auto':
        s3['payload_signing_enabled'] = settings.payload_signing == 'signed'
    if given is not None:
        s3 = {**s3, **(_any(given).s3 or {})}
        config = config.merge(given)
    return config.merge(_config(s3=s3)).merge(_fixed_config())


def _config(**settings: Any) -> Config:
    """A Config with settings that its stubs lack or type too narrowly."""
    return Config(**settings)


def _any(value: Any) -> Any:
    """For attributes of botocore that its stubs lack."""
    return value


def _signer(client: Any) -> Any:
    return client._request_signer


def _extend(client: Any) -> None:
    client.create_bucket = functools.partial(_create_bucket, client, client.create_bucket)


def _create_bucket(client: Any, create: Any, *positional: str, **parameters: Any) -> Any:
    """boto3's create_bucket, with the name as an optional positional, and with the region's LocationConstraint."""
    if positional:
        if len(positional) > 1 or 'Bucket' in parameters:
            raise ConfigurationError('create_bucket takes one bucket name; everything else by keyword')
        parameters['Bucket'] = positional[0]
    region = client.meta.region_name
    # us-east-1 is the one region that must not be named: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
    if region not in (None, '', 'us-east-1', 'aws-global') and 'CreateBucketConfiguration' not in parameters:
        parameters['CreateBucketConfiguration'] = {'LocationConstraint': region}
    return create(**parameters)
