import asyncio
import logging
import os
import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from agents.registry import load
from agents.worker import Worker


class Command(BaseCommand):
    help = "Play agents: claim runs from the record until SIGTERM or SIGINT, then drain and leave."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--concurrency", type=int, default=settings.NETRA_CONCURRENCY, help="runs at a time")

    def handle(self, *args: Any, concurrency: int, **options: Any) -> None:
        if concurrency < 1:
            raise CommandError("--concurrency must be at least 1.")
        asyncio.run(self._run(concurrency))

    async def _run(self, concurrency: int) -> None:
        worker = Worker(load(), concurrency)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, worker.drain)
        await worker.run()
        # A tool that hangs in its thread would hold the process up for ever; its run was handed back.
        logging.shutdown()
        os._exit(0)
