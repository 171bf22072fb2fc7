"""A collector for prometheus-client."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from reliable_ws.histogram import BOUNDS, Histogram

from .table import METRICS, Source, sources_of

if TYPE_CHECKING:
    from prometheus_client.core import Metric
    from prometheus_client.registry import Collector

__all__ = ["prometheus"]


def prometheus(source: Source | None = None, /, **endpoints: Source) -> Collector:
    """Return a collector for prometheus-client: register it once.

    ``REGISTRY.register(prometheus(server))``, or with a name for each of several servers
    ``prometheus(orders=server, chat=sessions)``, which is the label ``endpoint`` of each metric.
    docs/metrics.md lists the metrics. A scrape reads every session, which takes about 2 µs for
    each. The server that prometheus-client starts does that in a thread of its own, in slices of
    half a millisecond.

    Args:
        source: A server, ``Sessions`` or a connection, of this package or of ``reliable_ws.sync``.
        endpoints: The same, by name.

    Raises:
        ImportError: prometheus-client is not installed.
        TypeError: There is no source, or it is something else.
    """
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )
    from prometheus_client.registry import Collector

    sources = sources_of(source, endpoints)
    families: dict[str, Any] = {
        "counter": CounterMetricFamily,
        "gauge": GaugeMetricFamily,
        "histogram": HistogramMetricFamily,
    }

    class ReliableWSCollector(Collector):
        """Reads the figures whenever Prometheus asks."""

        def collect(self) -> Iterable[Metric]:
            """Return every metric."""
            figures = {name: one.figures() for name, one in sources.items()}
            for metric in METRICS:
                labels = ("endpoint", *metric.labels)
                name = f"reliable_ws_{metric.name}"
                family = families[metric.kind](name, metric.words, labels=labels)
                for endpoint, read in figures.items():
                    for values, value in metric.values(read):
                        family.add_metric((endpoint, *values), value)
                    times = metric.times(read)
                    if times is not None:
                        family.add_metric((endpoint,), _buckets(times), times.total)
                yield family

        def describe(self) -> Iterable[Metric]:
            """Return the names of the metrics: registering reads no session."""
            for metric in METRICS:
                yield families[metric.kind](f"reliable_ws_{metric.name}", metric.words)

    return ReliableWSCollector()


def _buckets(times: Histogram) -> list[tuple[str, int]]:
    """Return how many were up to each bound, as Prometheus counts."""
    bounds = [*map(str, BOUNDS), "+Inf"]
    return list(zip(bounds, accumulate(times.counts), strict=True))
