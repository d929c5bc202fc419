"""A checkpointer that keeps what a graph of LangGraph has done as the state of a run.

It keeps the newest checkpoint of each namespace and its pending writes. What the graph hands over counts only once it
is `released`: the caller does so when all that was said before is emitted, else a crash would lose that text.
"""

import base64
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)

Typed = tuple[str, bytes]

_INTERRUPT = WRITES_IDX_MAP["__interrupt__"]  # index of the write of a task that is interrupted
_NODE_END = ":"  # in the namespace of a graph inside one execution of a node; a graph with a memory of its own has none


@dataclass(slots=True)
class _Kept:
    """The newest checkpoint of one namespace, and the writes of its tasks by (task id, index).

    `asked` counts the interrupts of the tasks by their id: a node may have several, one after the other.
    """

    id: str
    checkpoint: Typed
    metadata: Typed
    writes: dict[tuple[str, int], tuple[str, Typed]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)


class RunSaver(BaseCheckpointSaver[int]):
    """The checkpointer of one run. `state` is what an earlier execution, or the preceding answer, has kept.

    `on_late` is awaited for what the graph hands over after its task was released, which it does in no certain order.
    """

    def __init__(self, state: Any = None) -> None:
        super().__init__()
        self._live = self._restored(state)  # what the graph sees
        self._released = self._restored(state)
        self._held: list[tuple[str, Callable[[dict[str, _Kept]], None]]] = []  # key -> what was handed over, in order
        self._ready: set[str] = set()  # keys whose text is emitted
        self.on_late: Callable[[], Awaitable[None]] | None = None

    @staticmethod
    def _restored(state: Any) -> dict[str, _Kept]:
        return {
            namespace: _Kept(
                kept["id"],
                _typed(kept["checkpoint"]),
                _typed(kept["metadata"]),
                {(task, index): (channel, _typed(value)) for task, index, channel, value in kept["writes"]},
                Counter(kept["asked"]),
            )
            for namespace, kept in (state or {}).items()
        }

    # ---- For the run ----

    def release(self, key: str) -> None:
        """Let what a task wrote, or a checkpoint, be saved: by its id. All that was said before it is emitted."""
        self._ready.add(key)

    def hold(self, key: str) -> None:
        """Let nothing more of this task be saved until it is released: it starts, perhaps again."""
        self._ready.discard(key)

    def release_all(self) -> None:
        """Let all that was handed over be saved."""
        self._ready.update(key for key, _ in self._held)

    def apply(self) -> bool:
        """Take over what may be saved by now; return whether that is anything."""
        held, self._held = self._held, []
        for key, change in held:
            if key in self._ready:
                change(self._released)
            else:
                self._held.append((key, change))
        return len(self._held) < len(held)

    def times_asked(self, interrupt_id: str) -> int:
        """Return how many interrupts with this id the graph has had in its newest step."""
        return sum(kept.asked[interrupt_id] for kept in self._live.values())

    def state(self) -> Any:
        """Return what may be saved, as JSON values."""
        return {
            namespace: {
                "id": kept.id,
                "checkpoint": _coded(kept.checkpoint),
                "metadata": _coded(kept.metadata),
                "writes": [
                    [task, index, channel, _coded(value)] for (task, index), (channel, value) in kept.writes.items()
                ],
                "asked": dict(kept.asked),
            }
            for namespace, kept in self._released.items()
        }

    # ---- For the graph ----

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the newest checkpoint of the namespace; None if another one is asked for."""
        found = config["configurable"]
        namespace = found.get("checkpoint_ns", "")
        kept = self._live.get(namespace)
        if kept is None or found.get("checkpoint_id", kept.id) not in (kept.id, None):
            return None
        return CheckpointTuple(
            {"configurable": {**self._place(config, kept.id)}},
            self.serde.loads_typed(kept.checkpoint),
            self.serde.loads_typed(kept.metadata),
            None,
            [(task, channel, self.serde.loads_typed(value)) for (task, _), (channel, value) in kept.writes.items()],
        )

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Keep the checkpoint in place of the one before it."""
        namespace = config["configurable"].get("checkpoint_ns", "")
        typed, described = self.serde.dumps_typed(checkpoint), self.serde.dumps_typed(metadata)

        def change(kept: dict[str, _Kept]) -> None:
            kept[namespace] = _Kept(checkpoint["id"], typed, described)
            if not namespace:  # a step of the graph itself has ended, and with it the graphs in its nodes
                for inner in [name for name in kept if _NODE_END in name]:
                    del kept[inner]

        self._hand_over(checkpoint["id"], change)
        return {"configurable": self._place(config, checkpoint["id"])}

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Keep what a task has written."""
        found = config["configurable"]
        namespace, checkpoint_id = found.get("checkpoint_ns", ""), found.get("checkpoint_id")
        typed = [
            ((task_id, WRITES_IDX_MAP.get(channel, index)), (channel, self.serde.dumps_typed(value)))
            for index, (channel, value) in enumerate(writes)
        ]
        asked = [each.id for channel, value in writes if channel == "__interrupt__" for each in value]

        def change(kept: dict[str, _Kept]) -> None:
            if namespace in kept and kept[namespace].id == checkpoint_id:
                own = kept[namespace]
                own.asked.update(asked)
                for key, value in typed:
                    if key[1] < 0 or key not in own.writes:
                        own.writes[key] = value
                if any(index >= 0 for (_, index), _ in typed):  # the task is complete, and its interrupt answered
                    own.writes.pop((task_id, _INTERRUPT), None)

        self._hand_over(task_id, change)

    def list(self, config: RunnableConfig | None, **_: Any) -> Iterator[CheckpointTuple]:
        """Yield the newest checkpoint: no other is kept."""
        found = self.get_tuple(config) if config is not None else None
        if found is not None:
            yield found

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See `get_tuple`."""
        return self.get_tuple(config)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """See `put`."""
        return self.put(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """See `put_writes`."""
        self.put_writes(config, writes, task_id, task_path)
        if task_id in self._ready and self.on_late is not None:
            await self.on_late()

    async def alist(self, config: RunnableConfig | None, **given: Any) -> AsyncIterator[CheckpointTuple]:
        """See `list`."""
        for found in self.list(config, **given):
            yield found

    def _hand_over(self, key: str, change: Callable[[dict[str, _Kept]], None]) -> None:
        change(self._live)
        self._held.append((key, change))

    @staticmethod
    def _place(config: RunnableConfig, checkpoint_id: str) -> dict[str, Any]:
        found = config["configurable"]
        return {
            "thread_id": found["thread_id"],
            "checkpoint_ns": found.get("checkpoint_ns", ""),
            "checkpoint_id": checkpoint_id,
        }


def _coded(value: Typed) -> list[str]:
    return [value[0], base64.b64encode(value[1]).decode()]


def _typed(value: Sequence[str]) -> Typed:
    return value[0], base64.b64decode(value[1])
