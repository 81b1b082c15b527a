"""Requests to metadata services: EC2's, by version 2 of its protocol only, and those of containers.

botocore's fetchers send the requests. They use a session without a proxy, which would see the role's keys, that records the
result of each request, because botocore reports little of it. This needs one private attribute of botocore;
tests/functional/test_credentials_metadata.py fails if it changes. No message shows the body of a response: it may contain keys.
"""

from __future__ import annotations

import json
import logging
import os
import re
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, Final

import gevent
from gevent import monkey

from s3po.credentials.keys import Keys, keys_of
from s3po.errors import CredentialsError
from s3po.secrecy import guard_logs, redacted

__all__ = ['LIMIT_S', 'ask_service']

log = logging.getLogger(__name__)

# The time limit of all requests together: connecting, the token, the role and the keys.
LIMIT_S: Final = 2

# https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
RELATIVE_URI: Final = 'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI'
FULL_URI: Final = 'AWS_CONTAINER_CREDENTIALS_FULL_URI'
AUTH_TOKEN: Final = 'AWS_CONTAINER_AUTHORIZATION_TOKEN'  # noqa: S105  (a name)
AUTH_TOKEN_FILE: Final = 'AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE'  # noqa: S105  (a name)

FIELDS: Final = ('AccessKeyId', 'SecretAccessKey', 'Token', 'Expiration')
ADVICE: Final = 'give this machine or container a role, or give other credentials'

# Valid tokens (sent in a header) and role names (part of a path): https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
TOKEN: Final = re.compile(rb'[!-~]{1,4096}')
ROLE_NAME: Final = re.compile(rb'[\w+=,.@-]{1,128}')

# `where`, before the first request.
UNASKED: Final = 'nothing was sent'

_Fetch = Callable[['_Watched'], Mapping[str, Any]]


def ask_service() -> Keys:
    """Get keys from the container's service if the environment names one, else from EC2's. Blocks for at most LIMIT_S.

    Raises:
        CredentialsError: There was no response, or none with valid keys. The message has the reason and the address.
    """
    guard_logs()
    is_container = RELATIVE_URI in os.environ or FULL_URI in os.environ
    service = "the container's metadata service" if is_container else "EC2's metadata service"
    session = _Watched(is_container=is_container)
    found = _within_limit(_container_keys if is_container else _instance_keys, session)
    if found is None:
        raise CredentialsError(f'{service} returned no keys within {LIMIT_S:g} s ({session.where}); {ADVICE}')
    if session.failure or not found:
        raise CredentialsError(f'{service} returned no keys: {session.failure or "it has none"} ({session.where}); {ADVICE}')
    keys = keys_of(found, f'{service} ({session.where})')
    if keys.expires_at is None or keys.seconds_left() <= 0:
        raise CredentialsError(f'{service} returned keys that have expired ({session.where})')
    return keys


class _Useless(Exception):
    """A response that botocore must not get: it would log it."""


class _Watched:
    """The session of botocore's fetchers. It returns only valid responses to them.

    Attributes:
        failure: The fault of the last response or request; '' for nothing.
        where: The last request, for messages.
    """

    def __init__(self, *, is_container: bool) -> None:
        """
        Args:
            is_container: Whether it is a container's service, whose paths are secret.
        """
        from botocore.httpsession import URLLib3Session

        self._session: Any = URLLib3Session(timeout=LIMIT_S, proxies={})
        self._is_container = is_container
        self.failure = ''
        self.where = UNASKED

    def send(self, request: Any) -> Any:
        """Send a request, as botocore's sessions do."""
        parts = urllib.parse.urlsplit(request.url)
        path, mark, role = parts.path.partition('/security-credentials/')
        self.where = f'{request.method} {redacted(f"{parts.scheme}://{parts.netloc}")}'
        if not self._is_container:
            # Without the role.
            self.where += path + mark
        self.failure = ''
        try:
            response = self._session.send(request)
            # The read may fail.
            content: bytes = response.content
        except Exception as error:
            self.failure = _failure_of(error)
            raise
        if response.status_code != 200:
            self.failure = f'the response has status {response.status_code}'
        elif self._is_container or role:
            self.failure = _wrong_with_keys(content)
        else:
            name, pattern = ('role', ROLE_NAME) if mark else ('token', TOKEN)
            self.failure = '' if pattern.fullmatch(content) else f'the response is not a {name}'
        if self.failure:
            raise _Useless
        return response

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def _failure_of(error: Exception) -> str:
    """Why there was no response. The error's own text is not shown: it may quote a token."""
    from botocore import exceptions

    if isinstance(error, exceptions.ConnectTimeoutError | exceptions.ReadTimeoutError):
        return f'no response within {LIMIT_S:g} s'
    if isinstance(error, exceptions.EndpointConnectionError):
        return 'it cannot be reached'
    if isinstance(error, exceptions.ConnectionClosedError):
        return 'it closed the connection without a response'
    return f'the request failed ({type(error).__name__})'


