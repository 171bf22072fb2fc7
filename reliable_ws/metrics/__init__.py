"""Metrics for Prometheus and OpenTelemetry. They are read: no message pays anything for them.

``prometheus()`` needs the extra ``reliable-ws[prometheus]``, ``otel()`` the extra
``reliable-ws[otel]``.
"""

from .otel import otel
from .prometheus import prometheus

__all__ = ["otel", "prometheus"]
