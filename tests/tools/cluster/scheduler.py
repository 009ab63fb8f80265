"""The scheduler: which node a pod runs on, or why there is none."""

import collections

from .kinds import PODS, PVCS
from .selection import matches

HOST = "kubernetes.io/hostname"


class Unschedulable(Exception):
    """No node can take the pod; the message is that of its condition."""


class Scheduler:
    """Nodes have their name as label and no limits; of those that can take a pod, the one with the fewest gets it."""

    def __init__(self, store, count):
        self.store, self.nodes = store, [f"node-{n + 1}" for n in range(count)]

    def place(self, pod):
        start = f"0/{len(self.nodes)} nodes are available: "
        for volume in pod["spec"].get("volumes") or []:
            claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
            if claim and not self.store.find(PVCS, pod["metadata"]["namespace"], claim):
                raise Unschedulable(f'{start}persistentvolumeclaim "{claim}" not found.')
        placed = [
            p
            for p in self.store.list(PODS)
            if p["spec"].get("nodeName") and p["status"]["phase"] not in ("Succeeded", "Failed")
        ]
        refusals = {node: refusal(node, pod, placed) for node in self.nodes}
        fit = [node for node in self.nodes if not refusals[node]]
        if not fit:
            counts = collections.Counter(refusals.values())
            raise Unschedulable(start + ", ".join(f"{n} node(s) {why}" for why, n in counts.items()) + ".")
        return min(fit, key=lambda node: sum(p["spec"]["nodeName"] == node for p in placed))


def refusal(node, pod, placed):
    spec = pod["spec"]
    if any(value != {HOST: node}.get(label) for label, value in (spec.get("nodeSelector") or {}).items()):
        return "didn't match Pod's node affinity/selector"
    affinity = (spec.get("affinity") or {}).get("podAffinity") or {}
    for term in affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or []:
        selector = ",".join(f"{k}={v}" for k, v in term["labelSelector"]["matchLabels"].items())
        home = pod["metadata"]["namespace"]
        near = {p["spec"]["nodeName"] for p in placed if p["metadata"]["namespace"] == home and matches(p, selector)}
        # the first of its kind may go anywhere
        if term["topologyKey"] != HOST or node not in near and (near or not matches(pod, selector)):
            return "didn't match pod affinity rules"
    return None
