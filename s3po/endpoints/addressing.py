"""Host and path of a bucket at a custom endpoint, without botocore.

Only plain cases are decided here, and only if neither the environment nor AWS's configuration files change anything. All others
are left to botocore: see resolver.py. tests/unit/test_resolver.py compares both. No network.

The rule (botocore/args.py and its S3 endpoint rule set): the bucket is part of the path, unless the style is 'virtual'. With
'virtual' it is still part of the path if the host is an IP address or the name is no valid host label. A name with dots is part
of the path for https, where no certificate would match, and of the host for http.
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Self

__all__ = ['CustomEndpoint', 'Place', 'default_verify', 'has_overrides', 'host_header', 'is_region', 'proxies_for']

DEFAULT_PORTS: Final = {'http': 80, 'https': 443}

# Names that botocore accepts as a bucket's. Longer names, other letters and ARNs are left to botocore.
_BUCKET: Final = re.compile(r'[A-Za-z0-9._-]{1,255}')
# Directory buckets (--x-s3, --xa-s3) and aliases on Outposts (--op-s3) have their own hosts:
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_SPECIAL_BUCKET: Final = re.compile(r'.*--[a-z]+-s3')
_LABEL: Final = re.compile(r'(?!-)[A-Za-z0-9-]{1,63}(?<!-)')
_IPV4: Final = re.compile(r'(?:[0-9]{1,3}\.){3}[0-9]{1,3}')
_REGION: Final = re.compile(r'(?![0-9]+$)(?!-)[A-Za-z0-9-]{1,63}(?<!-)')
# Without dot segments, empty segments and characters that need escapes.
_PLAIN_PATH: Final = re.compile(r'(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?')
# botocore's limits: the length of a host name, and of a bucket name that is part of one.
_MAX_HOST: Final = 255
_MIN_LABEL_BUCKET: Final = 3

# They name the trusted certificate authorities; the first that is set counts. botocore refuses a blank one.
_AUTHORITIES: Final = ('AWS_CA_BUNDLE', 'REQUESTS_CA_BUNDLE')
# Variables of AWS that change neither addresses nor HTTP if keys, region and endpoint are given. Others may.
_HARMLESS_VARIABLES: Final = frozenset(
    {
        'AWS_ACCESS_KEY_ID',
        'AWS_CA_BUNDLE',
        'AWS_CONFIG_FILE',
        'AWS_CREDENTIAL_EXPIRATION',
        'AWS_DEFAULT_OUTPUT',
        'AWS_DEFAULT_PROFILE',
        'AWS_DEFAULT_REGION',
        'AWS_EXECUTION_ENV',
        'AWS_IGNORE_CONFIGURED_ENDPOINT_URLS',
        'AWS_MAX_ATTEMPTS',
        'AWS_PAGER',
        'AWS_PROFILE',
        'AWS_REGION',
        'AWS_REQUEST_CHECKSUM_CALCULATION',
        'AWS_RESPONSE_CHECKSUM_VALIDATION',
        'AWS_RETRY_MODE',
        'AWS_ROLE_ARN',
        'AWS_ROLE_SESSION_NAME',
        'AWS_SECRET_ACCESS_KEY',
        'AWS_SECURITY_TOKEN',
        'AWS_SESSION_TOKEN',
        'AWS_SHARED_CREDENTIALS_FILE',
        'AWS_STS_REGIONAL_ENDPOINTS',
        'AWS_WEB_IDENTITY_TOKEN_FILE',
    }
)
_HARMLESS_PREFIXES: Final = ('AWS_CONTAINER_', 'AWS_EC2_METADATA_', 'AWS_ENDPOINT_URL', 'AWS_LAMBDA_', 'AWS_METADATA_SERVICE_')
# The same for settings in AWS's configuration files.
_HARMLESS_SETTINGS: Final = frozenset(
    {
        'aws_access_key_id',
        'aws_secret_access_key',
        'aws_session_token',
        'credential_process',
        'credential_source',
        'duration_seconds',
        'endpoint_url',
        'external_id',
        'max_attempts',
        'mfa_serial',
        'output',
        'region',
        'retry_mode',
        'role_arn',
        'role_session_name',
        'source_profile',
        'sso_account_id',
        'sso_region',
        'sso_registration_scopes',
        'sso_role_name',
        'sso_session',
        'sso_start_url',
        'web_identity_token_file',
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Address, region and service of one bucket.

    Attributes:
        scheme: 'http' or 'https'.
        host: The host to connect to, and to expect in the certificate; an IPv6 address without brackets.
        port: The port to connect to.
        host_header: The header Host: the host (an IPv6 address in brackets), and the port if it is not the scheme's default.
        path: The path in front of the key, URI-encoded: '/' if the bucket is part of the host, else '/bucket/'; both after
            the endpoint's own path.
        region: The region to sign for.
        service: The service to sign for: 's3', 's3-object-lambda', 's3-outposts', 's3express'.
        auth: 'v4' for AWS's Signature Version 4; 'none' if requests are not signed, even if there are keys.
        proxy: The URL of the HTTP proxy to use (with CONNECT), user and password included; None for no proxy.
    """

    scheme: str
    host: str
    port: int
    host_header: str
    path: str
    region: str
    service: str = 's3'
    auth: Literal['v4', 'none'] = 'v4'
    proxy: str | None = field(default=None, repr=False)

    @property
    def bucket_path(self) -> str:
        """The path of requests for the bucket itself, URI-encoded: '/' or '/bucket'."""
        return self.path[:-1] or '/'


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomEndpoint:
    """A custom endpoint whose addresses need no botocore.

    Attributes:
        scheme: 'http' or 'https'.
        host: In lower case; an IPv6 address without brackets.
        port: The port; the scheme's default if the URL has none.
        path: Its path, ending in '/'.
        is_ip: Whether the host is an IP address.
    """

    scheme: str
    host: str
    port: int
    path: str
    is_ip: bool

    @classmethod
    def parse(cls, url: str) -> Self | None:
        """The endpoint of a URL that ClientSettings has checked; None if only botocore can resolve it."""
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname or ''
        is_ip = _is_ip(host)
        if not is_ip and not _is_plain_host(host):
            return None
        if not _PLAIN_PATH.fullmatch(parts.path):
            return None
        port = DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
        return cls(scheme=parts.scheme, host=host, port=port, path=parts.path.rstrip('/') + '/', is_ip=is_ip)

    def place(self, bucket: str, region: str, *, is_virtual: bool, is_signed: bool) -> Place | None:
        """The place of a bucket; None if only botocore can resolve it."""
        if not _BUCKET.fullmatch(bucket) or _SPECIAL_BUCKET.fullmatch(bucket) or not _is_plain_region(region):
            return None
        host, path = self.host, f'{self.path}{bucket}/'
        if is_virtual and self._can_lead(bucket):
            if self.is_ip and '.' in bucket:
                # botocore would join both to a host name that cannot exist.
                return None
            if not self.is_ip:
                host, path = f'{bucket}.{self.host}', self.path
        return Place(
            scheme=self.scheme,
            host=host,
            port=self.port,
            host_header=host_header(self.scheme, host, self.port),
            path=path,
            region=region,
            auth='v4' if is_signed else 'none',
        )

    def _can_lead(self, bucket: str) -> bool:
        """Whether a bucket's name can be part of the host name."""
        if len(bucket) < _MIN_LABEL_BUCKET or bucket != bucket.lower() or _IPV4.fullmatch(bucket):
            return False
        labels = bucket.split('.')
        return (len(labels) == 1 or self.scheme == 'http') and all(map(_LABEL.fullmatch, labels))


