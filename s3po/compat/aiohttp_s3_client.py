"""aiohttp-s3-client's names: `from s3po.compat.aiohttp_s3_client import S3Client` in place of `aiohttp_s3_client`."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Generator
from http import HTTPStatus
from typing import Any, Self

from s3po.compat import handtruck
from s3po.compat.handtruck import AwsObjectMeta
from s3po.errors import ResponseError, S3poError, SourceChanged, TransferError
from s3po.interfaces.responses import Pages, Response

__all__ = ['AwsDownloadError', 'AwsError', 'AwsObjectMeta', 'AwsUploadError', 'ClientResponse', 'S3Client']


class AwsError(S3poError):
    """A call that sends several requests has failed; `__cause__` is s3po's error.

    Attributes:
        message: The text.
        status: The HTTP status of the refusal; 0 without one.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class AwsUploadError(AwsError):
    """An upload or a copy failed."""


class AwsDownloadError(AwsError):
    """A download failed."""


class ClientResponse(Response):
    """A response with aiohttp's names. It may be awaited, or used with `async with`."""

    def __init__(self, response: Response) -> None:
        """
        Args:
            response: s3po's response.
        """
        self._response = response

    def __repr__(self) -> str:
        return repr(self._response)

    def __hash__(self) -> int:
        return id(self)

    def __getattr__(self, name: str) -> Any:
        if name.startswith('_'):
            raise AttributeError(name)
        return getattr(self._response, name)

    def __await__(self) -> Generator[Any, None, ClientResponse]:
        yield from self._response.__await__()
        return self

    async def __aenter__(self) -> Self:
        await self
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel the request, if it has not ended."""
        self._response.close()

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._response.status_code

    async def read(self) -> bytes:
        """Return the body."""
        return (await self._response).content

    async def text(self, encoding: str = 'utf-8') -> str:  # type: ignore[override]  # aiohttp's name of a method
        """Return the decoded body."""
        return (await self.read()).decode(encoding)

    async def json(self) -> Any:
        """Return the body, parsed as JSON."""
        return json.loads(await self.read())


class _Pairs(Pages):
    """Pages as pairs of entries and prefixes."""

    def _page(self) -> Any:
        page = super()._page()
        return None if page is None else (list(page), page.prefixes)


class S3Client(handtruck.S3Client):
    """handtruck's S3Client with the responses and errors of aiohttp-s3-client; the first argument, a session, is ignored."""

    _pins = True
    _pages = _Pairs

    def __init__(
        self,
        session: object = None,
        url: object = '',
        secret_access_key: str | None = None,
        access_key_id: str | None = None,
        session_token: str | None = None,
        region: str = '',
        credentials: Any = None,
    ) -> None:
        """The arguments are those of s3po's S3Client; of the session, only `auto_decompress=False` is used."""
        super().__init__(session, url, secret_access_key, access_key_id, session_token, region, credentials)
        if getattr(session, 'auto_decompress', True) is False:
            self._decompress = False

    def _started(self, call: Callable[[], Response], source: object = None, doing: str | None = None) -> Response:
        if doing is not None:
            call = functools.partial(_translated, call, doing)
        return ClientResponse(super()._started(call, source, doing))


def _translated(call: Callable[[], Response], doing: str) -> Response:
    try:
        return call()
    except (ResponseError, TransferError, SourceChanged) as error:
        refusal = error if isinstance(error, ResponseError) else error.__cause__
        changed = HTTPStatus.PRECONDITION_FAILED if isinstance(error, SourceChanged) else 0
        status = refusal.status if isinstance(refusal, ResponseError) else changed
        operation, _, name = doing.partition(' ')
        kind, doing = (AwsDownloadError, 'range download') if operation == 'download_file' else (AwsUploadError, operation)
        raise kind(f'Got wrong status code {status:d} on {doing} of {name}: {error}', status) from error
