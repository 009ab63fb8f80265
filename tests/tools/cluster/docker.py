"""The runner by Docker: each container as its pod asks for it, on the host's network."""

import asyncio
import json
import uuid

from .inputs import Missing, quantity
from .objects import now


async def call(*args):
    process = await asyncio.create_subprocess_exec(
        "docker",
        *args,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode().strip()


class Docker:
    sidecars = True

    def __init__(self):
        self.label = f"cluster={uuid.uuid4()}"

    async def create(self, **given):
        image = given["container"]["image"]
        code, out, _ = await call("image", "inspect", image)
        if code:
            raise Missing(f'Container image "{image}" is not present with pull policy of Never', "ErrImageNeverPull")
        termination = given["folder"] / "termination" / given["container"]["name"]
        termination.parent.mkdir(exist_ok=True)
        termination.write_bytes(b"")
        termination.chmod(0o666)
        options = arguments(**given, user=json.loads(out)[0]["Config"].get("User") or "")
        path = given["container"]["terminationMessagePath"]
        options[:0] = ["--mount", f"type=bind,source={termination},target={path}"]
        code, out, err = await call("create", "--pull", "never", "--label", self.label, *options)
        if code:
            raise Missing(err, "CreateContainerError")
        return Container(out.strip(), given["log"], termination, given["container"]["terminationMessagePolicy"])

    async def close(self):
        _, out, _ = await call("ps", "--all", "--quiet", "--filter", f"label={self.label}")
        if out.split():
            await call("rm", "--force", "--volumes", *out.split())


def user_of(context, image_user):
    """The `--user` of a container, under the rules of runAsNonRoot."""
    user, group = context.get("runAsUser"), context.get("runAsGroup")
    if context.get("runAsNonRoot"):
        name = image_user.split(":")[0]
        if user == 0 or user is None and name in ("", "0", "root"):
            raise Missing(
                "container has runAsNonRoot and image will run as root"
                if user is None
                else "container's runAsUser breaks non-root policy"
            )
        if user is None and not name.isdigit():
            raise Missing(
                f"container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root"
            )
    if user is None and group is None:
        return []
    user = image_user.split(":")[0] or "0" if user is None else user
    return ["--user", f"{user}" if group is None else f"{user}:{group}"]


def security(context):
    options, capabilities = [], context.get("capabilities") or {}
    for flag in ("drop", "add"):
        for name in capabilities.get(flag) or []:
            options += [f"--cap-{flag}", name]
    if context.get("readOnlyRootFilesystem"):
        options.append("--read-only")
    if context.get("allowPrivilegeEscalation") is False:
        options += ["--security-opt", "no-new-privileges"]
    if context.get("privileged"):
        options.append("--privileged")
    if (context.get("seccompProfile") or {}).get("type") == "Unconfined":
        options += ["--security-opt", "seccomp=unconfined"]
    return options


def arguments(*, pod, container, env, mounts, group, command, args, workdir, user, **_):
    spec, pod_context = pod["spec"], pod["spec"]["securityContext"]
    context = {**pod_context, **(container.get("securityContext") or {})}
    limits = container["resources"].get("limits") or {}
    options = ["--network", "host", "--hostname", spec.get("hostname") or pod["metadata"]["name"][:63].rstrip("-.")]
    options += user_of(context, user) + security(context)
    for extra in [*([] if group is None else [group]), *(pod_context.get("supplementalGroups") or [])]:
        options += ["--group-add", str(extra)]
    if "memory" in limits:
        size = str(int(quantity(limits["memory"])))
        options += ["--memory", size, "--memory-swap", size]
    if "cpu" in limits:
        options += ["--cpus", f"{quantity(limits['cpu']):.3f}"]
    if workdir:
        options += ["--workdir", workdir]
    for name, value in env.items():
        options += ["--env", f"{name}={value}"]
    for path, target, fixed in mounts:
        options += ["--mount", f"type=bind,source={path},target={target}" + (",readonly" if fixed else "")]
    words = list(args or [])
    if command:
        options += ["--entrypoint", command[0]]
        words = command[1:] + words
    return [*options, container["image"], *words]


class Container:
    def __init__(self, name, log, termination, fallback):
        self.id, self.log, self.termination, self.fallback = name, log, termination, fallback
        self.attached, self.stopped, self.begun = None, False, now()

    async def start(self):
        with self.log.open("wb") as log:
            self.attached = await asyncio.create_subprocess_exec(
                "docker", "start", "--attach", self.id, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
        while self.attached.returncode is None and (await self.state())["Status"] == "created":
            await asyncio.sleep(0.05)
        self.begun = now()

    async def state(self):
        code, out, err = await call("inspect", "--format", "{{json .State}}", self.id)
        return json.loads(out) if code == 0 else {"Status": "gone", "ExitCode": 137, "OOMKilled": False, "Error": err}

    async def wait(self):
        await self.attached.wait()
        state = await self.state()
        times = {"startedAt": self.begun, "finishedAt": now()}
        message = self.termination.read_text(errors="replace")[:4096]
        if state["Status"] == "created" or state["Error"]:
            result = {"exitCode": 128, "reason": "StartError", "message": state["Error"], **times}
        else:
            code = state["ExitCode"]
            if code and not message and self.fallback == "FallbackToLogsOnError":
                message = self.log.read_text(errors="replace")[-2048:]
            reason = "OOMKilled" if state["OOMKilled"] else "Error" if code else "Completed"
            result = {"exitCode": code, "reason": reason, **times, **({"message": message} if message else {})}
        await call("rm", "--force", "--volumes", self.id)
        return result

    async def stop(self, grace):
        self.stopped = True
        if self.attached is None:
            await call("rm", "--force", "--volumes", self.id)
        else:
            await call("stop", "--time", str(grace), self.id)

    async def exec(self, command, stdin):
        pipe, none = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        interactive = ["--interactive"] if stdin else []
        return await asyncio.create_subprocess_exec(
            "docker", "exec", *interactive, self.id, *command, stdin=pipe if stdin else none, stdout=pipe, stderr=pipe
        )
