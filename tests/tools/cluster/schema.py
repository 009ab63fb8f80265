"""Whether a body has the fields and types of its kind, as far as `messages.txt` knows the kind."""

from .errors import ApiError
from .protobuf import INLINE, MESSAGES

JSON = {"string": str, "bytes": str, "bool": bool, "Time": str, "MicroTime": str}
NUMBERS = ("int32", "int64", "uint64", "uint32", "double")
NAMES = {str: "string", bool: "bool", int: "number", float: "number", dict: "object", list: "array"}


def fields_of(message):
    """Name to type, with the fields of the messages that the JSON form has inline."""
    found = {}
    for name, kind in MESSAGES[message].values():
        found.update(fields_of(kind) if name in INLINE else {name: kind})
    return found


class Check:
    def __init__(self, kind):
        self.kind, self.unknown = kind, []

    def wrong(self, value, path, wanted):
        title = f'{self.kind.kind} in version "{self.kind.version}" cannot be handled as a {self.kind.kind}'
        found = NAMES.get(type(value), "value")
        raise ApiError(
            400, "BadRequest", f"{title}: json: cannot unmarshal {found} into Go struct field .{path} of type {wanted}"
        )

    def value(self, value, kind, path):
        if value is None:
            return
        if kind.endswith("[]"):
            if not isinstance(value, list):
                self.wrong(value, path, f"[]{kind[:-2]}")
            for i, item in enumerate(value):
                self.value(item, kind[:-2], f"{path}[{i}]")
        elif kind.endswith("{}"):
            if not isinstance(value, dict):
                self.wrong(value, path, f"map[string]{kind[:-2]}")
            for name, item in value.items():
                self.value(item, kind[:-2], f"{path}.{name}")
        elif kind in JSON:
            if not isinstance(value, JSON[kind]):
                self.wrong(value, path, kind)
        elif kind in NUMBERS:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                self.wrong(value, path, kind)
        elif kind in ("Quantity", "IntOrString"):
            if isinstance(value, (bool, dict, list)):
                self.wrong(value, path, kind)
        elif kind in MESSAGES and kind != "FieldsV1":
            self.message(value, kind, path)

    def message(self, value, kind, path):
        if not isinstance(value, dict):
            self.wrong(value, path, kind)
        known = fields_of(kind)
        for name, item in value.items():
            where = f"{path}.{name}" if path else name
            if name in known:
                self.value(item, known[name], where)
            elif where not in ("apiVersion", "kind", "status") and name != "managedFields":
                self.unknown.append(f'unknown field "{where}"')


def check(kind, obj, strict):
    """Refuses values of a wrong type always, and unknown fields if the client asks for that."""
    if kind.kind not in MESSAGES or kind.group == "monitoring.coreos.com":
        return
    found = Check(kind)
    found.message(obj, kind.kind, "")
    if found.unknown and strict:
        title = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}'
        raise ApiError(400, "BadRequest", f"{title}: strict decoding error: {', '.join(found.unknown)}")
