"""The kinds of objects that the cluster knows."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Kind:
    """A resource as discovery tells of it."""

    group: str
    plural: str
    kind: str
    short: tuple = ()
    namespaced: bool = True
    subresources: tuple = ()
    version: str = "v1"

    @property
    def api_version(self):
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self):
        """The name that error messages use: `jobs.batch`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


KINDS = [
    Kind("", "namespaces", "Namespace", ("ns",), False, ("status",)),
    Kind("", "secrets", "Secret"),
    Kind("", "configmaps", "ConfigMap", ("cm",)),
    Kind("", "serviceaccounts", "ServiceAccount", ("sa",)),
    Kind("", "services", "Service", ("svc",)),
    Kind("", "persistentvolumeclaims", "PersistentVolumeClaim", ("pvc",), True, ("status",)),
    Kind("", "pods", "Pod", ("po",), True, ("status", "log", "exec")),
    Kind("", "events", "Event", ("ev",)),
    Kind("batch", "cronjobs", "CronJob", ("cj",), True, ("status",)),
    Kind("batch", "jobs", "Job", (), True, ("status",)),
    Kind("apps", "deployments", "Deployment", ("deploy",), True, ("status", "scale")),
    Kind("apps", "replicasets", "ReplicaSet", ("rs",), True, ("status",)),
    Kind("apps", "statefulsets", "StatefulSet", ("sts",), True, ("status", "scale")),
    Kind("networking.k8s.io", "networkpolicies", "NetworkPolicy", ("netpol",)),
    Kind("monitoring.coreos.com", "prometheusrules", "PrometheusRule", ("promrule",)),
]
BY_PLURAL = {(k.group, k.plural): k for k in KINDS}
BY_KIND = {(k.api_version, k.kind): k for k in KINDS}
PODS, JOBS, CRONJOBS = BY_PLURAL["", "pods"], BY_PLURAL["batch", "jobs"], BY_PLURAL["batch", "cronjobs"]
NAMESPACES, PVCS = BY_PLURAL["", "namespaces"], BY_PLURAL["", "persistentvolumeclaims"]
SECRETS, CONFIGMAPS = BY_PLURAL["", "secrets"], BY_PLURAL["", "configmaps"]
ACCOUNTS, EVENTS = BY_PLURAL["", "serviceaccounts"], BY_PLURAL["", "events"]


def kind_of(obj):
    return BY_KIND[obj["apiVersion"], obj["kind"]]
