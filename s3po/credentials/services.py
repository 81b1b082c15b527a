"""How the metadata services are asked: EC2's by version 2 of its protocol alone, and those that give keys to containers.

What may live here: one question, with its limit, and what is told of an answer that is of no use. botocore's fetchers ask; they
are given a session that goes through no proxy, which would get the role's keys, and that notes what became of the request,
since botocore says little of that. The one private attribute that this needs is set here; tests/functional/
test_credentials_metadata.py notices when it moves. No body of an answer is ever told: it may hold keys.
"""

from __future__ import annotations

import json
import logging
import os
import re
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import gevent
from gevent import monkey

from s3po.credentials.keys import Keys, keys_of
from s3po.errors import CredentialsError
from s3po.secrecy import guard_logs, redacted

__all__ = ['LIMIT_S', 'ask_service']

log = logging.getLogger(__name__)

# How long all of it may take: connecting, the token, the role and the keys.
LIMIT_S: Final = 2

# https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
RELATIVE_URI: Final = 'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI'
FULL_URI: Final = 'AWS_CONTAINER_CREDENTIALS_FULL_URI'
AUTH_TOKEN: Final = 'AWS_CONTAINER_AUTHORIZATION_TOKEN'  # noqa: S105  (a name)
AUTH_TOKEN_FILE: Final = 'AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE'  # noqa: S105  (a name)

FIELDS: Final = ('AccessKeyId', 'SecretAccessKey', 'Token', 'Expiration')
ADVICE: Final = 'give this machine or container a role, or give other credentials'

# What has to stand in a header, and in a path: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
TOKEN: Final = re.compile(rb'[!-~]{1,4096}')
ROLE_NAME: Final = re.compile(rb'[\w+=,.@-]{1,128}')

# Where, before anything was asked.
UNASKED: Final = 'nothing was sent'

_Fetch = Callable[['_Watched'], object]


class _Answer(NamedTuple):
    """What came of a question.

    Attributes:
        keys: What the fetcher made of it; None where it failed.
        failure: Its error; '' where it raised none.
    """

    keys: object
    failure: str


def ask_service() -> Keys:
    """Ask the container's service where the environment names one, else EC2's. Blocks for LIMIT_S at most.

    Raises:
        CredentialsError: It does not answer, or with anything but keys that hold. The message says what, and where.
    """
    guard_logs()
    is_container = RELATIVE_URI in os.environ or FULL_URI in os.environ
    service = "the container's metadata service" if is_container else "EC2's metadata service"
    session = _Watched(is_container=is_container)
    answer = _within_limit(_container_keys if is_container else _instance_keys, session)
    if answer is None:
        raise CredentialsError(f'{service} gave no keys within {LIMIT_S:g} s ({session.where}); {ADVICE}')
    wrong = session.failure or answer.failure
    if wrong or not answer.keys:
        raise CredentialsError(f'{service} gave no keys: {wrong or "it has none"} ({session.where}); {ADVICE}')
    keys = keys_of(answer.keys, f'{service} ({session.where})')
    if keys.expires_at is None or keys.seconds_left() <= 0:
        raise CredentialsError(f'{service} gave keys that have expired ({session.where})')
    return keys


class _Useless(Exception):
    """An answer that botocore is better not shown: it would log it."""


class _Watched:
    """What botocore's fetchers send through. They see only answers that are what they should be.

    Attributes:
        failure: What was wrong with the last answer; '' if nothing was.
        where: What was asked last, for messages.
    """

    def __init__(self, *, is_container: bool) -> None:
        """
        Args:
            is_container: Whether it is a container's service, whose paths are as good as a password.
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
            # Without the role, which the service has named.
            self.where += path + mark
        self.failure = ''
        try:
            response = self._session.send(request)
            # Reading it is what may fail.
            content: bytes = response.content
        except Exception as error:
            self.failure = _failure_of(error)
            raise
        if response.status_code != 200:
            self.failure = f'it answered with status {response.status_code}'
        elif self._is_container or role:
            self.failure = _wrong_with_keys(content)
        else:
            name, pattern = ('role', ROLE_NAME) if mark else ('token', TOKEN)
            self.failure = '' if pattern.fullmatch(content) else f'its answer is no {name}'
        if self.failure:
            raise _Useless
        return response

    def close(self) -> None:
        """Close its connections."""
        self._session.close()


def _failure_of(error: Exception) -> str:
    """What became of a request that was not answered. The error's own text is not told: it may quote a token."""
    from botocore import exceptions

    if isinstance(error, exceptions.ConnectTimeoutError | exceptions.ReadTimeoutError):
        return f'no answer within {LIMIT_S:g} s'
    if isinstance(error, exceptions.EndpointConnectionError):
        return 'nobody answers there'
    if isinstance(error, exceptions.ConnectionClosedError):
        return 'it closed the connection without an answer'
    return f'it could not be asked ({type(error).__name__})'


