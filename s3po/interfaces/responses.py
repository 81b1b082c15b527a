"""Results of S3Client: responses and pages, which may be awaited."""

from __future__ import annotations

import json
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Self

import gevent

from s3po.connection import Headers, LoopPieces, Work, running_loop, wait_until
from s3po.errors import Cancelled, ResponseError, S3poError, TransferError
from s3po.model import ListEntry, Prefix, TransferResult

__all__ = ['Listed', 'Page', 'Pages', 'PendingResponse', 'Response', 'answered', 'result_response']

# The attributes of a response.
ATTRIBUTES: Final = ('status_code', 'headers', 'content', 'error')


class Response(Coroutine[Any, Any, 'Response']):
    """A response. It equals its status code, and can be awaited, or passed to asyncio.create_task().

    Attributes:
        status_code: The HTTP status.
        headers: The response headers; names in any case.
        content: The body; of a refused request, the text of its error.
        error: The error of a refused request; None after success.
    """

    # The steps of an await through send().
    _steps: Generator[Any, None, Response] | None = None

    def __init__(
        self,
        status_code: int,
        headers: Mapping[str, str] | None = None,
        content: bytes = b'',
        error: S3poError | None = None,
    ) -> None:
        self.status_code = int(status_code)
        self.headers = Headers(headers or {})
        self.content = content
        self.error = error

    def __repr__(self) -> str:
        return f'<Response {self.status_code}, {len(self.content):,} bytes>' if not self.error else f'<Response {self.error}>'

    def __eq__(self, other: object) -> bool:
        return self.status_code == other if isinstance(other, int) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.status_code)

    def __reduce__(self) -> Any:
        return Response, (self.status_code, self.headers, self.content, self.error)

    def __await__(self) -> Generator[Any, None, Response]:
        return self
        yield  # makes this method a generator, which ends at once

    def send(self, value: Any) -> Any:
        """Continue an await, as asyncio does."""
        return self._step('send', value)

    def throw(self, *error: Any) -> Any:
        """Raise an exception into an await, as asyncio does."""
        if self._steps is None:
            # An await that has not begun cannot cancel the request.
            self.close()
        return self._step('throw', *error)

    def close(self) -> None:
        """Cancel the request, if it has not ended."""

    def _step(self, method: str, *arguments: Any) -> Any:
        steps = self._steps = self._steps or self.__await__()
        try:
            return getattr(steps, method)(*arguments)
        except BaseException:
            self._steps = None
            raise

    @property
    def text(self) -> str:
        """The body, decoded as UTF-8; invalid bytes are replaced."""
        return self.content.decode('utf-8', 'replace')

    @property
    def etag(self) -> str:
        """The object's ETag without quotes; '' if there is none."""
        return self.headers['etag'].strip('"') if 'etag' in self.headers else ''

    def json(self) -> Any:
        """Return the body, parsed as JSON."""
        return json.loads(self.content)

    def raise_for_status(self) -> Self:
        """Raise the error of a refused request.

        Returns:
            This response, if the request was not refused.

        Raises:
            S3poError: The request was refused.
        """
        if self.error is not None:
            raise self.error
        return self


class PendingResponse(Response):
    """The response to a call that another thread carries out, beside a running event loop.

    `await` waits without blocking the loop, and returns the Response. Reading an attribute waits too, and blocks. Cancelling
    the task that awaits it, and close(), cancel the request, and so does the end of the
    program. Otherwise, a response that is never awaited is carried out all the same.
    """

    def __init__(self, work: Work[Response], source: object) -> None:
        """
        Args:
            work: The call.
            source: What it uploads.
        """
        self._work = work
        self._pieces = source if isinstance(source, LoopPieces) else None

    def __repr__(self) -> str:
        return f'<PendingResponse {"ended" if self._work.ready() else "pending"}>'

    def __hash__(self) -> int:
        # asyncio keeps what it awaits in sets and dicts.
        return id(self)

    def __getattr__(self, name: str) -> Any:
        # Called only for attributes that are missing.
        if name not in ATTRIBUTES:
            raise AttributeError(f'{type(self).__name__!r} object has no attribute {name!r}')
        while self._pieces is not None and not self._work.ready():
            self._pieces.check_served()
            wait_until(self._work.ready, 0.2)
        return getattr(self._work.get(), name)

    def __await__(self) -> Generator[Any, None, Response]:
        return self._work.__await__()

    def close(self) -> None:
        """Cancel the request, if it has not ended."""
        self._work.cancel()
        if self._steps is not None:
            self._steps.close()