def host_header(scheme: str, host: str, port: int) -> str:
    """The header Host (RFC 9110, section 7.2), as botocore signs it: without the scheme's default port."""
    shown = f'[{host}]' if ':' in host else host
    return shown if DEFAULT_PORTS[scheme] == port else f'{shown}:{port}'


def is_region(name: str) -> bool:
    """Whether it is a valid region name. A store's response may name the region, and it becomes part of a host name."""
    return _REGION.fullmatch(name) is not None


def has_overrides() -> bool:
    """Whether the environment or AWS's configuration files may change how requests with given keys are made.

    Not counted: what default_verify() and proxies_for() return.
    """
    return (
        any(name.startswith('AWS_') and not _is_harmless(name) for name in os.environ)
        or not all(os.environ.get(name, 'unset').strip() for name in _AUTHORITIES)
        or _may_change(os.environ.get('AWS_CONFIG_FILE', '~/.aws/config'))
        or _may_change(os.environ.get('AWS_SHARED_CREDENTIALS_FILE', '~/.aws/credentials'))
        # botocore reads service descriptions from here that replace its own.
        or os.path.isdir(os.path.expanduser('~/.aws/models'))
    )


def default_verify() -> bool | str:
    """The path of the certificate authorities that the environment names; True if it names none."""
    return next((os.environ[name] for name in _AUTHORITIES if name in os.environ), True)


def proxies_for(url: str) -> Mapping[str, str]:
    """The environment's proxies for a URL, {scheme: proxy}; as botocore.utils.get_environ_proxies()."""
    if sys.platform == 'linux' and not any(name.lower().endswith('_proxy') for name in os.environ):
        return {}
    # This import loads an HTTP client, which most processes never need.
    from urllib.request import getproxies, proxy_bypass

    return {} if proxy_bypass(urllib.parse.urlsplit(url).netloc) else getproxies()


def _is_ip(host: str) -> bool:
    if ':' not in host:
        return _IPV4.fullmatch(host) is not None
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return '%' not in host


def _is_plain_host(host: str) -> bool:
    # AWS's hosts have other rules.
    return len(host) <= _MAX_HOST and 'amazonaws' not in host and all(map(_LABEL.fullmatch, host.split('.')))


def _is_plain_region(region: str) -> bool:
    # botocore replaces pseudo regions: 'aws-global', 'fips-us-gov-west-1'.
    return is_region(region) and region != 'aws-global' and 'fips' not in region


def _is_harmless(name: str) -> bool:
    return name in _HARMLESS_VARIABLES or name.startswith(_HARMLESS_PREFIXES)


def _may_change(path: str) -> bool:
    """Whether a configuration file has settings, in any profile, that are not known to be harmless."""
    path = os.path.expanduser(os.path.expandvars(path))
    if not os.path.isfile(path):
        return False
    try:
        with open(path, encoding='utf-8', errors='replace') as file:
            return not all(map(_is_harmless_line, file))
    except OSError:
        return True


def _is_harmless_line(line: str) -> bool:
    line = line.strip()
    return not line or line[0] in '#;[' or re.split('[=:]', line, maxsplit=1)[0].strip().lower() in _HARMLESS_SETTINGS