def _wrong_with_keys(content: bytes) -> str:
    """What is wrong with the answer that should hold the keys; '' if nothing is."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return 'its answer is no JSON'
    if not isinstance(found, Mapping):
        return 'its answer is no JSON object'
    if found.get('Code', 'Success') != 'Success':
        return f'it says {redacted(str(found["Code"])[:100])!r}'
    missing = [name for name in FIELDS if not isinstance(found.get(name), str) or not found[name]]
    return f'its answer has no {", ".join(missing)}' if missing else ''


def _within_limit(fetch: _Fetch, session: _Watched) -> _Answer | None:
    """Do it, but not for longer than the limit, however slowly single bytes may come; None if it took longer."""
    if not monkey.is_module_patched('socket'):
        # Nothing gives way here, so a native thread waits. It ends by its own time limits.
        result = gevent.get_hub().threadpool.spawn(_captured, fetch, session)
        result.wait(LIMIT_S)
        found: _Answer | None = result.get() if result.ready() else None
        return found
    work = gevent.spawn(_captured, fetch, session)
    try:
        work.join(LIMIT_S)
        return work.value if work.ready() else None
    finally:
        work.kill(block=False)


def _captured(fetch: _Fetch, session: _Watched) -> _Answer:
    """Fetch, and tell what came of it. gevent prints the errors of greenlets and threads, and theirs may quote keys."""
    try:
        return _Answer(fetch(session), '')
    except CredentialsError as error:
        return _Answer(None, str(error))
    except Exception as error:  # noqa: BLE001  (an answer that is nonsense makes botocore fail in any way)
        log.debug('asking the metadata service ended with %s', type(error).__name__)
        return _Answer(None, f'its answer is of no use ({type(error).__name__})')
    finally:
        session.close()


def _instance_keys(session: _Watched) -> object:
    from botocore.exceptions import InvalidIMDSEndpointError
    from botocore.utils import InstanceMetadataFetcher

    if os.environ.get('AWS_EC2_METADATA_DISABLED', '').lower() == 'true':
        raise CredentialsError('AWS_EC2_METADATA_DISABLED says that it is not to be asked')
    config = {
        'ec2_metadata_service_endpoint': os.environ.get('AWS_EC2_METADATA_SERVICE_ENDPOINT'),
        'ec2_metadata_service_endpoint_mode': os.environ.get('AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE', '').lower(),
        # A request that somebody was made to send gives nothing away by version 2.
        'ec2_metadata_v1_disabled': True,
    }
    try:
        fetcher: Any = InstanceMetadataFetcher(timeout=LIMIT_S, num_attempts=1, config=config)
    except (InvalidIMDSEndpointError, ValueError):
        raise CredentialsError('AWS_EC2_METADATA_SERVICE_ENDPOINT is no URL') from None
    fetcher._session = session  # noqa: SLF001  (see above)
    return fetcher.retrieve_iam_role_credentials()


def _container_keys(session: _Watched) -> object:
    from botocore.utils import ContainerMetadataFetcher

    fetcher: Any = ContainerMetadataFetcher(session=session, sleep=lambda _: None)
    # Whoever needs the keys asks again.
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
    raise CredentialsError(f'{FULL_URI} must be a URL of https, of this machine itself, or of the hosts that AWS has for this')


def _authorization() -> dict[str, str]:
    """The header that a container shows; its file is read each time, since what stands there changes."""
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
        raise CredentialsError(f'{AUTH_TOKEN if path is None else path} holds a line end, which no header may have')
    return {'Authorization': token} if token else {}
