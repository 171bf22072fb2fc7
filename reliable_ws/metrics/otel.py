"""Observable instruments for OpenTelemetry: only the package of its API is needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reliable_ws.driver.figures import Figures
from reliable_ws.histogram import BOUNDS

from .table import METRICS, Metric, Source, Value, sources_of

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation

__all__ = ["otel"]

SHARED = 0.2
"""Seconds for which figures are shared: all instruments are read one behind the other."""


def otel(source: Source | None = None, /, meter: Meter | None = None, **endpoints: Source) -> None:
    """Make observable instruments for OpenTelemetry.

    ``otel(server)``, or with a name for each of several servers ``otel(orders=server,
    chat=sessions)``, which is the attribute ``reliable_ws.endpoint``. The names are those of
    docs/metrics.md with a dot: ``reliable_ws.unconfirmed_seconds``. Call it once: instruments live
    as long as the meter.

    Args:
        source: A server, ``Sessions`` or a connection, of this package or of ``reliable_ws.sync``.
        meter: Where to make them. Default: that of the global meter provider.
        endpoints: As ``source``, by name.

    Raises:
        ImportError: opentelemetry-api is not installed.
        TypeError: There is no source, or it is something else.
    """
    from opentelemetry import metrics

    sources = sources_of(source, endpoints)
    meter = meter or metrics.get_meter("reliable_ws")
    read = _shared(sources)
    kinds = {
        "counter": meter.create_observable_counter,
        "gauge": meter.create_observable_gauge,
    }
    for metric in (part for one in METRICS for part in _parts(one)):
        kinds[metric.kind](
            f"reliable_ws.{metric.name}",
            callbacks=[_callback(metric, read)],
            unit=metric.unit,
            description=metric.words,
        )


def _parts(metric: Metric) -> list[Metric]:
    """Return the instruments of a metric. A histogram that is read has none: it is two counters."""
    if metric.kind != "histogram":
        return [metric]

    def buckets(part: Any) -> Iterable[Value]:
        times: Any = metric.read(part)
        bounds = [*map(str, BOUNDS), "inf"]
        return [((at,), count) for at, count in zip(bounds, times.counts, strict=True)]

    def total(part: Any) -> Iterable[Value]:
        times: Any = metric.read(part)
        return [((), times.total)]

    return [
        replace(
            metric,
            name=f"{metric.name}.bucket",
            kind="counter",
            unit="1",
            labels=("up_to",),
            read=buckets,
        ),
        replace(metric, name=f"{metric.name}.sum", kind="counter", read=total),
    ]


def _shared(sources: dict[str, Source]) -> Callable[[], dict[str, Figures]]:
    """Return what reads the figures, once for all instruments."""
    figures: dict[str, Figures] = {}
    until = float("-inf")

    def read() -> dict[str, Figures]:
        nonlocal figures, until
        now = time.monotonic()
        if now >= until:
            figures = {name: one.figures() for name, one in sources.items()}
            until = now + SHARED
        return figures

    return read


def _callback(
    metric: Metric, read: Callable[[], dict[str, Figures]]
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    from opentelemetry.metrics import Observation

    labels = tuple(f"reliable_ws.{label}" for label in metric.labels)

    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        for endpoint, figures in read().items():
            for values, value in metric.values(figures):
                attributes = dict(zip(labels, values, strict=True))
                if endpoint:
                    attributes["reliable_ws.endpoint"] = endpoint
                yield Observation(value, attributes)

    return observe
