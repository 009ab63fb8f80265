"""The cluster's objects, in memory, under the rules of the API server that its clients lean on."""

import asyncio
import collections
import contextlib
import copy
import datetime
import random
import uuid

from . import rules
from .errors import ApiError, conflict, exists, forbidden, not_found
from .kinds import ACCOUNTS, EVENTS, NAMESPACES, PODS, kind_of
from .selection import matches

FOREGROUND = "foregroundDeletion"


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def suffix():
    """What the API server appends to a generateName."""
    return "".join(random.choices("bcdfghjklmnpqrstvwxz2456789", k=5))


def owned_by(obj, uid):
    return any(ref.get("uid") == uid for ref in obj["metadata"].get("ownerReferences") or [])


class Store:
    """Stored objects are never changed in place: every change stores a new one, so events can share them."""

    def __init__(self):
        self.objects = {}
        self.version = 100
        self.history = collections.deque(maxlen=10000)
        self.queues = set()
        self.listeners = []
        self.held = set()
        self.applied = {}
        for name in ("default", "kube-system"):
            self.create(NAMESPACES, {"metadata": {"name": name}})

    def key(self, kind, namespace, name):
        return kind, namespace if kind.namespaced else "", name

    def find(self, kind, namespace, name):
        return self.objects.get(self.key(kind, namespace, name))

    def get(self, kind, namespace, name):
        obj = self.find(kind, namespace, name)
        if obj is None:
            raise not_found(kind, name)
        return obj

    def list(self, kind, namespace=None, labels="", fields=""):
        return [
            obj
            for (of, ns, _), obj in sorted(self.objects.items(), key=lambda item: item[0][1:])
            if of is kind and namespace in (None, "", ns) and matches(obj, labels, fields)
        ]

    def subscribe(self, since=None):
        """A queue of (type, kind, object) from after the given version on."""
        queue = asyncio.Queue()
        for version, event in self.history:
            if since is not None and version > since:
                queue.put_nowait(event)
        self.queues.add(queue)
        return queue

    def emit(self, event, kind, obj):
        self.history.append((int(obj["metadata"]["resourceVersion"]), (event, kind, obj)))
        for queue in self.queues:
            queue.put_nowait((event, kind, obj))
        for listener in self.listeners:
            listener(event, kind, obj)

    def store(self, event, kind, obj):
        self.version += 1
        meta = obj["metadata"]
        meta["resourceVersion"] = str(self.version)
        key = self.key(kind, meta.get("namespace", ""), meta["name"])
        if event == "DELETED":
            self.objects.pop(key, None)
            self.applied.pop(meta["uid"], None)
        else:
            self.objects[key] = obj
        self.emit(event, kind, obj)

    def create(self, kind, obj, namespace="", dry=False):
        obj = rules.without_nulls(obj)
        obj["apiVersion"], obj["kind"] = kind.api_version, kind.kind
        meta = obj["metadata"] = obj.get("metadata") or {}
        if kind.namespaced:
            if meta.setdefault("namespace", namespace) != namespace:
                raise ApiError(
                    400,
                    "BadRequest",
                    "the namespace of the provided object does not match the namespace sent on the request",
                )
            home = self.get(NAMESPACES, "", namespace)
            if home["metadata"].get("deletionTimestamp"):
                raise forbidden(
                    kind,
                    meta.get("name", ""),
                    f"unable to create new content in namespace {namespace} because it is being terminated",
                )
        else:
            meta.pop("namespace", None)
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = meta["generateName"] + suffix()
        rules.check_name(kind, meta)
        if self.find(kind, namespace, meta["name"]):
            raise exists(kind, meta["name"])
        for field in ("resourceVersion", "deletionTimestamp", "managedFields", "selfLink"):
            meta.pop(field, None)
        meta.update(uid=str(uuid.uuid4()), creationTimestamp=now(), generation=1)
        if "status" in kind.subresources:
            obj.pop("status", None)
        rules.default(kind, obj)
        rules.validate(kind, obj)
        if kind is PODS and not self.find(ACCOUNTS, namespace, obj["spec"]["serviceAccountName"]):
            account = obj["spec"]["serviceAccountName"]
            raise forbidden(
                kind,
                meta["name"],
                f'error looking up service account {namespace}/{account}: serviceaccount "{account}" not found',
            )
        if not dry:
            self.store("ADDED", kind, obj)
            if kind is NAMESPACES:
                self.create(ACCOUNTS, {"metadata": {"name": "default"}}, meta["name"])
        return obj

    def update(self, kind, namespace, name, change, status=False, dry=False):
        """Stores what `change` makes of a copy of the object; with `status`, only its status."""
        old = self.get(kind, namespace, name)
        given = rules.without_nulls(change(copy.deepcopy(old)))
        sent = (given.get("metadata") or {}).get("resourceVersion")
        if sent and sent != old["metadata"]["resourceVersion"]:
            raise conflict(kind, name)
        if status:
            new = copy.deepcopy(old)
            new["status"] = given.get("status") or {}
        else:
            new = given
            if "status" in kind.subresources:
                new.pop("status", None)
                if "status" in old:
                    new["status"] = copy.deepcopy(old["status"])
            self.keep_identity(old, new)
            rules.default(kind, new)
            rules.validate(kind, new)
            rules.check_update(kind, old, new)
            if new.get("spec") != old.get("spec"):
                new["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
            rules.follow(kind, new)
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if new == old or dry:
            return new
        self.store("MODIFIED", kind, new)
        if new["metadata"].get("deletionTimestamp"):
            self.settle(kind, new)
        return new

    @staticmethod
    def keep_identity(old, new):
        meta = new["metadata"] = new.get("metadata") or {}
        new["apiVersion"], new["kind"] = old["apiVersion"], old["kind"]
        meta.pop("managedFields", None)
        for field in (
            "name",
            "namespace",
            "uid",
            "creationTimestamp",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ):
            meta.pop(field, None)
            if field in old["metadata"]:
                meta[field] = old["metadata"][field]

    def set_status(self, obj, **fields):
        """For the controllers: lays `fields` over the status; an object that has gone is no error."""
        kind, meta = kind_of(obj), obj["metadata"]
        found = self.find(kind, meta.get("namespace", ""), meta["name"])
        if not found or found["metadata"]["uid"] != meta["uid"]:
            return obj

        def change(new):
            status = {**new.get("status", {}), **copy.deepcopy(fields)}
            new["status"] = {k: v for k, v in status.items() if v is not None}
            return new

        return self.update(kind, meta.get("namespace", ""), meta["name"], change, status=True)

    def warn(self, obj, reason, message):
        """Writes an event about an object; one that is there already says the same."""
        meta, parts = obj["metadata"], (obj["metadata"]["uid"], reason, message)
        about = {"kind": obj["kind"], **{field: meta[field] for field in ("namespace", "name", "uid")}}
        event = {"involvedObject": about, "type": "Warning", "reason": reason, "message": message}
        name = f"{meta['name']}.{uuid.uuid5(uuid.NAMESPACE_OID, ' '.join(parts)).hex[:16]}"
        with contextlib.suppress(ApiError):
            self.create(EVENTS, {"metadata": {"name": name}, **event}, meta["namespace"])

    def dependents(self, uid):
        return [(k[0], obj) for k, obj in list(self.objects.items()) if owned_by(obj, uid)]

    def contents(self, namespace):
        return [(k[0], obj) for k, obj in list(self.objects.items()) if k[0].namespaced and k[1] == namespace]

    def delete(self, kind, namespace, name, policy="Background", grace=None, uid=None, dry=False):
        obj = copy.deepcopy(self.get(kind, namespace, name))
        meta = obj["metadata"]
        if uid and uid != meta["uid"]:
            raise conflict(kind, name)
        if dry:
            return obj
        first = "deletionTimestamp" not in meta
        if policy == "Orphan":
            for of, child in self.dependents(meta["uid"]):
                self.disown(of, child, meta["uid"])
        if policy == "Foreground" and FOREGROUND not in meta.get("finalizers", []):
            meta["finalizers"] = [*meta.get("finalizers", []), FOREGROUND]
        waits = kind is NAMESPACES or meta.get("finalizers") or meta["uid"] in self.held
        if kind is PODS:
            default = obj["spec"].get("terminationGracePeriodSeconds", 30)
            meta["deletionGracePeriodSeconds"] = default if grace is None else grace
        if waits and (first or grace is not None):
            meta.setdefault("deletionTimestamp", now())
            if kind is NAMESPACES:
                obj["status"] = {"phase": "Terminating"}
            self.store("MODIFIED", kind, obj)
        meta.setdefault("deletionTimestamp", now())
        below = self.contents(name) if kind is NAMESPACES else []
        if policy == "Foreground":
            below += self.dependents(meta["uid"])
        for of, child in below:
            if self.find(of, child["metadata"].get("namespace", ""), child["metadata"]["name"]):
                self.delete(of, child["metadata"].get("namespace", ""), child["metadata"]["name"])
        self.settle(kind, obj)
        return obj

    def disown(self, kind, obj, uid):
        def change(new):
            refs = [r for r in new["metadata"]["ownerReferences"] if r.get("uid") != uid]
            new["metadata"]["ownerReferences"] = refs
            return new

        self.update(kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"], change)

    def settle(self, kind, obj):
        """Removes an object under deletion once nothing holds it any more, and what it owned after it."""
        meta = obj["metadata"]
        live = self.find(kind, meta.get("namespace", ""), meta["name"])
        if not live or live["metadata"]["uid"] != meta["uid"] or meta["uid"] in self.held:
            return
        held = set(meta.get("finalizers") or [])
        if not self.dependents(meta["uid"]):
            held.discard(FOREGROUND)
        if held or kind is NAMESPACES and self.contents(meta["name"]):
            return
        self.store("DELETED", kind, copy.deepcopy(obj))
        for of, child in self.dependents(meta["uid"]):
            others = [r for r in child["metadata"]["ownerReferences"] if r.get("uid") != meta["uid"]]
            if others:
                self.disown(of, child, meta["uid"])
            elif self.find(of, child["metadata"].get("namespace", ""), child["metadata"]["name"]):
                self.delete(of, child["metadata"].get("namespace", ""), child["metadata"]["name"])
        owners = {ref.get("uid") for ref in meta.get("ownerReferences") or []}
        for (of, _, _), other in list(self.objects.items()):
            owner = other["metadata"]["uid"] in owners
            if (owner or of is NAMESPACES and other["metadata"]["name"] == meta.get("namespace")) and other[
                "metadata"
            ].get("deletionTimestamp"):
                self.settle(of, other)

    def hold(self, uid):
        """Keeps a pod until `release`, so that deleting it waits for its containers."""
        self.held.add(uid)

    def release(self, uid):
        self.held.discard(uid)
        for (kind, _, _), obj in list(self.objects.items()):
            if obj["metadata"]["uid"] == uid and obj["metadata"].get("deletionTimestamp"):
                self.settle(kind, obj)
