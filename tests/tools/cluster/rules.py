"""Defaults, validity and what may not change: the part of the real API's rules that charts and runbooks meet."""

import base64
import copy
import re

from .errors import ApiError, invalid

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LONGEST = {"CronJob": 52, "Namespace": 63, "Job": 63, "StatefulSet": 63}
UID, NAME, INDEX = (
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "batch.kubernetes.io/job-completion-index",
)


def without_nulls(value):
    """The API server reads a null as a field that is not there."""
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value


def check_name(kind, meta):
    name = meta.get("name") or ""
    if not name:
        raise invalid(kind, "", "metadata.name", "Required value: name or generateName is required")
    if not LABEL.fullmatch(name):
        raise invalid(
            kind,
            name,
            "metadata.name",
            f'Invalid value: "{name}": a lowercase RFC 1123 subdomain is needed',
        )
    most = LONGEST.get(kind.kind, 253)
    if len(name) > most:
        raise invalid(kind, name, "metadata.name", f'Invalid value: "{name}": must be no more than {most} characters')


def default_pod(spec):
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("securityContext", {})
    for container in [*spec.get("initContainers", []), *spec.get("containers", [])]:
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        container.setdefault("resources", {})


def default_job(spec):
    for field, value in (("completions", 1), ("parallelism", 1), ("completionMode", "NonIndexed"), ("suspend", False)):
        spec.setdefault(field, value)
    spec.setdefault("backoffLimit", 6 if spec.get("backoffLimitPerIndex") is None else 2147483647)
    spec.setdefault("podReplacementPolicy", "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed")
    default_pod(spec.setdefault("template", {}).setdefault("spec", {}))


def default(kind, obj):
    spec, meta = obj.get("spec") or {}, obj["metadata"]
    if kind.kind == "Secret":
        obj.setdefault("type", "Opaque")
        for key, text in (obj.pop("stringData", None) or {}).items():
            obj["data"] = {**(obj.get("data") or {}), key: base64.b64encode(text.encode()).decode()}
    elif kind.kind == "Namespace":
        obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
        obj.setdefault("status", {"phase": "Active"})
        meta.setdefault("labels", {})["kubernetes.io/metadata.name"] = meta["name"]
    elif kind.kind == "Job":
        default_job(spec)
        labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
        if not spec.get("selector"):
            spec["selector"] = {"matchLabels": {UID: meta["uid"]}}
            labels.update(
                {UID: meta["uid"], "controller-uid": meta["uid"], NAME: meta["name"], "job-name": meta["name"]}
            )
        obj.setdefault("status", {})
    elif kind.kind == "CronJob":
        for field, value in (
            ("concurrencyPolicy", "Allow"),
            ("suspend", False),
            ("successfulJobsHistoryLimit", 3),
            ("failedJobsHistoryLimit", 1),
        ):
            spec.setdefault(field, value)
        default_pod(
            spec.setdefault("jobTemplate", {}).setdefault("spec", {}).setdefault("template", {}).setdefault("spec", {})
        )
        obj.setdefault("status", {})
    elif kind.kind == "Pod":
        default_pod(spec)
        spec.setdefault("serviceAccountName", "default")
        obj.setdefault("status", {"phase": "Pending"})
    elif kind.kind == "PersistentVolumeClaim":
        spec.setdefault("volumeMode", "Filesystem")
        spec.setdefault("storageClassName", "standard")
        spec.setdefault("volumeName", "pvc-" + meta["uid"])
        size = (spec.get("resources") or {}).get("requests") or {}
        obj["status"] = {"phase": "Bound", "accessModes": spec.get("accessModes", []), "capacity": dict(size)}
    elif kind.kind in ("Deployment", "StatefulSet"):
        spec.setdefault("replicas", 1)
        default_pod(spec.setdefault("template", {}).setdefault("spec", {}))
        follow(kind, obj)


