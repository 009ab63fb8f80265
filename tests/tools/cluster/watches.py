"""Watches: the stream of changes that `kubectl wait`, `kubectl get -w` and Helm follow."""

import asyncio
import json

from aiohttp import web

from .selection import matches


async def watch(store, request, target, show):
    """Streams what happens to the objects of a kind, as `show` would have them, from the version asked for on."""
    query, kind = request.query, target.kind
    labels, fields = query.get("labelSelector"), query.get("fieldSelector")
    since = query.get("resourceVersion") or "0"
    marked = query.get("sendInitialEvents") == "true"
    initial = since == "0" or marked
    queue = store.subscribe(None if initial else int(since))
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    seen = set()

    async def send(event, obj):
        await response.write(json.dumps({"type": event, "object": show(event, obj)}).encode() + b"\n")

    try:
        present = store.list(kind, target.namespace, labels, fields)
        at = str(store.version)
        await response.prepare(request)
        for obj in present if initial else []:
            seen.add(obj["metadata"]["uid"])
            await send("ADDED", obj)
        if marked:
            mark = {"resourceVersion": at, "annotations": {"k8s.io/initial-events-end": "true"}}
            mark = {"type": "BOOKMARK", "object": {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": mark}}
            await response.write(json.dumps(mark).encode() + b"\n")
        if not initial:
            seen = {o["metadata"]["uid"] for o in present if int(o["metadata"]["resourceVersion"]) <= int(since)}
        async with asyncio.timeout(float(query.get("timeoutSeconds") or 3600)):
            while True:
                event, of, obj = await queue.get()
                if of is not kind or target.namespace not in ("", obj["metadata"].get("namespace", "")):
                    continue
                uid, fits = obj["metadata"]["uid"], matches(obj, labels, fields)
                if not fits and uid not in seen:
                    continue
                if event != "DELETED":
                    event = ("MODIFIED" if uid in seen else "ADDED") if fits else "DELETED"
                (seen.discard if event == "DELETED" else seen.add)(uid)
                await send(event, obj)
    except (TimeoutError, ConnectionError):
        pass
    finally:
        store.queues.discard(queue)
    return response
