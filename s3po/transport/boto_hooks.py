"""Handlers of a boto3 client's events: what BotoTransport changes in botocore's requests and in its reading of responses."""

from __future__ import annotations

import contextvars
import http.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from botocore import auth
from botocore.exceptions import BotoCoreError

from s3po.endpoints.resolver import SIGNER
from s3po.errors import NetworkError
from s3po.s3.status import web_page_hint
from s3po.s3.xml import MalformedAnswer, is_document, nothing_of
from s3po.s3.xml_characters import root_of, without_odd_characters
from s3po.s3.xml_trees import DOCUMENTS, ERRORS
from s3po.secrecy import redacted

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ['CREATING', 'add_hooks', 'answers_read', 'raw_headers']

# Requests that create an object, and so carry headers for which boto3 has no parameter.
CREATING: Final = ('PutObject', 'CreateMultipartUpload', 'CopyObject')
# Requests whose responses repeat the key, which is not used.
REPEATING: Final = ('CreateMultipartUpload', 'CompleteMultipartUpload', 'ListParts')
# Requests of whose responses only the headers are used.
BODILESS: Final = ('PutObject', 'UploadPart', 'DeleteObject', 'AbortMultipartUpload', 'CreateBucket', 'DeleteBucket')

# Extra headers of the request that this greenlet is sending: botocore has no parameter for them, but a hook before it signs.
raw_headers: contextvars.ContextVar[Mapping[str, str] | None] = contextvars.ContextVar('s3po_raw_headers', default=None)

# Whether the request that this greenlet is sending has got a response.
_is_answered: contextvars.ContextVar[bool] = contextvars.ContextVar('s3po_is_answered', default=False)


def add_hooks(client: S3Client) -> None:
    """Register the handlers, each with an id of its own: of two handlers with one id, only the first is registered."""
    # Any: the stubs have no events whose handlers return a value.
    events: Any = client.meta.events
    events.register('before-parse.s3', _note_answer, unique_id='s3po-note-answer')
    for operation in CREATING:
        events.register(f'before-call.s3.{operation}', _add_raw_headers, unique_id=f's3po-raw-headers-{operation}')
    for operation in REPEATING:
        # The star puts it before botocore's own handler for 's3.*', which parses the document too.
        name = f'before-parse.*.{operation}'
        events.register(name, _replace_odd_characters, unique_id=f's3po-odd-characters-{operation}')
    for operation in (*DOCUMENTS, *BODILESS):
        # After the handler above, and after botocore's own, which turns an error with status 200 into a failure.
        name = f'before-parse.s3.{operation}'
        events.register_last(name, _refuse_other_documents, unique_id=f's3po-other-documents-{operation}')
    events.register('choose-signer.s3', _choose_signer, unique_id='s3po-choose-signer')


@contextmanager
def answers_read(doing: str) -> Iterator[None]:
    """Raise the exceptions of botocore's parsers as NetworkError: the response is wrong, not the caller's arguments."""
    _is_answered.set(False)
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        if not _is_answered.get() or isinstance(error, BotoCoreError):
            # botocore validates some values of responses itself, such as the name of a region.
            raise
        raise NetworkError(f'{doing}: the response cannot be parsed: {redacted(str(error))}') from error


def _note_answer(**_: Any) -> None:
    """On botocore's `before-parse`: note that there is a response, so that later errors are the response's."""
    _is_answered.set(True)


def _add_raw_headers(params: dict[str, Any], **_: Any) -> None:
    """On botocore's `before-call`: add this greenlet's raw headers before the request is signed."""
    params['headers'].update(raw_headers.get() or {})


def _replace_odd_characters(response_dict: dict[str, Any], **_: Any) -> None:
    """On botocore's `before-parse`: replace characters that XML does not allow, in responses that repeat the key."""
    if isinstance(response_dict['body'], bytes):
        response_dict['body'] = without_odd_characters(response_dict['body'])


def _refuse_other_documents(operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
    """On botocore's `before-parse`: reject empty bodies and a proxy's pages, which botocore takes for empty documents."""
    operation, body, status = operation_model.name, response_dict['body'], response_dict['status_code']
    if status >= http.client.MULTIPLE_CHOICES:
        return
    found = root_of(body)
    if found in ERRORS:
        # botocore does the same, unless the root has a namespace.
        response_dict['status_code'] = http.client.INTERNAL_SERVER_ERROR
    elif operation in DOCUMENTS:
        expected = DOCUMENTS[operation][0]
        # Usually the root is right, and the document is parsed only once.
        if not body and operation == 'GetObjectTagging':
            # Of Ceph's gateway: no tags.
            return
        if found != expected and not is_document(operation, body):
            raise _refusal(f'{operation}: the response is {found[:60]!r}, not {expected!r}', response_dict)
        if found != expected and operation == 'CompleteMultipartUpload':
            # The ETag in a document with another root is no proof.
            response_dict['body'] = f'<{expected}/>'.encode()
    else:
        try:
            nothing_of(body)
        except MalformedAnswer as error:
            raise _refusal(f'{operation}: {status}, but {error}', response_dict) from error
        if body and operation == 'PutObject':
            # S3's response has no body: with a body, even an ETag is no proof.
            response_dict['headers'].pop('ETag', None)


def _refusal(message: str, response_dict: dict[str, Any]) -> NetworkError:
    hint = web_page_hint({str(name).lower(): str(value) for name, value in response_dict['headers'].items()})
    return NetworkError(message + (f'; {hint}' if hint else ''))


def _choose_signer(signature_version: Any, **_: Any) -> str | None:
    """On botocore's `choose-signer`: sign with hashlib instead of awscrt.

    awscrt reads the body through callbacks, and loses a Ctrl-C that arrives in one of them. It is slower, too (7.4 ms for 5
    MiB, hashlib 4.4 ms; 240 µs for 4 KiB, hashlib 210 µs).
    """
    if signature_version != 's3v4':
        return None
    # Only for signed headers; awscrt may presign, because that reads no body.
    auth.AUTH_TYPE_MAPS.setdefault(SIGNER, auth.S3SigV4Auth)
    return SIGNER
