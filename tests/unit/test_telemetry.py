"""Telemetry: the spans and metrics that a connection exports, read from the in-memory exporters of OpenTelemetry's SDK."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import gevent
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import s3po
from s3po.config import MIB
from s3po.errors import ConfigurationError, NotFound, Throttled
from s3po.observer import Activity, Progress
from s3po.telemetry import Telemetry, instrument
from tests.support.memory import MemoryTransport

PART = 5 * MIB
IN_PARTS = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
LARGE = b'x' * (11 * MIB)


class Exported:
    """What was exported."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meter_provider = MeterProvider([self._reader])

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._spans.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def points(self, name: str) -> list[Any]:
        data: Any = self._reader.get_metrics_data()
        metrics = [metric for each in data.resource_metrics for scope in each.scope_metrics for metric in scope.metrics]
        return [point for metric in metrics if metric.name == name for point in metric.data.data_points]

    def total(self, name: str, **attributes: str) -> int:
        wanted = {name.replace('_', '.'): value for name, value in attributes.items()}
        return sum(point.value for point in self.points(name) if wanted.items() <= dict(point.attributes).items())


@pytest.fixture
def exported() -> Exported:
    return Exported()


@pytest.fixture
def telemetry(exported: Exported) -> Telemetry:
    return Telemetry(tracer_provider=exported.tracer_provider, meter_provider=exported.meter_provider)


@pytest.fixture
def conn(memory: MemoryTransport, exported: Exported) -> s3po.Connection:
    connection = s3po.Connection(transport=memory, config=IN_PARTS, retries=2)
    instrument(connection, tracer_provider=exported.tracer_provider, meter_provider=exported.meter_provider)
    return connection


def test_one_request(conn: s3po.Connection, exported: Exported) -> None:
    conn.upload('bucket', 'key', b'12345')

    (span,) = exported.spans
    assert (span.name, span.kind, span.parent) == ('S3/PutObject', SpanKind.CLIENT, None)
    assert dict(span.attributes or {}) == {
        'aws.s3.bucket': 'bucket',
        'aws.s3.key': 'key',
        'rpc.system': 'aws-api',
        'rpc.service': 'S3',
        'rpc.method': 'PutObject',
    }
    assert span.status.status_code is StatusCode.UNSET
    assert exported.total('s3po.requests', rpc_method='PutObject') == 1
    assert exported.total('s3po.bytes', rpc_method='PutObject') == 5
    (duration,) = exported.points('s3po.request.duration')
    assert duration.count == 1
    assert duration.explicit_bounds[0] == 0.005
    assert [point.value for point in exported.points('s3po.width')] == [conn.width()]


def test_requests_of_a_job(conn: s3po.Connection, exported: Exported) -> None:
    """They are below the job's span, also those of parts, which other greenlets send."""
    with conn.batch(3) as batch:
        for key in ('a', 'b'):
            batch.upload('bucket', key, LARGE)

    jobs = {span.attributes['aws.s3.key']: span for span in exported.named('upload') if span.attributes}
    parts = exported.named('S3/UploadPart')
    assert set(jobs) == {'a', 'b'}
    assert len(parts) == 6
    for part in parts:
        assert part.attributes is not None
        job = jobs[part.attributes['aws.s3.key']]
        assert part.parent is not None
        assert part.parent.span_id == job.context.span_id  # type: ignore[union-attr]  # a span that has ended has one
    assert {part.attributes['aws.s3.part_number'] for part in parts if part.attributes} == {1, 2, 3}
    assert exported.total('s3po.bytes') == 2 * len(LARGE)
    assert exported.total('s3po.requests') == 2 * 5


def test_requests_belong_to_the_span_of_the_program(conn: s3po.Connection, exported: Exported) -> None:
    with exported.tracer_provider.get_tracer('mine').start_as_current_span('mine') as mine:
        conn.upload('bucket', 'key', b'12345')
        with conn.batch(2) as batch:
            batch.download('bucket', 'key')
    conn.upload('bucket', 'key', b'12345')

    first, last = exported.named('S3/PutObject')
    (job,) = exported.named('download')
    for span in (first, job):
        assert span.parent is not None
        assert span.parent.span_id == mine.get_span_context().span_id
    assert last.parent is None


def test_events_of_worker_processes(telemetry: Telemetry, exported: Exported) -> None:
    """They arrive in another greenlet, and belong to the job with the same object."""
    for key in ('a', 'b'):
        gevent.spawn(telemetry.began, Activity(operation='upload', bucket='bucket', key=key)).join()
    put = Activity(operation='PutObject', bucket='bucket', key='b')
    telemetry.began(put)
    telemetry.ended(put, None)
    for key in ('a', 'b'):
        telemetry.ended(Activity(operation='upload', bucket='bucket', key=key), None)

    request, _, job = exported.spans
    assert request.parent == job.context
    assert not telemetry._jobs


