"""The HTTP side: the API server's paths and verbs over the store."""

import json

import yaml
from aiohttp import web

from . import discovery, patches, protobuf, schema
from .errors import ApiError
from .kinds import BY_PLURAL, NAMESPACES, PODS
from .streams import exec_, logs
from .tables import table
from .watches import watch

MERGES = {
    "application/json-patch+json": patches.json_patch,
    "application/merge-patch+json": patches.merge,
    "application/strategic-merge-patch+json": patches.strategic,
}


def reply(body, code=200):
    return web.Response(status=code, body=json.dumps(body).encode() + b"\n", content_type="application/json")


def strict(request):
    return request.query.get("fieldValidation") == "Strict"


class Target:
    """What a path names: a kind, perhaps a namespace, an object, and a subresource of it."""

    def __init__(self, path):
        parts = path.strip("/").split("/")
        group, parts = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
        self.namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2 and parts[2] not in ("status", "finalize"):
            self.namespace, parts = parts[1], parts[2:]
        self.kind = BY_PLURAL.get((group, parts[0]))
        self.name = parts[1] if len(parts) > 1 else ""
        self.sub = parts[2] if len(parts) > 2 else ""


class Api:
    def __init__(self, store, kubelet, version):
        self.store, self.kubelet, self.version = store, kubelet, version

    def app(self):
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app

    async def handle(self, request):
        try:
            return await self.answer(request)
        except ApiError as error:
            return reply(error.status(), error.code)
        except ValueError as error:
            return reply(ApiError(400, "BadRequest", str(error)).status(), 400)

    def meta(self, path):
        """The documents outside of the stored objects, or None."""
        if path == "version":
            return discovery.version(self.version)
        if path == "api":
            return {"kind": "APIVersions", "apiVersion": "v1", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        if path == "apis":
            return discovery.groups()
        if path == "openapi/v3":
            return discovery.openapi_index()
        if path.startswith("openapi/v3/"):
            return discovery.openapi(path.removeprefix("openapi/v3/"))
        if path.startswith("apis/") and path.count("/") == 1 and path[5:] in {g for g, _ in BY_PLURAL}:
            return discovery.group(path[5:])
        return discovery.resources(path)

    async def answer(self, request):
        path = request.path.strip("/")
        if path in ("healthz", "livez", "readyz"):
            return web.Response(text="ok")
        found = self.meta(path) if request.method == "GET" else None
        if found:
            return reply(found)
        target = (
            Target(path)
            if path.startswith(("api/v1/", "apis/")) and path.count("/") > 1 + path.startswith("apis/")
            else None
        )
        if not target or not target.kind:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        if target.sub in ("log", "exec") and target.kind is PODS:
            pod = self.store.get(PODS, target.namespace, target.name)
            return await (logs if target.sub == "log" else exec_)(request, self.kubelet, pod)
        if target.sub and target.sub not in target.kind.subresources:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        verb = getattr(self, request.method.lower(), None)
        if not verb:
            raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        return await verb(request, target)

    def show(self, request, kind, objects, event=None):
        """Objects as the client asked for them: as a table or as they are."""
        if "as=Table" in request.headers.get("Accept", ""):
            return table(kind, objects, str(self.store.version))
        if event:
            return objects[0]
        meta = {"resourceVersion": str(self.store.version)}
        return {"kind": kind.kind + "List", "apiVersion": kind.api_version, "metadata": meta, "items": objects}

    async def get(self, request, target):
        query = request.query
        if target.name:
            obj = self.store.get(target.kind, target.namespace, target.name)
            if target.sub == "scale":
                return reply(scale(obj))
            return reply(self.show(request, target.kind, [obj], "GET"))
        if query.get("watch") in ("true", "1"):
            return await watch(
                self.store, request, target, lambda event, obj: self.show(request, target.kind, [obj], event)
            )
        found = self.store.list(target.kind, target.namespace, query.get("labelSelector"), query.get("fieldSelector"))
        return reply(self.show(request, target.kind, found))

    async def body(self, request):
        if request.content_type == "application/vnd.kubernetes.protobuf":
            return protobuf.parse(await request.read())
        text = await request.text()
        try:
            return json.loads(text) if text else {}
        except json.JSONDecodeError:
            return yaml.safe_load(text)

    async def post(self, request, target):
        obj = await self.body(request)
        if obj.get("kind") not in (None, target.kind.kind) or obj.get("apiVersion") not in (
            None,
            target.kind.api_version,
        ):
            raise ApiError(
                400,
                "BadRequest",
                f"{obj.get('apiVersion')}, Kind={obj.get('kind')} cannot be handled as a {target.kind.kind}",
            )
        schema.check(target.kind, obj, strict(request))
        return reply(self.store.create(target.kind, obj, target.namespace, dry="dryRun" in request.query), 201)

    async def put(self, request, target):
        sent = await self.body(request)
        return self.changed(request, target, lambda _: sent)

    async def patch(self, request, target):
        patch, how = await self.body(request), request.content_type
        if how == "application/apply-patch+yaml":
            return self.apply(request, target, patch)
        merge = MERGES.get(how)
        if not merge or merge is patches.strategic and target.kind.group == "monitoring.coreos.com":
            raise ApiError(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {how}")
        return self.changed(request, target, lambda obj: merge(obj, patch))

    def apply(self, request, target, wanted):
        """Server-side apply. Conflicts between managers are not looked for: the last one wins."""
        dry = "dryRun" in request.query
        manager = request.query.get("fieldManager", "unknown")
        wanted.get("metadata", {}).pop("managedFields", None)
        live = self.store.find(target.kind, target.namespace, target.name)
        if live:
            before = self.store.applied.get(live["metadata"]["uid"], {}).get(manager, {})
            answer = self.changed(request, target, lambda obj: patches.apply(obj, before, wanted))
        else:
            schema.check(target.kind, wanted, strict(request))
            live = self.store.create(target.kind, wanted, target.namespace, dry)
            answer = reply(live, 201)
        if not dry:
            self.store.applied.setdefault(live["metadata"]["uid"], {})[manager] = wanted
        return answer

    def changed(self, request, target, change):
        kind, dry = target.kind, "dryRun" in request.query
        if target.sub == "scale":

            def rescale(obj):
                obj["spec"]["replicas"] = change(scale(obj))["spec"]["replicas"]
                return obj

            return reply(scale(self.store.update(kind, target.namespace, target.name, rescale, dry=dry)))

        def checked(obj):
            new = change(obj)
            schema.check(kind, new, strict(request))
            return new

        return reply(self.store.update(kind, target.namespace, target.name, checked, target.sub == "status", dry))

    async def delete(self, request, target):
        options, query, kind = await self.body(request), request.query, target.kind
        policy = options.get("propagationPolicy") or query.get("propagationPolicy") or "Background"
        if options.get("orphanDependents"):
            policy = "Orphan"
        grace = options.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
        uid = (options.get("preconditions") or {}).get("uid")
        rest = (policy, None if grace is None else int(grace), uid, "dryRun" in query or bool(options.get("dryRun")))
        if target.name:
            obj = self.store.delete(kind, target.namespace, target.name, *rest)
            if self.store.find(kind, target.namespace, target.name):
                return reply(obj)
            details = {"name": target.name, "group": kind.group, "kind": kind.plural, "uid": obj["metadata"]["uid"]}
            return reply(
                {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
            )
        if kind is NAMESPACES:
            raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        found = self.store.list(kind, target.namespace, query.get("labelSelector"), query.get("fieldSelector"))
        for obj in found:
            if self.store.find(kind, obj["metadata"]["namespace"], obj["metadata"]["name"]):
                self.store.delete(kind, obj["metadata"]["namespace"], obj["metadata"]["name"], *rest)
        return reply(self.show(request, kind, found))


def scale(obj):
    selector = ",".join(f"{k}={v}" for k, v in (obj["spec"].get("selector", {}).get("matchLabels") or {}).items())
    fields = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {f: obj["metadata"][f] for f in fields},
        "spec": {"replicas": obj["spec"]["replicas"]},
        "status": {"replicas": obj["spec"]["replicas"], "selector": selector},
    }
