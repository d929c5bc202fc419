"""The command that operators start workers with."""

import asyncio
import gc
import logging
import os
import signal
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from agents.worker.isolated import read_claim
from agents.worker.registry import load
from agents.worker.worker import Worker
from chat.exposition import MetricsFile, WorkerRegistry, serve
from chat.runs import ClaimedRun


class Command(BaseCommand):
    """Runs a worker."""

    help = "Run a worker: claim and execute runs until SIGTERM or SIGINT, then shut down and hand back unfinished runs."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument(
            "--concurrency",
            type=int,
            default=settings.NETRA_WORKER_CONCURRENCY,
            help="runs at a time",
        )
        parser.add_argument("--metrics-port", type=int, help="port of the Prometheus metrics")
        parser.add_argument("--metrics-host", default="127.0.0.1", help="address of the Prometheus metrics")
        parser.add_argument(
            "--claimed",
            action="store_true",
            help="execute one run, read from the input, for a worker",
        )
        parser.add_argument("--figures", type=int, help="file descriptor for the metrics of that run")

    def handle(self, *args: Any, concurrency: int, **options: Any) -> None:
        """Run the worker. Raises CommandError for arguments that cannot be used."""
        if concurrency < 1:
            raise CommandError("--concurrency must be at least 1.")
        registry = WorkerRegistry()
        if options["metrics_port"] is not None:
            self._serve(registry, options["metrics_host"], options["metrics_port"])
        metrics_file = None if options["figures"] is None else MetricsFile(options["figures"])
        only = read_claim(sys.stdin.read()) if options["claimed"] else None
        asyncio.run(self._run(concurrency, registry, only, metrics_file))

    def _serve(self, registry: WorkerRegistry, host: str, port: int) -> None:
        if not settings.NETRA_METRICS_TOKEN:
            raise CommandError("--metrics-port needs NETRA_METRICS_TOKEN.")
        try:
            serve(registry, host, port)
        except (OSError, OverflowError) as error:
            raise CommandError(f"Metrics cannot be served at {host}:{port}: {error}") from None

    async def _run(
        self, concurrency: int, registry: WorkerRegistry, only: ClaimedRun | None, metrics_file: MetricsFile | None
    ) -> None:
        worker = Worker(load(), concurrency, only, metrics_file, registry)
        gc.collect()
        gc.freeze()  # as in netra/asgi.py
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, worker.drain)
        await worker.run()
        # A tool that hangs in its thread would block a normal exit. Its run has been queued again.
        logging.shutdown()
        os._exit(0)
