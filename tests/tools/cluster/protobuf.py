"""Bodies in Kubernetes' protobuf format, which the typed commands of newer kubectl send (`kubectl create job`).

`messages.txt` has a message per line, with the numbers, names and types of the fields that matter here, as
in the API's generated.proto: `[]` marks a list, `{}` a map.
"""

import base64
import datetime
from pathlib import Path

MAGIC = b"k8s\x00"
INLINE = {"localObjectReference", "volumeSource", "handler", "ephemeralContainerCommon"}
# A number or truth value of these is sent even where it was not set.
UNSET = {
    "stdin",
    "stdinOnce",
    "tty",
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "readOnly",
    "paused",
    "hostPort",
    "generation",
    "minReadySeconds",
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
}


def read_messages():
    messages = {}
    for line in Path(__file__).with_name("messages.txt").read_text().splitlines():
        name, fields = line.split(": ", 1)
        split = (field.split(" ") for field in fields.split(", ") if field)
        messages[name] = {int(number): (title, kind) for number, title, kind in split}
    return messages


MESSAGES = read_messages()


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data):
    """(number, value) of each field; a value is a number or bytes."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        if tag & 7 == 0:
            value, at = varint(data, at)
        else:
            size, at = varint(data, at) if tag & 7 == 2 else ({1: 8, 5: 4}[tag & 7], at)
            value, at = data[at : at + size], at + size
        yield tag >> 3, value


def scalar(value, kind):
    if kind == "string":
        return value.decode()
    if kind == "bytes":
        return base64.b64encode(value).decode()
    if kind == "bool":
        return bool(value)
    return value - (1 << 64) if isinstance(value, int) and value >= 1 << 63 else value


def decode(data, kind):
    if kind not in MESSAGES:
        return scalar(data, kind)
    found = dict(fields(data)) if kind in ("Time", "MicroTime", "Quantity", "IntOrString", "FieldsV1") else None
    if kind in ("Time", "MicroTime"):
        seconds = found.get(1)
        return seconds and datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )
    if kind == "Quantity":
        return found.get(1, b"0").decode()
    if kind == "IntOrString":
        return found.get(3, b"").decode() if found.get(1) else found.get(2, 0)
    if kind == "FieldsV1":
        return None
    return message(data, MESSAGES[kind])


def message(data, known):
    result = {}
    for number, raw in fields(data):
        if number not in known:
            continue
        name, kind = known[number]
        if kind.endswith("{}"):
            pair = dict(fields(raw))
            inner = kind.removesuffix("{}")
            result.setdefault(name, {})[pair[1].decode()] = decode(pair.get(2, b""), inner)
            continue
        value = decode(raw, kind.removesuffix("[]"))
        if kind.endswith("[]"):
            result.setdefault(name, []).append(value)
        elif name in INLINE:
            result.update(value)
        elif value not in ("", None) and not (name in UNSET and not value):
            result[name] = value
    return result


def parse(body):
    """The object in a body: an envelope with its type, and the object itself."""
    envelope = dict(fields(body.removeprefix(MAGIC)))
    about = dict(fields(envelope.get(1, b"")))
    version, kind = about.get(1, b"").decode(), about.get(2, b"").decode()
    return {"apiVersion": version, "kind": kind, **decode(envelope.get(2, b""), kind)}
