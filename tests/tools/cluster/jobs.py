"""The Job controller: makes the pods of Jobs and draws a Job's end from theirs."""

import asyncio
import copy
import datetime
import time

from . import rules
from .errors import ApiError
from .kinds import CRONJOBS, JOBS, PODS
from .objects import now, owned_by, suffix
from .tally import Tally, index_of, intervals


def seconds_since(text):
    return (datetime.datetime.now(datetime.timezone.utc) - datetime.datetime.fromisoformat(text)).total_seconds()


def finished(job):
    return any(
        c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in job["status"].get("conditions", [])
    )


class Controller:
    def __init__(self, store):
        self.store, self.tallies = store, {}
        store.listeners.append(self.notice)

    def notice(self, event, kind, obj):
        if kind is JOBS:
            if event == "DELETED":
                self.tallies.pop(obj["metadata"]["uid"], None)
            else:
                self.later(0, obj)
        elif kind is PODS:
            for ref in obj["metadata"].get("ownerReferences") or []:
                job = self.store.find(JOBS, obj["metadata"]["namespace"], ref["name"])
                if ref["kind"] == "Job" and job and job["metadata"]["uid"] == ref["uid"]:
                    if event == "DELETED":
                        self.tallies.setdefault(ref["uid"], Tally()).count(job, obj, gone=True)
                    self.later(0, job)

    def later(self, delay, job):
        meta = job["metadata"]
        asyncio.get_running_loop().call_later(delay, self.sync, meta["namespace"], meta["name"], meta["uid"])

    def sync(self, namespace, name, uid):
        job = self.store.find(JOBS, namespace, name)
        if not job or job["metadata"]["uid"] != uid or finished(job) or job["metadata"].get("deletionTimestamp"):
            return
        spec, status = job["spec"], job["status"]
        tally = self.tallies.setdefault(uid, Tally())
        pods = [p for p in self.store.list(PODS, namespace) if owned_by(p, uid)]
        fatal = next(filter(None, [tally.count(job, p, gone=False) for p in pods]), None)
        live = [p for p in pods if p["status"].get("phase") not in ("Succeeded", "Failed")]
        active = [p for p in live if not p["metadata"].get("deletionTimestamp")]
        failing = next((c for c in status.get("conditions", []) if c["type"] == "FailureTarget"), None)
        if not status.get("startTime"):
            job = self.store.set_status(job, startTime=now())
            if spec.get("activeDeadlineSeconds") is not None:
                self.later(spec["activeDeadlineSeconds"] + 0.05, job)
        if not failing:
            reason = ("PodFailurePolicy", fatal) if fatal else self.failure(job, tally)
            failing = reason and condition("FailureTarget", *reason)
        if failing:
            self.remove(active)
            others = [failing] if live else [failing, {**failing, "type": "Failed"}]
            self.write(job, tally, [], conditions=others)
            if not live:
                self.ended(job)
            return
        if self.complete(job, tally):
            self.remove(active)
            why = {"reason": "CompletionsReached", "message": "Reached expected number of succeeded pods"}
            both = [condition("SuccessCriteriaMet", **why), condition("Complete", **why)]
            self.write(job, tally, [], conditions=both, completionTime=now())
            self.ended(job)
            return
        occupied = live if spec["podReplacementPolicy"] == "Failed" else active
        active += self.start(job, tally, occupied)
        self.write(job, tally, active)

    def failure(self, job, tally):
        spec = job["spec"]
        limit, deadline = spec["backoffLimit"], spec.get("activeDeadlineSeconds")
        if tally.failed > limit:
            return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        if deadline is not None and seconds_since(job["status"]["startTime"]) >= deadline:
            return "DeadlineExceeded", "Job was active longer than specified deadline"
        if tally.broken and len(tally.broken | tally.done) >= spec["completions"]:
            return "FailedIndexes", "Job has failed indexes"
        return None

    @staticmethod
    def complete(job, tally):
        spec = job["spec"]
        if spec["completionMode"] == "Indexed":
            return len(tally.done) >= spec["completions"]
        return tally.succeeded >= spec["completions"]

    def start(self, job, tally, occupied):
        """The pods that may run now, within the parallelism and not sooner than the delay after a failure."""
        spec = job["spec"]
        room = spec["parallelism"] - len(occupied)
        if spec["completionMode"] == "Indexed":
            taken = tally.done | tally.broken | {index_of(p) for p in occupied}
            wanted = [i for i in range(spec["completions"]) if str(i) not in taken]
        else:
            wanted = [None] * (spec["completions"] - tally.succeeded - len(occupied))
        wanted = wanted[: max(0, room)]
        wait = tally.not_before - time.monotonic()
        if wanted and wait > 0:
            self.later(wait + 0.01, job)
            return []
        return [pod for pod in (self.pod(job, index) for index in wanted) if pod]

    def pod(self, job, index):
        meta, template = job["metadata"], job["spec"]["template"]
        if index is not None:
            template = rules.indexed(template, meta["name"], index)
        middle = "" if index is None else f"-{index}"
        owner = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": meta["name"],
            "uid": meta["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
        own = {k: v for k, v in template.get("metadata", {}).items() if k in ("labels", "annotations")}
        name = f"{meta['name']}{middle}"[:57] + "-" + suffix()
        pod = {"metadata": {**own, "name": name, "ownerReferences": [owner]}, "spec": copy.deepcopy(template["spec"])}
        try:
            return self.store.create(PODS, pod, meta["namespace"])
        except ApiError as error:
            self.store.warn(job, "FailedCreate", f"Error creating: {error.message}")
            self.later(1, job)
            return None

    def remove(self, pods):
        for pod in pods:
            if self.store.find(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"]):
                self.store.delete(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])

    def write(self, job, tally, active, **fields):
        pods = [self.store.find(PODS, p["metadata"]["namespace"], p["metadata"]["name"]) for p in active]
        ready = sum(1 for p in pods if p and any(s.get("ready") for s in p["status"].get("containerStatuses", [])))
        done = {int(i) for i in tally.done - {None}}
        self.store.set_status(
            job,
            active=len(active) or None,
            ready=ready,
            succeeded=tally.succeeded or None,
            failed=tally.failed or None,
            terminating=0,
            completedIndexes=intervals(done) or None,
            failedIndexes=intervals({int(i) for i in tally.broken})
            if job["spec"].get("backoffLimitPerIndex") is not None
            else None,
            **fields,
        )

    def ended(self, job):
        """What follows from a Job's end: its CronJob's status, and its own removal if that is asked for."""
        meta = job["metadata"]
        job = self.store.find(JOBS, meta["namespace"], meta["name"])
        for ref in meta.get("ownerReferences") or []:
            cron = self.store.find(CRONJOBS, meta["namespace"], ref["name"])
            if (
                ref["kind"] == "CronJob"
                and cron
                and cron["metadata"]["uid"] == ref["uid"]
                and job["status"].get("completionTime")
            ):
                self.store.set_status(cron, lastSuccessfulTime=job["status"]["completionTime"])
        if job["spec"].get("ttlSecondsAfterFinished") is not None:
            asyncio.get_running_loop().call_later(job["spec"]["ttlSecondsAfterFinished"], self.expire, meta)

    def expire(self, meta):
        job = self.store.find(JOBS, meta["namespace"], meta["name"])
        if job and job["metadata"]["uid"] == meta["uid"]:
            self.store.delete(JOBS, meta["namespace"], meta["name"])


def condition(kind, reason, message):
    return {
        "type": kind,
        "status": "True",
        "reason": reason,
        "message": message,
        "lastProbeTime": now(),
        "lastTransitionTime": now(),
    }