class Listed(NamedTuple):
    """One object of a listing.

    Attributes:
        key: The key.
        etag: The ETag without quotes.
        size: The size in bytes.
        last_modified: The time of its last write, with its time zone.
        storage_class: For example 'STANDARD'.
    """

    key: str
    etag: str
    size: int
    last_modified: Any
    storage_class: str


class Page(list[Listed]):
    """The objects of one page.

    Attributes:
        prefixes: The common prefixes of the keys that contain the delimiter.
    """

    def __init__(self) -> None:
        super().__init__()
        self.prefixes: list[str] = []


class Pages:
    """The pages of a listing, to iterate once, with `for` or `async for`."""

    def __init__(
        self,
        found: Callable[[], Iterator[ListEntry | Prefix]],
        page_size: int,
        submit: Callable[[Callable[[], Any]], Work[Any]],
    ) -> None:
        """
        Args:
            found: Returns the listing. Called in the thread that requests the pages.
            page_size: The number of keys per page.
            submit: Runs a function in another thread, beside a running event loop.
        """
        self._page_size = page_size
        self._submit = submit
        # In another thread, the listing begins with the first page.
        self._find, self._found = found, None if running_loop() else found()
        self._hub: weakref.ref[gevent.hub.Hub] | None = None
        self._failure: Exception | None = None

    def __iter__(self) -> Iterator[Page]:
        return self

    def __next__(self) -> Page:
        page: Page | None = self._page() if running_loop() is None else self._submit(self._page).get()
        if page is None:
            raise StopIteration
        return page

    def __aiter__(self) -> AsyncIterator[Page]:
        return self

    async def __anext__(self) -> Page:
        page: Page | None = await self._submit(self._page)
        if page is None:
            raise StopAsyncIteration
        return page

    def _page(self) -> Page | None:
        """The next page; None at the end."""
        if self._found is None:
            self._found, self._hub = self._find(), weakref.ref(gevent.get_hub())
        if self._hub is not None and self._hub() is not gevent.get_hub():
            raise Cancelled('the client was closed during the listing; list again')
        if self._failure is not None:
            # The listing itself would end here, without its other keys.
            raise self._failure
        self._failure = Cancelled('another request for a page was cancelled or has not ended; list again')
        try:
            page = self._next_page(self._found)
        except Exception as error:
            self._failure = error
            raise
        self._failure = None
        return page if page or page.prefixes else None

    def _next_page(self, found: Iterator[ListEntry | Prefix]) -> Page:
        page = Page()
        for entry in found:
            if isinstance(entry, Prefix):
                page.prefixes.append(entry.prefix)
            else:
                page.append(Listed(entry.key, entry.etag, entry.size_bytes, entry.last_modified, entry.storage_class))
            if len(page) + len(page.prefixes) == self._page_size:
                break
        return page


def answered(call: Callable[[], Response]) -> Response:
    """Make a call, and convert the error of a refusal to its response."""
    try:
        return call()
    except (ResponseError, TransferError) as error:
        # After all retries, the last refusal is the cause.
        refusal = error if isinstance(error, ResponseError) else error.__cause__
        # (A status below 300 comes with an error in the body: it must not look like success.)
        if not isinstance(refusal, ResponseError) or refusal.status < HTTPStatus.MULTIPLE_CHOICES:
            raise
        # Without their tracebacks, which would keep all that the call used as long as the response.
        error.with_traceback(None)
        refusal.with_traceback(None)
        headers = {'x-amz-request-id': refusal.request_id} if refusal.request_id else {}
        return Response(refusal.status, headers, str(error).encode(), error)


def result_response(result: object) -> Response:
    """The response for a successful transfer."""
    assert isinstance(result, TransferResult)
    headers = {'etag': f'"{result.etag}"'}
    if result.version_id is not None:
        headers['x-amz-version-id'] = result.version_id
    if result.checksum is not None:
        algorithm, _, value = result.checksum.partition(':')
        headers[f'x-amz-checksum-{algorithm.lower()}'] = value
    return Response(HTTPStatus.OK, headers)