def _wrong_with_keys(content: bytes) -> str:
    """The fault of a response that must contain keys; '' if it is valid."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return 'the response is not JSON'
    if not isinstance(found, Mapping):
        return 'the response is not a JSON object'
    if found.get('Code', 'Success') != 'Success':
        return f'it returned the code {redacted(str(found["Code"])[:100])!r}'
    missing = [name for name in FIELDS if not isinstance(found.get(name), str) or not found[name]]
    return f'the response has no {", ".join(missing)}' if missing else ''


def _within_limit(fetch: _Fetch, session: _Watched) -> Mapping[str, Any] | None:
    """Fetch within the limit, even if the bytes arrive one by one; None if it took longer."""
    if not monkey.is_module_patched('socket'):
        # Sockets are not cooperative here, so a native thread waits. It ends by its own timeouts.
        result = gevent.get_hub().threadpool.spawn(_captured, fetch, session)
        result.wait(LIMIT_S)
        found: Mapping[str, Any] | None = result.get() if result.ready() else None
        return found
    work = gevent.spawn(_captured, fetch, session)
    try:
        work.join(LIMIT_S)
        return work.value if work.ready() else None
    finally:
        work.kill(block=False)


def _captured(fetch: _Fetch, session: _Watched) -> Mapping[str, Any]:
    """Fetch, and note errors in the session: gevent prints the errors of greenlets and threads, and these may quote keys."""
    try:
        return fetch(session) or {}
    except CredentialsError as error:
        session.failure = session.failure or str(error)
    except Exception as error:  # noqa: BLE001  (invalid responses make botocore fail with any error)
        log.debug('the request to the metadata service failed with %s', type(error).__name__)
        session.failure = session.failure or f'the response is invalid ({type(error).__name__})'
    finally:
        session.close()
    return {}


def _instance_keys(session: _Watched) -> Any:
    from botocore.exceptions import InvalidIMDSEndpointError
    from botocore.utils import InstanceMetadataFetcher

    if os.environ.get('AWS_EC2_METADATA_DISABLED', '').lower() == 'true':
        raise CredentialsError('AWS_EC2_METADATA_DISABLED is set to true')
    config = {
        'ec2_metadata_service_endpoint': os.environ.get('AWS_EC2_METADATA_SERVICE_ENDPOINT'),
        'ec2_metadata_service_endpoint_mode': os.environ.get('AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE', '').lower(),
        # Version 2 is safe against forged requests.
        'ec2_metadata_v1_disabled': True,
    }
    try:
        fetcher: Any = InstanceMetadataFetcher(timeout=LIMIT_S, num_attempts=1, config=config)
    except (InvalidIMDSEndpointError, ValueError):
        raise CredentialsError('AWS_EC2_METADATA_SERVICE_ENDPOINT is not a URL') from None
    fetcher._session = session  # noqa: SLF001  (see above)
    return fetcher.retrieve_iam_role_credentials()


def _container_keys(session: _Watched) -> Any:
    from botocore.utils import ContainerMetadataFetcher

    fetcher: Any = ContainerMetadataFetcher(session=session, sleep=lambda _: None)
    # The next use of the keys tries again.
    fetcher.RETRY_ATTEMPTS = 1
    relative = os.environ.get(RELATIVE_URI)
    url = os.environ[FULL_URI] if relative is None else fetcher.full_url(relative)
    headers = _authorization()
    try:
        return fetcher.retrieve_full_uri(url, headers=headers)
    except ValueError:
        if session.where != UNASKED:
            raise
    # Without the cause, which quotes the URL.
    raise CredentialsError(f'{FULL_URI} must be an https URL, or one of this machine or of the hosts that AWS uses for this')


def _authorization() -> dict[str, str]:
    """The Authorization header of a container. Its file is read each time, since its content changes."""
    path = os.environ.get(AUTH_TOKEN_FILE)
    try:
        if path is not None:
            with open(path, encoding='utf-8') as file:
                token = file.read()
        else:
            token = os.environ.get(AUTH_TOKEN, '')
    except (OSError, ValueError) as error:
        raise CredentialsError(f'{AUTH_TOKEN_FILE}: {path} cannot be read ({type(error).__name__})') from error
    if not token.isprintable():
        raise CredentialsError(f'{AUTH_TOKEN if path is None else path} contains a line end, which is not allowed in a header')
    return {'Authorization': token} if token else {}