def follow(kind, obj):
    """Deployments and StatefulSets have no pods here: their status just says that all is as asked for."""
    if kind.kind not in ("Deployment", "StatefulSet"):
        return
    count, generation = obj["spec"]["replicas"], obj["metadata"].get("generation", 1)
    obj["status"] = {"observedGeneration": generation}
    for field in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"):
        obj["status"][field] = count
    if kind.kind == "StatefulSet":
        obj["status"].update(currentReplicas=count, currentRevision="1", updateRevision="1")
    else:
        obj["status"]["conditions"] = [
            {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
        ]


def pod_template(kind, obj):
    """The pod spec inside an object, with its path."""
    spec = obj.get("spec") or {}
    if kind.kind == "Pod":
        return "spec", spec
    if kind.kind == "CronJob":
        return "spec.jobTemplate.spec.template.spec", spec["jobTemplate"]["spec"]["template"]["spec"]
    if kind.kind in ("Job", "Deployment", "StatefulSet"):
        return "spec.template.spec", spec["template"]["spec"]
    return None, None


def validate(kind, obj):
    name = obj["metadata"]["name"]
    path, pod = pod_template(kind, obj)
    if kind.kind == "Secret":
        for key, value in (obj.get("data") or {}).items():
            try:
                base64.b64decode(value or "", validate=True)
            except (ValueError, TypeError):
                raise ApiError(
                    400,
                    "BadRequest",
                    f'Secret in version "v1" cannot be handled as a Secret: illegal base64 data in data.{key}',
                ) from None
    if kind.kind == "CronJob" and not (obj.get("spec") or {}).get("schedule"):
        raise invalid(kind, name, "spec.schedule", "Required value")
    if not path:
        return
    spec = obj.get("spec") or {}
    if kind.kind == "Job" and spec.get("completionMode") == "Indexed":
        last = f"{name}-{spec['completions'] - 1}"
        if len(last) > 63 or "." in last:
            raise invalid(kind, name, "metadata.name", f'Invalid value: "{last}": must be a DNS label as a hostname')
    if not pod.get("containers"):
        raise invalid(kind, name, f"{path}.containers", "Required value")
    if kind.kind in ("Job", "CronJob") and pod["restartPolicy"] == "Always":
        raise invalid(kind, name, f"{path}.restartPolicy", 'Required value: valid values: "OnFailure", "Never"')
    if len(pod.get("hostname") or "") > 63:
        raise invalid(kind, name, f"{path}.hostname", "Invalid value: must be no more than 63 characters")
    volumes, names = {v["name"] for v in pod.get("volumes") or []}, set()
    for field in ("initContainers", "containers"):
        for i, container in enumerate(pod.get(field) or []):
            where = f"{path}.{field}[{i}]"
            if not container.get("name") or container["name"] in names:
                raise invalid(
                    kind, name, f"{where}.name", "Duplicate value" if container.get("name") else "Required value"
                )
            if not container.get("image"):
                raise invalid(kind, name, f"{where}.image", "Required value")
            names.add(container["name"])
            seen = set()
            for j, mount in enumerate(container.get("volumeMounts") or []):
                if mount["name"] not in volumes:
                    raise invalid(kind, name, f"{where}.volumeMounts[{j}].name", f'Not found: "{mount["name"]}"')
                if mount["mountPath"] in seen:
                    raise invalid(
                        kind,
                        name,
                        f"{where}.volumeMounts[{j}].mountPath",
                        f'Invalid value: "{mount["mountPath"]}": must be unique',
                    )
                seen.add(mount["mountPath"])


FIXED = {
    "Job": ("template", "selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex"),
    "PersistentVolumeClaim": ("accessModes", "storageClassName", "volumeMode", "volumeName", "selector", "dataSource"),
    "Deployment": ("selector",),
    "StatefulSet": ("selector", "serviceName", "volumeClaimTemplates", "podManagementPolicy"),
    "Pod": ("containers", "initContainers", "volumes", "restartPolicy", "securityContext"),
}


def check_update(kind, old, new):
    name = new["metadata"]["name"]
    was, wants = old.get("spec") or {}, new.get("spec") or {}
    for field in FIXED.get(kind.kind, ()):
        if was.get(field) != wants.get(field):
            raise invalid(kind, name, f"spec.{field}", "Invalid value: field is immutable")
    if (
        kind.kind == "Job"
        and was.get("completions") != wants.get("completions")
        and was.get("completionMode") != "Indexed"
    ):
        raise invalid(kind, name, "spec.completions", "Invalid value: field is immutable")
    if old.get("immutable") and any(old.get(f) != new.get(f) for f in ("data", "binaryData", "immutable")):
        raise invalid(kind, name, "data", "Forbidden: field is immutable when `immutable` is set")
    if kind.kind == "Secret" and old.get("type") != new.get("type"):
        raise invalid(kind, name, "type", "Invalid value: field is immutable")


def indexed(template, job, index):
    """The pod template of one index of an Indexed job, as the job controller makes it."""
    template = copy.deepcopy(template)
    meta, spec = template.setdefault("metadata", {}), template["spec"]
    meta.setdefault("labels", {})[INDEX] = str(index)
    meta.setdefault("annotations", {})[INDEX] = str(index)
    spec.setdefault("hostname", f"{job}-{index}")
    source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{INDEX}']"}}
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        container.setdefault("env", []).append({"name": "JOB_COMPLETION_INDEX", "valueFrom": source})
    return template
