"""A Connection for worker processes: its arguments without the source of the keys, and the keys.

The keys are looked up and renewed in this process only. They are sent over a socket of the two processes, never in a command
line or an environment.
"""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable, Mapping
from typing import Any, Final

from s3po.config import TransferConfig
from s3po.endpoints.settings import ClientSettings
from s3po.endpoints.signing_keys import KeySource
from s3po.errors import ConfigurationError, CredentialsError

__all__ = ['ConnectionForm', 'KeyFields', 'NewKeyFields']

# Id, secret and token.
KeyFields = tuple[str, str, str | None]
# The same, and the expiry in ISO 8601; None for keys that do not expire.
NewKeyFields = tuple[str, str, str | None, str | None]

# Arguments that select the source of the keys.
SOURCES: Final = frozenset({'access_key_id', 'secret_access_key', 'session_token', 'credentials', 'profile'})
# The variables that name a profile, in boto3's order. A worker process gets them instead of the argument, which excludes keys.
PROFILE_NAMES: Final = ('AWS_DEFAULT_PROFILE', 'AWS_PROFILE')


class ConnectionForm:
    """The connection for worker processes: a WorkerForm of s3po.batch.processes.

    Attributes:
        max_requests: See WorkerForm.
    """

    def __init__(
        self, kind: type, arguments: Mapping[str, Any], settings: ClientSettings, key_source: Callable[[], KeySource]
    ) -> None:
        """
        Args:
            kind: The class of the connection.
            arguments: The arguments that it was made with, those that are None left out.
            settings: Its settings.
            key_source: Returns the source of its keys. May block.

        Raises:
            ConfigurationError: An argument belongs to this process.
        """
        self._kind = kind
        self._settings = settings
        self._key_source = key_source
        self._config: TransferConfig = arguments.get('config') or TransferConfig()
        self.max_requests = self._config.max_requests
        self._profile: str | None = arguments.get('profile')
        self._arguments = {name: value for name, value in arguments.items() if name not in SOURCES}
        if settings.region is not None:
            self._arguments['region'] = settings.region
        self._check()

    def packed(self, max_memory: int | None) -> dict[str, Any]:
        """See WorkerForm."""
        arguments = dict(self._arguments)
        config = self._config
        arguments['config'] = config if max_memory is None else dataclasses.replace(config, max_memory=max_memory)
        keys = self.fixed_keys()
        return {
            'kind': self._kind,
            'arguments': arguments,
            'environment': {} if self._profile is None else dict.fromkeys(PROFILE_NAMES, self._profile),
            'keys': keys,
            'asks_for_keys': keys is None and not self._settings.anonymous and self._key_source().can_refresh,
        }

    def fixed_keys(self) -> NewKeyFields | None:
        """See WorkerForm."""
        if self._settings.anonymous:
            return None
        source = self._key_source()
        keys = None if source.can_refresh else source.current
        return None if keys is None else (keys.access_key_id, keys.secret_access_key, keys.session_token, None)

    def keys(self, known: KeyFields | None) -> NewKeyFields:
        """See WorkerForm."""
        source = self._key_source()
        keys = source.current
        if keys is not None and known == (keys.access_key_id, keys.secret_access_key, keys.session_token):
            # The worker has these already: they are about to expire, or the store has refused them.
            source.expire(keys)
            keys = source.current
        if keys is None:
            raise CredentialsError('there are no keys')
        expires_at = source.expires_at
        return (
            keys.access_key_id,
            keys.secret_access_key,
            keys.session_token,
            None if expires_at is None else expires_at.isoformat(),
        )

    def _check(self) -> None:
        bound: list[str] = [name for name in ('session', 'client') if name in self._arguments]
        if not isinstance(self._arguments.get('transport'), str):
            bound.append('transport')
        if bound:
            raise ConfigurationError(
                f'{bound[0]} belongs to this process, so the batch cannot use processes=; give keys or a profile to the '
                'Connection, or use processes=1'
            )
        if self._kind.__module__ == '__main__':
            raise ConfigurationError(
                f'the class {self._kind.__name__} is of the main program, which worker processes do not import; move it to a '
                'module, or use processes=1'
            )
        for name, value in self._arguments.items():
            try:
                pickle.dumps(value)
            except Exception as error:
                raise ConfigurationError(
                    f'{name} cannot be sent to worker processes ({type(error).__name__}: {error}); use processes=1'
                ) from error
