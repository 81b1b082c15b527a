"""Exports OpenTelemetry spans and metrics of a connection. The extra s3po[telemetry] installs opentelemetry-api.

    s3po.telemetry.instrument(conn)

Without providers, OpenTelemetry's global ones are used, as the program or `opentelemetry-instrument` has set them. A connection
without it is not affected: nothing of OpenTelemetry is imported or called.

Spans: one of each job of a batch ('upload'), and below it one of each request with all its attempts ('S3/PutObject'). A request
without a batch belongs to the current span of the program. Attributes have the names of OpenTelemetry's conventions for S3:
https://opentelemetry.io/docs/specs/semconv/object-stores/s3/

| metric                | kind      | unit      | what                                                            |
|-----------------------|-----------|-----------|-----------------------------------------------------------------|
| s3po.requests         | counter   | {request} | requests that have ended, with `error.type` if they failed      |
| s3po.request.duration | histogram | s         | their durations, with retries and waits                         |
| s3po.bytes            | counter   | By        | bytes of objects, without those that had to be sent again       |
| s3po.retries          | counter   | {retry}   | attempts after the first one                                    |
| s3po.throttles        | counter   | {request} | attempts that the store refused because of their rate           |
| s3po.width            | gauge     | {request} | how many requests of the connection may be in flight at once    |

Metrics have the bucket as an attribute, not the key. The events of a batch's worker processes are exported by the parent, which
measures durations when it receives them.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Protocol

import gevent

from s3po.config import __version__
from s3po.errors import ConfigurationError, ResponseError
from s3po.observer import Activity, Observer, combined

try:
    from opentelemetry import trace
    from opentelemetry.metrics import MeterProvider, get_meter
    from opentelemetry.trace import Span, SpanKind, StatusCode, TracerProvider
except ImportError as error:
    raise ConfigurationError("opentelemetry-api is not installed; install it with: pip install 's3po[telemetry]'") from error

__all__ = ['Instrumented', 'Telemetry', 'instrument']

# Bounds of the histogram in seconds, of OpenTelemetry's conventions for HTTP, and longer ones for large parts:
# https://opentelemetry.io/docs/specs/semconv/http/http-metrics/
BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 300.0)

Attributes = dict[str, str | int]


class Instrumented(Protocol):
    """The part of a connection that is used here."""

    @property
    def observer(self) -> Observer | None:
        """Receives the events; None for no observer."""
        ...

    @observer.setter
    def observer(self, observer: Observer | None) -> None: ...

    def width(self) -> int:
        """How many requests of this thread may be in flight at once."""
        ...


def instrument(
    connection: Instrumented,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> Telemetry:
    """Export spans and metrics of a connection, besides what its observer does already. Batches that are open do not report.

    Args:
        connection: The Connection.
        tracer_provider: Receives the spans; None for the global provider.
        meter_provider: Receives the metrics; None for the global provider.

    Returns:
        The observer that was added.
    """
    telemetry = Telemetry(tracer_provider=tracer_provider, meter_provider=meter_provider, width=connection.width)
    connection.observer = combined(connection.observer, telemetry)
    return telemetry


@dataclass(slots=True)
class _Open:
    """An activity that has begun."""

    greenlet: object
    span: Span
    began_at: float


class Telemetry(Observer):
    """An observer that exports spans and metrics: `conn.observer = Telemetry()`. See the documentation of this module."""

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        width: Callable[[], int] | None = None,
    ) -> None:
        """
        Args:
            tracer_provider: Receives the spans; None for the global provider.
            meter_provider: Receives the metrics; None for the global provider.
            width: Returns how many requests may be in flight at once; None for no such metric.
        """
        self._tracer = trace.get_tracer('s3po', __version__, tracer_provider)
        meter = get_meter('s3po', __version__, meter_provider)
        self._requests = meter.create_counter('s3po.requests', '{request}', 'Requests that have ended')
        self._bytes = meter.create_counter('s3po.bytes', 'By', 'Bytes of objects')
        self._retries = meter.create_counter('s3po.retries', '{retry}', 'Attempts after the first one')
        self._throttles = meter.create_counter('s3po.throttles', '{request}', 'Attempts that the store refused for their rate')
        self._seconds = meter.create_histogram(
            's3po.request.duration', 's', 'Durations of requests', explicit_bucket_boundaries_advisory=BOUNDS_S
        )
        self._width = meter.create_gauge('s3po.width', '{request}', 'How many requests may be in flight at once')
        self._width_of = width
        self._open: dict[Activity, list[_Open]] = {}
        # The spans of jobs, by the greenlets that carry them out, and by their objects.
        self._jobs: dict[object, Span] = {}
        self._objects: dict[tuple[str, str], Span] = {}
        # A counter cannot decrease: bytes that were taken back are subtracted from the next ones.
        self._owed = collections.Counter[tuple[str, str]]()

    def began(self, activity: Activity) -> None:
        is_job = _is_job(activity)
        parent, greenlet = self._parent(activity), gevent.getcurrent()
        span = self._tracer.start_span(
            activity.operation if is_job else f'S3/{activity.operation}',
            None if parent is None else trace.set_span_in_context(parent),
            SpanKind.INTERNAL if is_job else SpanKind.CLIENT,
            _span_attributes(activity, is_job=is_job),
        )
        if is_job:
            self._jobs[greenlet] = self._objects[activity.bucket, activity.key] = span
        elif self._width_of is not None:
            self._width.set(self._width_of())
        self._open.setdefault(activity, []).append(_Open(greenlet, span, monotonic()))

    def sized(self, activity: Activity, size_bytes: int) -> None:
        pass

    def moved(self, activity: Activity, size_bytes: int) -> None:
        place = activity.operation, activity.bucket
        size_bytes -= self._owed.pop(place, 0)
        if size_bytes < 0:
            self._owed[place] = -size_bytes
        elif size_bytes:
            self._bytes.add(size_bytes, _metric_attributes(activity))

    def retried(self, activity: Activity, error: Exception) -> None:
        self._retries.add(1, {**_metric_attributes(activity), 'error.type': _error_type(error)})
        if (found := self._current(activity)) is not None:
            found.span.add_event('retry', {'error.type': _error_type(error), 'error.message': str(error)})

    def throttled(self, activity: Activity) -> None:
        self._throttles.add(1, _metric_attributes(activity))

    def ended(self, activity: Activity, error: BaseException | None) -> None:
        found = self._current(activity)
        if found is None:
            # A job that never began.
            return
        self._open[activity].remove(found)
        if not self._open[activity]:
            del self._open[activity]
        if error is not None:
            found.span.set_attribute('error.type', _error_type(error))
            found.span.set_status(StatusCode.ERROR, str(error))
        found.span.end()
        if not _is_job(activity):
            attributes = _metric_attributes(activity) | ({} if error is None else {'error.type': _error_type(error)})
            self._requests.add(1, attributes)
            self._seconds.record(monotonic() - found.began_at, attributes)
        else:
            # A job that had a last turn has ended in another greenlet, and its own may have another job.
            _forget(self._jobs, found.greenlet, found.span)
            _forget(self._objects, (activity.bucket, activity.key), found.span)

    def _parent(self, activity: Activity) -> Span | None:
        """The job that the current greenlet works for, or the span of the program that started it; None for the current span.

        gevent's greenlets do not inherit contextvars, in which OpenTelemetry keeps the current span.
        """
        current: Any = gevent.getcurrent()
        if trace.get_current_span().get_span_context().is_valid:
            return None
        while isinstance(current, gevent.Greenlet):
            if (job := self._jobs.get(current)) is not None:
                return job
            spawner = current.spawning_greenlet
            current = None if spawner is None else spawner()
            if (span := _current_span_of(current)) is not None:
                return span
        # An event of a worker process, or of a last turn, which has no greenlet here.
        return self._objects.get((activity.bucket, activity.key))

    def _current(self, activity: Activity) -> _Open | None:
        """The activity that began in this greenlet, or an equal one; None if there is none."""
        opened = self._open.get(activity)
        if not opened:
            return None
        greenlet = gevent.getcurrent()
        return next((each for each in opened if each.greenlet is greenlet), opened[0])


def _forget(spans: dict[Any, Span], name: object, span: Span) -> None:
    if spans.get(name) is span:
        del spans[name]


def _current_span_of(greenlet: Any) -> Span | None:
    """The current span of a greenlet that does not run now; None for none."""
    try:
        context = None if greenlet is None else greenlet.gr_context
    except ValueError:
        # It runs in another thread.
        return None
    span: Span | None = None if context is None else context.copy().run(trace.get_current_span)
    return span if span is not None and span.get_span_context().is_valid else None


def _is_job(activity: Activity) -> bool:
    """Whether it is a job of a batch, not a request, whose name is S3's."""
    return activity.operation.islower()


def _span_attributes(activity: Activity, *, is_job: bool) -> Mapping[str, str | int]:
    found: Attributes = {'aws.s3.bucket': activity.bucket}
    if activity.key:
        found['aws.s3.key'] = activity.key
    if activity.part_number is not None:
        found['aws.s3.part_number'] = activity.part_number
    if not is_job:
        found |= {'rpc.system': 'aws-api', 'rpc.service': 'S3', 'rpc.method': activity.operation}
    return found


def _metric_attributes(activity: Activity) -> Attributes:
    return {'rpc.method': activity.operation, 'aws.s3.bucket': activity.bucket}


def _error_type(error: BaseException) -> str:
    """S3's code of an error, or the name of its class."""
    return (error.code if isinstance(error, ResponseError) else '') or type(error).__name__
