"""Responses of a model as steps of a turn: a run that waited, or lost its worker, does not pay for them again."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter, ModelResponse
from pydantic_ai.models import CompletedStreamedResponse, Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings

from agents.sdk import Turn


class RecordingModel(WrapperModel):
    """A model whose complete responses are recorded. `replayed`: the response under way is a recorded one."""

    def __init__(self, wrapped: Model, turn: Turn) -> None:
        super().__init__(wrapped)
        self._turn = turn
        self.replayed = False

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """Yield the stream of the wrapped model, and record its response once its consumer has taken all of it.

        Yields the recorded response where there is one.
        """
        received: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        begun = asyncio.Event()

        async def receive() -> Any:
            begun.set()
            return await received

        step = asyncio.create_task(self._turn.step("response", receive))
        beginning = asyncio.create_task(begun.wait())
        try:
            await asyncio.wait((step, beginning), return_when=asyncio.FIRST_COMPLETED)
            self.replayed = not begun.is_set()
            if self.replayed:
                [recorded] = ModelMessagesTypeAdapter.validate_python(await step)
                assert isinstance(recorded, ModelResponse)
                yield CompletedStreamedResponse(
                    recorded, model_request_parameters=model_request_parameters, replay_events=True
                )
                return
            async with self.wrapped.request_stream(
                messages, model_settings, model_request_parameters, run_context
            ) as stream:
                yield stream
                response = stream.get()
            received.set_result(ModelMessagesTypeAdapter.dump_python([response], mode="json"))
            await step
        finally:
            beginning.cancel()
            step.cancel()
            await asyncio.gather(beginning, step, return_exceptions=True)