def test_last_turns(telemetry: Telemetry, exported: Exported) -> None:
    """A job that is repeated in another greenlet keeps its span, and the job that its first greenlet has now keeps its own."""
    first, second = (Activity(operation='upload', bucket='bucket', key=key) for key in ('a', 'b'))
    puts = [Activity(operation='PutObject', bucket='bucket', key=key) for key in ('a', 'b')]

    def work() -> None:
        telemetry.began(first)
        telemetry.began(second)
        turn.start()
        turn.join()
        telemetry.began(puts[1])
        telemetry.ended(puts[1], None)
        telemetry.ended(second, None)

    def last_turn() -> None:
        telemetry.began(puts[0])
        telemetry.ended(puts[0], None)
        telemetry.ended(first, None)

    turn = gevent.Greenlet(last_turn)
    gevent.spawn(work).join()

    jobs = exported.named('upload')
    requests = exported.named('S3/PutObject')
    assert [request.parent for request in requests] == [job.context for job in jobs]
    assert (telemetry._open, telemetry._jobs, telemetry._objects) == ({}, {}, {})


def test_errors(conn: s3po.Connection, exported: Exported) -> None:
    with pytest.raises(NotFound):
        conn.download('bucket', 'missing')

    (span,) = exported.spans
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})['error.type'] == 'NoSuchKey'
    assert exported.total('s3po.requests', error_type='NoSuchKey') == 1


def test_jobs_that_are_cancelled(conn: s3po.Connection, exported: Exported) -> None:
    """A job that never began has no span; the others have one, whoever ends them."""
    with conn.batch(1) as batch:
        batch.upload('bucket', 'key', b'1', callback=lambda _: gevent.sleep(60))
        batch.upload('bucket', 'key', b'2')
        gevent.sleep(0.01)
        batch._stopping.interrupt(KeyboardInterrupt())

    (span,) = exported.named('upload')
    assert span.status.status_code is StatusCode.ERROR


def test_retries_and_throttles(telemetry: Telemetry, exported: Exported) -> None:
    put = Activity(operation='PutObject', bucket='bucket', key='key')
    error = Throttled('slow down', status=503, code='SlowDown')
    telemetry.began(put)
    telemetry.throttled(put)
    telemetry.retried(put, error)
    telemetry.ended(put, None)

    (span,) = exported.spans
    assert [(event.name, dict(event.attributes or {})['error.type']) for event in span.events] == [('retry', 'SlowDown')]
    assert exported.total('s3po.retries', error_type='SlowDown') == 1
    assert exported.total('s3po.throttles') == 1
    assert not exported.points('s3po.width')


def test_bytes_that_are_sent_again_count_once(telemetry: Telemetry, exported: Exported) -> None:
    get = Activity(operation='GetObject', bucket='bucket', key='key')
    for size_bytes in (10, -10, 4, -2, 8):
        telemetry.moved(get, size_bytes)

    assert exported.total('s3po.bytes') == 10


def test_equal_requests_at_once(telemetry: Telemetry, exported: Exported) -> None:
    """Each ends its own span, in whatever order; what ended in another greenlet ends too."""
    get = Activity(operation='GetObject', bucket='bucket', key='key')
    gates = [gevent.event.Event(), gevent.event.Event()]

    def request(number: int) -> None:
        telemetry.began(get)
        gates[number].wait()
        telemetry.ended(get, NotFound('missing', status=404) if number else None)

    greenlets = [gevent.spawn(request, number) for number in (0, 1)]
    gevent.sleep(0)
    first, second = telemetry._open[get]
    gates[1].set()
    greenlets[1].join()

    assert telemetry._open[get] == [first]
    assert exported.spans[0].context == second.span.get_span_context()

    telemetry.ended(get, None)
    telemetry.ended(get, None)
    gates[0].set()
    greenlets[0].join()

    assert not telemetry._open
    assert len(exported.spans) == 2


def test_besides_another_observer(conn: s3po.Connection, memory: MemoryTransport, exported: Exported) -> None:
    numbers: list[int] = []
    other = s3po.Connection(transport=memory)
    other.observer = Progress(numbers.append)
    instrument(other, tracer_provider=exported.tracer_provider, meter_provider=exported.meter_provider)
    other.upload('bucket', 'key', b'12345')

    assert sum(numbers) == 5
    assert len(exported.spans) == 1


def test_global_providers(memory: MemoryTransport) -> None:
    """Without providers, nothing is exported and nothing fails."""
    connection = s3po.Connection(transport=memory)
    instrument(connection)
    connection.upload('bucket', 'key', b'12345')

    assert connection.download('bucket', 'key') == b'12345'


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, 's3po.telemetry')
    monkeypatch.setitem(sys.modules, 'opentelemetry', None)

    with pytest.raises(ConfigurationError, match=r"pip install 's3po\[telemetry\]'"):
        importlib.import_module('s3po.telemetry')
