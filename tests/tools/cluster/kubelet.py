"""The kubelet of every node: has each pod run, from its creation to its deletion."""

import asyncio
import collections
from pathlib import Path

from .kinds import PODS
from .podrun import PodRun


class Kubelet:
    def __init__(self, store, scheduler, runtime, state):
        self.store, self.scheduler, self.runtime, self.state = store, scheduler, runtime, Path(state)
        # claims by their uid: the pods that have them, each with its node
        self.runs, self.attached = {}, collections.defaultdict(dict)
        store.listeners.append(self.notice)

    def notice(self, event, kind, obj):
        meta = obj["metadata"]
        if kind is not PODS:
            return
        if event == "ADDED":
            self.store.hold(meta["uid"])
            self.runs[meta["uid"]] = PodRun(self, obj)
        elif event == "DELETED" and meta["uid"] in self.runs:
            self.runs.pop(meta["uid"]).clean()
        elif meta.get("deletionTimestamp") and meta["uid"] in self.runs:
            self.runs[meta["uid"]].stop(meta["deletionGracePeriodSeconds"])

    async def close(self):
        runs = list(self.runs.values())
        for run in runs:
            run.stop(0)
        await asyncio.gather(*(run.task for run in runs), return_exceptions=True)
        for run in runs:
            run.clean()
        await self.runtime.close()
