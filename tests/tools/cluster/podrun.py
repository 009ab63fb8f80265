"""One pod: its containers in their order, what they wait for, and what is written about them."""

import asyncio
import shutil

from . import probes
from .inputs import Missing, environment, expand, expand_args
from .kinds import PODS
from .objects import now
from .scheduler import Unschedulable
from .volumes import Volumes

RETRY = 0.3
RESTART = 0.2


class Stopped(Exception):
    """The pod is to end before this container was started."""


def sidecar(container):
    return container.get("restartPolicy") == "Always"


class PodRun:
    """One pod from its creation to the end of its last container."""

    def __init__(self, kubelet, pod):
        self.kubelet, self.store, self.runtime, self.pod = kubelet, kubelet.store, kubelet.runtime, pod
        self.meta, self.spec = pod["metadata"], pod["spec"]
        self.folder = kubelet.state / "pods" / self.meta["uid"]
        self.handles, self.stopping, self.done = {}, asyncio.Event(), asyncio.Event()
        self.failure, self.grace, self.deadline, self.started = (
            None,
            self.spec["terminationGracePeriodSeconds"],
            None,
            now(),
        )
        self.volumes, self.ending = None, set()
        first = "PodInitializing" if self.spec.get("initContainers") else "ContainerCreating"
        self.states = {
            c["name"]: self.fresh(c, first) for c in [*self.spec.get("initContainers", []), *self.spec["containers"]]
        }
        self.task = asyncio.create_task(self.run())

    @staticmethod
    def fresh(container, reason):
        return {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": False,
            "started": False,
            "restartCount": 0,
            "state": {"waiting": {"reason": reason}},
            "lastState": {},
        }

    def waiting(self, name):
        return (self.states[name]["state"].get("waiting") or {}).get("reason")

    def running(self, name):
        return "running" in self.states[name]["state"]

    def log(self, name):
        return self.folder / "logs" / f"{name}.log"

    def write(self, phase="Pending", **fields):
        names = {c["name"] for c in self.spec["containers"]}
        inits = [s for n, s in self.states.items() if n not in names]
        mains = [s for n, s in self.states.items() if n in names]
        ready = "True" if phase == "Running" and all(s["ready"] for s in mains) else "False"
        initialized = "True" if phase != "Pending" else "False"
        kinds = (("PodScheduled", "True"), ("Initialized", initialized), ("ContainersReady", ready), ("Ready", ready))
        self.store.set_status(
            self.pod,
            phase=phase,
            startTime=self.started,
            hostIP="127.0.0.1",
            podIP="127.0.0.1",
            qosClass="Burstable",
            conditions=[{"type": kind, "status": status, "lastTransitionTime": now()} for kind, status in kinds],
            initContainerStatuses=inits or None,
            containerStatuses=mains,
            **fields,
        )

    def phase(self):
        return "Running" if any(self.running(c["name"]) for c in self.spec["containers"]) else "Pending"

    def set(self, name, state, **more):
        self.states[name] = {**self.states[name], "state": state, **more}
        self.write(self.phase())

    async def run(self):
        await asyncio.sleep(0)
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        if self.spec.get("activeDeadlineSeconds") is not None:
            self.deadline = asyncio.get_running_loop().call_later(self.spec["activeDeadlineSeconds"], self.expire)
        sidecars = []
        try:
            self.refuse_unsupported()
            await self.schedule()
            self.write()
            self.volumes = await self.retry(lambda: Volumes(self.kubelet, self.pod, self.folder))
            for container in self.spec.get("initContainers", []):
                if sidecar(container):
                    sidecars.append(container["name"])
                    await self.start_sidecar(container)
                elif await self.run_container(container):
                    self.failure = self.failure or {}
                    break
            if self.failure is None:
                codes = await asyncio.gather(*(self.run_container(c) for c in self.spec["containers"]))
                if any(codes):
                    self.failure = self.failure or {}
        except Stopped:
            self.failure = self.failure or {}
        except Exception as error:  # whatever it is, the pod's message is where one looks for it
            self.failure = {"reason": "KubeletError", "message": f"{type(error).__name__}: {error}"}
        await self.end(sidecars)

    async def schedule(self):
        """Binds the pod to a node as soon as one can take it."""
        node = None
        while not node:
            try:
                node = self.kubelet.scheduler.place(self.pod)
            except Unschedulable as error:
                why = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": str(error)}
                self.store.set_status(self.pod, phase="Pending", conditions=[{**why, "lastTransitionTime": self.started}])
                self.store.warn(self.pod, "FailedScheduling", str(error))
                await self.pause(RETRY)

        def bind(pod):
            pod["spec"]["nodeName"] = node
            return pod

        self.pod = self.store.update(PODS, self.meta["namespace"], self.meta["name"], bind)

    def refuse_unsupported(self):
        if not self.runtime.sidecars and any(sidecar(c) for c in self.spec.get("initContainers", [])):
            self.failure = {"reason": "Unsupported", "message": "sidecar containers need the docker runner"}
            raise Stopped

    async def end(self, sidecars):
        for name in reversed(sidecars):
            if name in self.handles:
                await self.handles[name].stop(self.grace)
        await asyncio.gather(*self.ending)
        if self.deadline:
            self.deadline.cancel()
        for name, state in self.states.items():
            if "waiting" in state["state"] and self.failure is not None:
                self.states[name] = {
                    **state,
                    "state": {"waiting": {"reason": "ContainerCreating", **state["state"]["waiting"]}},
                }
            self.states[name]["ready"] = False
        self.done.set()
        for pods in self.kubelet.attached.values():
            pods.pop(self.meta["uid"], None)
        self.write("Succeeded" if self.failure is None else "Failed", **(self.failure or {}))
        if self.volumes:
            self.volumes.unmount()
        self.store.release(self.meta["uid"])

    async def pause(self, seconds):
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except TimeoutError:
            return
        raise Stopped

    async def retry(self, make, name=None):
        """Repeats what a missing Secret, ConfigMap, claim or image hinders, until it is there or the pod goes. The reason is
        in the status of the container of that name, and for volumes in an event."""
        while True:
            if self.stopping.is_set():
                raise Stopped
            try:
                made = make()
                return await made if asyncio.iscoroutine(made) else made
            except Missing as missing:
                if name:
                    reason = missing.reason or "CreateContainerConfigError"
                    self.set(name, {"waiting": {"reason": reason, "message": str(missing)}})
                    if reason != "ImagePullBackOff":
                        image = self.states[name]["image"]
                        what = f'Failed to pull image "{image}"' if reason == "ErrImagePull" else "Error"
                        self.store.warn(self.pod, "Failed", f"{what}: {missing}")
                else:
                    self.store.warn(self.pod, missing.reason, str(missing))
            await self.pause(RETRY)

    async def prepare(self, container):
        env = environment(self.store, self.pod, container)
        name = container["name"]
        return await self.runtime.create(
            pod=self.pod,
            container=container,
            env=env,
            log=self.log(name),
            folder=self.folder,
            mounts=self.volumes.mounts(container, env),
            group=self.volumes.group,
            command=expand_args(container.get("command"), env),
            args=expand_args(container.get("args"), env),
            workdir=expand(container.get("workingDir") or "", env),
        )

    async def launch(self, container):
        name = container["name"]
        handle = await self.retry(lambda: self.prepare(container), name)
        self.handles[name] = handle
        if self.stopping.is_set():
            await handle.stop(0)
            raise Stopped
        await handle.start()
        started = not container.get("startupProbe")
        self.set(name, {"running": {"startedAt": now()}}, started=started, ready=started)
        return handle

    async def finish(self, container, handle):
        terminated = await handle.wait()
        self.set(container["name"], {"terminated": terminated}, ready=False, started=False)
        return terminated["exitCode"]

    async def run_container(self, container):
        policy = self.spec["restartPolicy"]
        while True:
            code = await self.finish(container, await self.launch(container))
            if (
                self.stopping.is_set()
                or policy == "Never"
                or code == 0
                and (policy == "OnFailure" or container not in self.spec["containers"])
            ):
                return code
            await self.restart(container["name"])

    async def restart(self, name):
        old = self.states[name]
        back = {"waiting": {"reason": "CrashLoopBackOff"}}
        self.set(name, back, lastState=old["state"], restartCount=old["restartCount"] + 1)
        await self.pause(RESTART)

    async def start_sidecar(self, container):
        """Starts a native sidecar, keeps it up, and returns once its startup probe holds."""
        up = asyncio.Event()

        async def keep():
            while True:
                handle = await self.launch(container)
                probing = asyncio.create_task(self.probe(container, handle, up))
                await self.finish(container, handle)
                probing.cancel()
                if self.stopping.is_set() or handle.stopped and self.mains_ended():
                    return
                await self.restart(container["name"])

        async def guarded():
            try:
                await keep()
            except Stopped:
                pass

        task = asyncio.create_task(guarded())
        self.ending.add(task)
        waits = [asyncio.create_task(up.wait()), asyncio.create_task(self.stopping.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not up.is_set():
            raise Stopped

    def mains_ended(self):
        return self.failure is not None or all(
            "terminated" in self.states[c["name"]]["state"] for c in self.spec["containers"]
        )

    async def probe(self, container, handle, up):
        if not await probes.started(container.get("startupProbe"), handle):
            await handle.stop(self.grace)
            return
        if self.running(container["name"]):
            self.set(container["name"], self.states[container["name"]]["state"], started=True, ready=True)
        up.set()

    def expire(self):
        self.failure = {
            "reason": "DeadlineExceeded",
            "message": "Pod was active on the node longer than the specified deadline",
        }
        self.stop(self.grace)

    def stop(self, grace):
        """Ends the pod: its main containers first, its sidecars after them."""
        self.grace = grace
        self.stopping.set()
        late = {c["name"] for c in self.spec.get("initContainers", []) if sidecar(c)}
        for name, handle in self.handles.items():
            if self.running(name) and name not in late:
                task = asyncio.create_task(handle.stop(grace))
                self.ending.add(task)

    def clean(self):
        shutil.rmtree(self.folder, ignore_errors=True)
