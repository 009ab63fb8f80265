"""The tables that `kubectl get` prints."""

import datetime


def age(obj, since=None, until=None):
    start = since or obj["metadata"].get("creationTimestamp")
    if not start:
        return "<unknown>"
    end = datetime.datetime.fromisoformat(until) if until else datetime.datetime.now(datetime.timezone.utc)
    seconds = max(0, int((end - datetime.datetime.fromisoformat(start)).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def pod(obj):
    status = obj.get("status", {})
    states = status.get("containerStatuses", [])
    ready = f"{sum(bool(s.get('ready')) for s in states)}/{len(obj['spec']['containers'])}"
    word = {"Succeeded": "Completed", "Failed": "Error"}.get(status.get("phase"), status.get("phase"))
    for state in status.get("initContainerStatuses", []) + states:
        kind = "terminated" if status.get("phase") == "Failed" else "waiting"
        word = (state["state"].get(kind) or {}).get("reason") or word
    word = "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("reason") or word
    return [ready, word, sum(s.get("restartCount", 0) for s in states), age(obj)]


def job(obj):
    status = obj.get("status", {})
    true = [c["type"] for c in status.get("conditions", []) if c["status"] == "True"]
    word = next((t for t in ("Complete", "Failed", "FailureTarget") if t in true), "Running")
    wanted = obj["spec"].get("completions") or f"1 of {obj['spec'].get('parallelism', 1)}"
    lasted = age(obj, status["startTime"], status.get("completionTime")) if status.get("startTime") else ""
    return [word, f"{status.get('succeeded', 0)}/{wanted}", lasted, age(obj)]


def cronjob(obj):
    spec, status = obj["spec"], obj.get("status", {})
    last = age(obj, status["lastScheduleTime"]) if status.get("lastScheduleTime") else "<none>"
    return [
        spec["schedule"],
        spec.get("timeZone") or "<none>",
        str(spec.get("suspend", False)),
        len(status.get("active", [])),
        last,
        age(obj),
    ]


def claim(obj):
    spec, status = obj["spec"], obj.get("status", {})
    modes = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
    short = ",".join(modes.get(m, m) for m in spec.get("accessModes", []))
    phase = "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("phase")
    return [
        phase,
        spec.get("volumeName", ""),
        status.get("capacity", {}).get("storage", ""),
        short,
        spec.get("storageClassName", ""),
        age(obj),
    ]


def workload(obj):
    count = obj["spec"]["replicas"]
    return [f"{count}/{count}", count, count, age(obj)]


COLUMNS = {
    "Pod": (pod, ["Ready", "Status", "Restarts", "Age"]),
    "Job": (job, ["Status", "Completions", "Duration", "Age"]),
    "CronJob": (cronjob, ["Schedule", "Timezone", "Suspend", "Active", "Last Schedule", "Age"]),
    "PersistentVolumeClaim": (claim, ["Status", "Volume", "Capacity", "Access Modes", "StorageClass", "Age"]),
    "Deployment": (workload, ["Ready", "Up-to-date", "Available", "Age"]),
    "StatefulSet": (lambda o: [workload(o)[0], age(o)], ["Ready", "Age"]),
    "Namespace": (lambda o: [o["status"]["phase"], age(o)], ["Status", "Age"]),
    "Secret": (lambda o: [o.get("type"), len(o.get("data") or {}), age(o)], ["Type", "Data", "Age"]),
    "ConfigMap": (lambda o: [len(o.get("data") or {}), age(o)], ["Data", "Age"]),
}


def table(kind, objects, version):
    row, names = COLUMNS.get(kind.kind, (lambda o: [age(o)], ["Age"]))
    columns = [
        {"name": n, "type": "string", "format": "name" if n == "Name" else "", "description": "", "priority": 0}
        for n in ["Name", *names]
    ]
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
    rows = [
        {"cells": [o["metadata"]["name"], *row(o)], "object": {**partial, "metadata": o["metadata"]}} for o in objects
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version},
        "columnDefinitions": columns,
        "rows": rows,
    }
