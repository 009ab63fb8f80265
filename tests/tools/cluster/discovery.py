"""What clients read first: versions, resources, and an OpenAPI document that says just enough.

kubectl looks in the OpenAPI document whether the server validates fields (it need not then do so
itself) and how lists merge, Helm and kubectl look up resource names. No schema is given: clients
then use the ones built into them.
"""

from .kinds import KINDS

VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
LISTED_BY_ALL = ("Pod", "Service", "Deployment", "ReplicaSet", "StatefulSet", "CronJob", "Job")


def group_version(kind):
    return f"apis/{kind.group}/{kind.version}" if kind.group else "api/v1"


def group(name):
    versions = sorted({k.version for k in KINDS if k.group == name})
    known = [{"groupVersion": f"{name}/{v}", "version": v} for v in versions]
    return {"kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": known, "preferredVersion": known[0]}


def groups():
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [group(g) for g in sorted({k.group for k in KINDS} - {""})],
    }


def resources(path):
    found = []
    for kind in KINDS:
        if group_version(kind) != path:
            continue
        entry = {
            "name": kind.plural,
            "singularName": kind.kind.lower(),
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": VERBS,
        }
        if kind.short:
            entry["shortNames"] = list(kind.short)
        if kind.kind in LISTED_BY_ALL:
            entry["categories"] = ["all"]
        found.append(entry)
        for sub in kind.subresources:
            entry = {
                "name": f"{kind.plural}/{sub}",
                "singularName": "",
                "namespaced": kind.namespaced,
                "kind": kind.kind,
                "verbs": ["get", "patch", "update"],
            }
            if sub == "scale":
                entry.update(group="autoscaling", version="v1", kind="Scale")
            if sub == "exec":
                entry.update(kind="PodExecOptions", verbs=["create", "get"])
            found.append(entry)
    if not found:
        return None
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": path.split("/", 1)[1], "resources": found}


def openapi_index():
    return {
        "paths": {
            p: {"serverRelativeURL": f"/openapi/v3/{p}?hash=0"} for p in sorted({group_version(k) for k in KINDS})
        }
    }


def openapi(path):
    parameter = {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}
    document = {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1"},
        "paths": {},
        "components": {"schemas": {}},
    }
    for kind in KINDS:
        if group_version(kind) == path:
            gvk = {"group": kind.group, "kind": kind.kind, "version": kind.version}
            patch = {"x-kubernetes-group-version-kind": gvk, "parameters": [parameter], "responses": {}}
            home = "/namespaces/{namespace}" if kind.namespaced else ""
            document["paths"][f"/{path}{home}/{kind.plural}/{{name}}"] = {"patch": patch}
    return document


def version(text):
    major, minor = text.lstrip("v").split(".")[:2]
    return {
        "major": major,
        "minor": minor,
        "gitVersion": text,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "2025-01-01T00:00:00Z",
        "goVersion": "go1.24",
        "compiler": "gc",
        "platform": "linux/amd64",
    }
