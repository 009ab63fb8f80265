"""The two endpoints of a pod that are streams: its log, and a command run in it."""

import asyncio
import json
from datetime import datetime, timezone

from aiohttp import WSMsgType, web

from .errors import ApiError

STDIN, STDOUT, STDERR, ERROR, CLOSE = 0, 1, 2, 3, 255
CHUNK = 64 << 10
STARTING = ("ContainerCreating", "PodInitializing")
# of each log, when each of its lines was first looked at
TIMES = {}


def chosen(pod, name):
    spec, title = pod["spec"], pod["metadata"]["name"]
    names = [c["name"] for c in spec["containers"]]
    every = names + [c["name"] for c in spec.get("initContainers", [])]
    if not name and len(names) > 1:
        raise ApiError(
            400, "BadRequest", f"a container name must be specified for pod {title}, choose one of: [{' '.join(names)}]"
        )
    if name and name not in every:
        raise ApiError(400, "BadRequest", f"container {name} is not valid for pod {title}")
    return name or names[0]


async def logs(request, kubelet, pod):
    """A container's log; one that is only just being made is waited for, so that tests need not."""
    query = request.query
    name, follow = chosen(pod, query.get("container")), query.get("follow") == "true"
    run = kubelet.runs.get(pod["metadata"]["uid"])
    for _ in range(200):
        waiting = run.waiting(name) if run else "ContainerCreating"
        if waiting not in STARTING or run and run.done.is_set():
            break
        await asyncio.sleep(0.05)
        run = kubelet.runs.get(pod["metadata"]["uid"])
    log = run and run.log(name)
    if not log or not log.exists():
        title = pod["metadata"]["name"]
        raise ApiError(
            400,
            "BadRequest",
            f'container "{name}" in pod "{title}" is waiting to start: {waiting or "ContainerCreating"}',
        )
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    if query.get("timestamps") == "true" or query.get("sinceTime"):
        try:
            return await stamped(response, run, name, log, query)
        except ConnectionError:
            return response
    with log.open("rb") as file:
        if query.get("tailLines"):
            count = int(query["tailLines"])
            lines = file.read().splitlines(keepends=True)
            await response.write(b"".join(lines[-count:] if count else []))
        try:
            while True:
                ended = not run.running(name)
                data = file.read(CHUNK)
                if data:
                    await response.write(data)
                elif ended or not follow:
                    return response
                else:
                    await asyncio.sleep(0.05)
        except ConnectionError:
            return response


async def stamped(response, run, name, log, query):
    """The log line by line, each behind its time, from a second on; the time of a line is when it was first looked at."""
    times, since, number, rest = TIMES.setdefault(log, []), query.get("sinceTime", "")[:19], 0, b""
    with log.open("rb") as file:
        while True:
            ended = not run.running(name)
            data = file.read(CHUNK)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if number == len(times):
                    times.append(datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
                stamp, number = times[number], number + 1
                if stamp[:19] >= since:
                    prefix = f"{stamp} ".encode() if query.get("timestamps") == "true" else b""
                    await response.write(prefix + line + b"\n")
            if not data:
                if ended or query.get("follow") != "true":
                    await response.write(rest)
                    return response
                await asyncio.sleep(0.05)


async def exec_(request, kubelet, pod):
    """A command in a running container, over the channels of v4/v5.channel.k8s.io."""
    query, title = request.query, pod["metadata"]["name"]
    name = chosen(pod, query.get("container"))
    run = kubelet.runs.get(pod["metadata"]["uid"])
    if not run or not run.running(name):
        raise ApiError(
            400,
            "BadRequest",
            f"cannot exec into a container in a pod that is not running; pod {title}, container {name}",
        )
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise ApiError(400, "BadRequest", "only WebSocket streams are served here")
    socket = web.WebSocketResponse(protocols=("v5.channel.k8s.io", "v4.channel.k8s.io"), max_msg_size=0, compress=False)
    await socket.prepare(request)
    stdin = query.get("stdin") in ("true", "1")
    process = await run.handles[name].exec(query.getall("command"), stdin)

    async def pump(stream, channel):
        while data := await stream.read(CHUNK):
            await socket.send_bytes(bytes([channel]) + data)

    async def feed():
        async for message in socket:
            if message.type is not WSMsgType.BINARY or not process.stdin:
                continue
            try:
                if message.data[0] == STDIN and len(message.data) > 1:
                    process.stdin.write(message.data[1:])
                    await process.stdin.drain()
                elif message.data[:2] == bytes([CLOSE, STDIN]):
                    process.stdin.close()
            except (ConnectionError, RuntimeError):
                pass

    async def work():
        await asyncio.gather(pump(process.stdout, STDOUT), pump(process.stderr, STDERR))
        return await process.wait()

    feeding, working = asyncio.create_task(feed()), asyncio.create_task(work())
    try:
        await asyncio.wait({feeding, working}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await socket.send_bytes(bytes([ERROR]) + json.dumps(outcome(working.result())).encode())
    except ConnectionError:
        pass
    finally:
        feeding.cancel()
        working.cancel()
        if process.returncode is None:
            process.kill()
        await socket.close()
    return socket


def outcome(code):
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    code = 128 - code if code < 0 else code
    return {
        "metadata": {},
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
