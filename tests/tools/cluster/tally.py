"""What a Job's pods have come to, and what its failure policy makes of that."""

import time

from .rules import INDEX

RETRY = 0.2


def intervals(indexes):
    """`{0, 1, 2, 5}` as the API writes it: `0-2,5`."""
    spans = []
    for i in sorted(indexes):
        if spans and spans[-1][1] == i - 1:
            spans[-1][1] = i
        else:
            spans.append([i, i])
    return ",".join(str(a) if a == b else f"{a},{b}" if b == a + 1 else f"{a}-{b}" for a, b in spans)


class Tally:
    """What has become of a Job's pods, those included that have been deleted since."""

    def __init__(self):
        self.counted, self.succeeded, self.failed = set(), 0, 0
        self.done, self.broken, self.failures = set(), set(), {}
        self.not_before = 0.0

    def count(self, job, pod, gone):
        """Adds a pod that has ended, once; returns why the Job fails for it, if a rule says so."""
        uid, phase = pod["metadata"]["uid"], pod["status"].get("phase")
        if uid in self.counted or phase not in ("Succeeded", "Failed") and not gone:
            return None
        self.counted.add(uid)
        index = index_of(pod)
        if phase == "Succeeded":
            self.succeeded += 1
            self.done.add(index)
            return None
        rule, message = policy(job, pod)
        if rule == "Ignore":
            return None
        self.failed += 1
        self.failures[index] = self.failures.get(index, 0) + 1
        most = job["spec"].get("backoffLimitPerIndex")
        if rule == "FailIndex" or most is not None and self.failures[index] > most:
            self.broken.add(index)
        self.not_before = time.monotonic() + RETRY
        return message if rule == "FailJob" else None


def index_of(pod):
    return (pod["metadata"].get("annotations") or {}).get(INDEX)


def policy(job, pod):
    """The action of the first rule of the podFailurePolicy that a failed pod meets, and the message about it."""
    status, title = pod["status"], f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    states = status.get("initContainerStatuses", []) + status.get("containerStatuses", [])
    for at, rule in enumerate((job["spec"].get("podFailurePolicy") or {}).get("rules", [])):
        action = rule["action"]
        end, codes = f"matching {action} rule at index {at}", rule.get("onExitCodes")
        for state in states if codes else []:
            code = (state["state"].get("terminated") or {}).get("exitCode", 0)
            named = codes.get("containerName") in (None, state["name"])
            if code and named and (code in codes["values"]) == (codes["operator"] == "In"):
                return action, f"Container {state['name']} for pod {title} failed with exit code {code} {end}"
        for wanted in rule.get("onPodConditions") or []:
            same = (wanted["type"], wanted.get("status", "True"))
            if any((c["type"], c["status"]) == same for c in status.get("conditions", [])):
                return action, f"Pod {title} has condition {wanted['type']} {end}"
    return "Count", None
