"""Holds rendered manifests (YAML on standard input) to the schemas of Kubernetes versions, every pod in them to the
restricted Pod Security Standard, and names to their limits. Prints what is wrong, one problem a line.

Usage: manifests.py VERSION…
"""

import re
import sys

import kubernetes_validate
import yaml

# https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
# kinds that are not Kubernetes' own, and have no schema there
FOREIGN = {"PrometheusRule"}
# https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/: the controller adds 11 characters
LONGEST = {"CronJob": 52, "Job": 63}


def pods(document):
    """The pod templates of a document."""
    spec = document.get("spec", {})
    if document["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return [spec["template"]] if "template" in spec else []


def unrestricted(pod):
    """What the restricted standard forbids."""
    spec = pod["spec"]
    of_pod = spec.get("securityContext", {})
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield name
    if of_pod.get("sysctls"):
        yield "sysctls"
    for volume in spec.get("volumes", []):
        kinds = set(volume) - {"name"}
        if len(kinds) != 1 or not kinds <= VOLUMES:
            yield f"volume {volume['name']} is {', '.join(sorted(kinds))}"
    for container in spec.get("initContainers", []) + spec["containers"]:
        own = container.get("securityContext", {})
        both = {**of_pod, **own}
        wrong = {
            "privileged": own.get("privileged", False),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation", True),
            "runAsNonRoot": not both.get("runAsNonRoot"),
            "runAsUser": both.get("runAsUser") == 0,
            "capabilities.drop": "ALL" not in own.get("capabilities", {}).get("drop", []),
            "capabilities.add": set(own.get("capabilities", {}).get("add", [])) - {"NET_BIND_SERVICE"},
            "seccompProfile": both.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"),
            "procMount": own.get("procMount", "Default") != "Default",
            "hostPort": any(port.get("hostPort") for port in container.get("ports", [])),
            # beyond the standard: what this chart promises
            "readOnlyRootFilesystem": not own.get("readOnlyRootFilesystem"),
            "resources.limits": not container.get("resources", {}).get("limits"),
        }
        yield from (f"container {container['name']}: {name}" for name, is_wrong in wrong.items() if is_wrong)


def unmounted(pod):
    """Mounts without a volume, and volumes that nobody mounts."""
    spec = pod["spec"]
    volumes = [volume["name"] for volume in spec.get("volumes", [])]
    mounts = [mount["name"] for c in spec.get("initContainers", []) + spec["containers"] for mount in c["volumeMounts"]]
    yield from (f"two volumes are called {name}" for name in set(volumes) if volumes.count(name) > 1)
    yield from (f"{name} is mounted, and no volume" for name in set(mounts) - set(volumes))
    yield from (f"the volume {name} is mounted nowhere" for name in set(volumes) - set(mounts))
    for container in spec.get("initContainers", []) + spec["containers"]:
        names = [variable["name"] for variable in container["env"]]
        yield from (f"{name} is set twice" for name in set(names) if names.count(name) > 1)


def problems(document, versions):
    name = document["metadata"]["name"]
    if len(name) > LONGEST.get(document["kind"], 253) or not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name):
        yield f"the name {name} has {len(name)} characters"
    for key, value in document["metadata"].get("labels", {}).items():
        if not re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", value):
            yield f"the label {key} is {value}"
    if any(key.startswith("helm.sh/hook") for key in document["metadata"].get("annotations", {})):
        yield "it is a hook"
    if document["kind"] not in FOREIGN:
        for version in versions:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}"
    for pod in pods(document):
        yield from unrestricted(pod)
        yield from unmounted(pod)


def main():
    documents = [document for document in yaml.safe_load_all(sys.stdin) if document]
    named = [(document["kind"], document["metadata"]["name"]) for document in documents]
    found = [f"{kind} {name}: there are two" for kind, name in set(named) if named.count((kind, name)) > 1]
    for document, (kind, name) in zip(documents, named):
        found += [f"{kind} {name}: {problem}" for problem in problems(document, sys.argv[1:])]
    print(f"{len(documents)} documents, {sum(len(pods(document)) for document in documents)} pods")
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(bool(found))


main()
