"""What a container is given by its pod, the Secrets and the ConfigMaps: environment and arguments."""

import base64
import re

from .kinds import CONFIGMAPS, SECRETS
from .selection import field

REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")


class Missing(Exception):
    """Something a container needs is not there yet; it waits, with this reason."""

    def __init__(self, message, reason=None):
        super().__init__(message)
        self.reason = reason


def expand(text, env):
    """`$(NAME)` by the value of NAME; one that is not known stays as it is, `$$` is a `$`."""
    return REFERENCE.sub(lambda m: "$" if m[0] == "$$" else env.get(m[1], m[0]), text)


def expand_args(args, env):
    return None if args is None else [expand(a, env) for a in args]


def data(store, kind, namespace, ref):
    """A Secret's or ConfigMap's values as bytes; None where it is missing and optional."""
    obj = store.find(kind, namespace, ref["name"])
    if obj is None:
        if ref.get("optional"):
            return None
        raise Missing(f'{kind.kind.lower()} "{ref["name"]}" not found')
    if kind is SECRETS:
        return {k: base64.b64decode(v or "") for k, v in (obj.get("data") or {}).items()}
    plain = {k: v.encode() for k, v in (obj.get("data") or {}).items()}
    return plain | {k: base64.b64decode(v) for k, v in (obj.get("binaryData") or {}).items()}


def pod_field(pod, path):
    known = {
        "status.hostIP": "127.0.0.1",
        "status.podIP": "127.0.0.1",
        "spec.serviceAccountName": pod["spec"]["serviceAccountName"],
    }
    if path in known:
        return known[path]
    found = re.fullmatch(r"metadata\.(labels|annotations)\['(.*)'\]", path)
    if found:
        return str((pod["metadata"].get(found[1]) or {}).get(found[2], ""))
    return field(pod, path)


def quantity(text):
    """A Kubernetes quantity as a number."""
    number, unit = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", str(text)).groups()
    sizes = {
        "": 1,
        "m": 0.001,
        "k": 10**3,
        "M": 10**6,
        "G": 10**9,
        "T": 10**12,
        "Ki": 2**10,
        "Mi": 2**20,
        "Gi": 2**30,
        "Ti": 2**40,
    }
    return float(number) * sizes[unit]


def value_from(store, pod, source):
    namespace = pod["metadata"]["namespace"]
    for name, kind in (("secretKeyRef", SECRETS), ("configMapKeyRef", CONFIGMAPS)):
        if name in source:
            ref = source[name]
            values = data(store, kind, namespace, ref)
            if values is None or ref["key"] not in values:
                if ref.get("optional"):
                    return None
                raise Missing(f"couldn't find key {ref['key']} in {kind.kind} {namespace}/{ref['name']}")
            return values[ref["key"]].decode()
    return pod_field(pod, source["fieldRef"]["fieldPath"])


def environment(store, pod, container):
    env = {}
    for source in container.get("envFrom") or []:
        for name, kind in (("configMapRef", CONFIGMAPS), ("secretRef", SECRETS)):
            if name in source:
                values = data(store, kind, pod["metadata"]["namespace"], source[name]) or {}
                env.update({source.get("prefix", "") + k: v.decode() for k, v in values.items()})
    for item in container.get("env") or []:
        if item.get("valueFrom"):
            value = value_from(store, pod, item["valueFrom"])
        else:
            value = expand(str(item.get("value") or ""), env)
        if value is not None:
            env[item["name"]] = value
    return env
