"""The runner without containers: a pod's main container is a process of this machine.

Nothing can be mounted, so the paths in the arguments and the environment are led to the volumes' folders.
"""

import asyncio
import os
import signal

from .inputs import Missing
from .objects import now


class Local:
    sidecars = False

    def __init__(self, program):
        self.program, self.failed = program, set()

    async def create(self, **given):
        self.pull(given["container"]["image"], given["pod"]["metadata"]["uid"])
        return Process(self.program, **given)

    def pull(self, image, pod):
        """Every image is there, but those of hosts that cannot exist (RFC 2606); the reason is first the failure, and then
        that it is tried again."""
        host = image.split("/")[0]
        if not host.endswith(".invalid"):
            return
        failure = f'failed to pull image "{image}": lookup {host}: no such host'
        if pod in self.failed:
            raise Missing(f'Back-off pulling image "{image}"', "ImagePullBackOff")
        self.failed.add(pod)
        raise Missing(failure, "ErrImagePull")

    async def close(self):
        pass


class Process:
    def __init__(self, program, *, pod, container, env, log, folder, mounts, command, args, workdir, **_):
        self.mounts = sorted(mounts, key=lambda m: -len(m[1]))
        self.temporary = folder / "tmp" / container["name"]
        self.temporary.mkdir(parents=True, exist_ok=True)
        own = {
            name: str(self.temporary)
            for name in ("HOME", "TMPDIR")
            if self.host(env.get(name, "")) == env.get(name, "")
        }
        # a command may name the program, as in its image
        path = f"{os.path.dirname(program)}:{os.environ['PATH']}"
        self.env = {"PATH": path, **{k: self.host(v) for k, v in env.items()}, **own}
        self.argv = [self.host(a) for a in (command or [program]) + (args or [])]
        self.cwd = self.host(workdir) if self.host(workdir) != workdir else self.temporary
        self.log, self.process, self.stopped, self.error = log, None, False, None

    def host(self, value):
        """A path under a mount as the path of the volume's folder; anything else as it is, and so is what is there on
        this machine, such as a program in a checkout below /tmp."""
        for path, target, _ in self.mounts:
            if value == target or value.startswith(target + "/") and not os.path.exists(value):
                return str(path) + value[len(target) :]
        return value

    async def start(self):
        self.begun = now()
        with self.log.open("wb") as log:
            try:
                self.process = await self.spawn(self.argv, asyncio.subprocess.DEVNULL, log)
            except OSError as error:
                self.error = f"{self.argv[0]}: {error.strerror}"

    async def spawn(self, argv, stdin, output):
        """A process in the container's environment, and in a group of its own."""
        return await asyncio.create_subprocess_exec(
            *argv, stdin=stdin, stdout=output, stderr=output, env=self.env, cwd=self.cwd, start_new_session=True
        )

    async def wait(self):
        times = {"startedAt": self.begun, "finishedAt": now()}
        if self.error:
            return {"exitCode": 128, "reason": "StartError", "message": self.error, **times}
        code = await self.process.wait()
        self.signal(signal.SIGKILL)
        code = 128 - code if code < 0 else code
        return {"exitCode": code, "reason": "Error" if code else "Completed", **times, "finishedAt": now()}

    def signal(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    async def stop(self, grace):
        self.stopped = True
        if not self.process or self.process.returncode is not None:
            return
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), grace)
        except TimeoutError:
            self.signal(signal.SIGKILL)

    async def exec(self, command, stdin):
        argv = [self.host(a) for a in command]
        pipe = asyncio.subprocess.PIPE
        source = pipe if stdin else asyncio.subprocess.DEVNULL
        try:
            return await self.spawn(argv, source, pipe)
        except OSError as error:
            message = f"{argv[0]}: {error.strerror}"
            return await self.spawn(["sh", "-c", 'echo "$0" >&2; exit 127', message], source, pipe)
