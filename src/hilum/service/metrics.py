"""Numbers for Prometheus. Labels are routes, methods, statuses and codes: never what was sent."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """The service's counters, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self._requests = Counter(
            "hilum_http_requests", "Requests answered", ("method", "route", "status"), registry=own
        )
        self._latency = Histogram(
            "hilum_http_seconds", "Seconds to answer", ("route",), buckets=_SECONDS, registry=own
        )
        self._jobs = Gauge("hilum_jobs", "Jobs kept, by state", ("state",), registry=own)
        self._oldest = Gauge(
            "hilum_oldest_waiting_seconds",
            "How long the longest waiting job has waited",
            registry=own,
        )
        self._ended = Counter(
            "hilum_jobs_ended", "Jobs ended by a worker here", ("state",), registry=own
        )
        self._batch = Histogram(
            "hilum_batch_seconds", "Seconds from claim to end", buckets=_SECONDS, registry=own
        )
        self._workers = Gauge("hilum_workers_ready", "Workers with their weights", registry=own)
        self._deaths = Gauge(
            "hilum_worker_deaths", "Workers that died since the start", registry=own
        )
        self._free = Gauge("hilum_disk_free_bytes", "Room left for films", registry=own)
        self._full = Counter("hilum_storage_full", "Uploads refused for room", registry=own)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(method, route, str(status)).inc()
        self._latency.labels(route).observe(seconds)
        if status == 507:
            self._full.inc()

    def ended(self, state: str, seconds: float) -> None:
        """Count a job that a worker ended."""
        self._ended.labels(state).inc()
        self._batch.observe(seconds)

    def page(
        self, jobs: dict[str, int], oldest: float, workers: int, deaths: int, free: int
    ) -> bytes:
        """All of it in Prometheus's text format, with what is true right now."""
        for state, count in jobs.items():
            self._jobs.labels(state).set(count)
        self._oldest.set(oldest)
        self._workers.set(workers)
        self._deaths.set(deaths)
        self._free.set(free)
        return generate_latest(self.registry)
