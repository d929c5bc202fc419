import asyncio
import gc
import logging
import os
import signal
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from agents.registry import load
from agents.worker import Worker, claimed
from chat import metrics
from chat.runs import Claimed


class Command(BaseCommand):
    help = "Play agents: claim runs from the record until SIGTERM or SIGINT, then drain and leave."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--concurrency", type=int, default=settings.NETRA_CONCURRENCY, help="runs at a time")
        parser.add_argument("--metrics-port", type=int, help="answer Prometheus here, as web processes do at /metrics")
        parser.add_argument("--metrics-host", default="127.0.0.1", help="the address that is bound for it")
        parser.add_argument("--claimed", action="store_true", help="play one run, read from the input, for a worker")
        parser.add_argument("--figures", type=int, help="the number of an open file that keeps what is counted for it")

    def handle(self, *args: Any, concurrency: int, **options: Any) -> None:
        if concurrency < 1:
            raise CommandError("--concurrency must be at least 1.")
        if options["metrics_port"] is not None:
            self.serve(options["metrics_host"], options["metrics_port"])
        if options["figures"] is not None:
            metrics.tell(options["figures"])
        asyncio.run(self._run(concurrency, claimed(sys.stdin.read()) if options["claimed"] else None))

    def serve(self, host: str, port: int) -> None:
        if not settings.NETRA_METRICS_TOKEN:
            raise CommandError("--metrics-port needs NETRA_METRICS_TOKEN.")
        try:
            metrics.serve(host, port)
        except (OSError, OverflowError) as error:
            raise CommandError(f"Figures cannot be served at {host}:{port}: {error}") from None

    async def _run(self, concurrency: int, only: Claimed | None) -> None:
        worker = Worker(load(), concurrency, only)
        gc.collect()
        gc.freeze()  # as in netra/asgi.py
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, worker.drain)
        await worker.run()
        # A tool that hangs in its thread would hold the process up for ever; its run was handed back.
        logging.shutdown()
        os._exit(0)
