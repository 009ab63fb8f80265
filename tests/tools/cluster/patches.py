"""The four ways to patch an object."""

import copy

from .errors import ApiError

# Lists that merge by a key; all others are replaced as a whole.
MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "ownerReferences": "uid",
    "conditions": "type",
    "hostAliases": "ip",
}
SETS = {"finalizers"}


def keyed(field, *lists):
    """The merge key of a list, if what is in these lists has it."""
    key = MERGE_KEYS.get(field)
    items = [item for values in lists for item in values]
    return key if key and all(isinstance(i, dict) and (key in i or "$patch" in i) for i in items) else None


def merge(target, patch):
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for field, value in patch.items():
        if value is None:
            result.pop(field, None)
        else:
            result[field] = merge(result.get(field), value)
    return result


def strategic(target, patch):
    """A strategic merge, with the `$` directives that kubectl sends."""
    if patch.get("$patch") == "replace":
        return {k: v for k, v in patch.items() if k != "$patch"}
    if patch.get("$patch") == "delete":
        return {}
    result = dict(target or {})
    if "$retainKeys" in patch:
        result = {k: v for k, v in result.items() if k in patch["$retainKeys"]}
    for field, value in patch.items():
        if field.startswith("$deleteFromPrimitiveList/"):
            name = field.split("/", 1)[1]
            result[name] = [v for v in result.get(name) or [] if v not in value]
        elif field.startswith("$"):
            continue
        elif value is None:
            result.pop(field, None)
        elif isinstance(value, dict):
            result[field] = strategic(result.get(field), value)
        elif isinstance(value, list):
            result[field] = strategic_list(field, result.get(field) or [], value)
        else:
            result[field] = value
    for field, order in patch.items():
        name = field.removeprefix("$setElementOrder/")
        if name != field and name in result:
            result[name] = ordered(name, result[name], order)
    return result


def strategic_list(field, old, new):
    if field in SETS:
        return old + [v for v in new if v not in old]
    key = keyed(field, old, new)
    if key is None or any(isinstance(i, dict) and i.get("$patch") == "replace" for i in new):
        return [i for i in new if not (isinstance(i, dict) and i.get("$patch") == "replace")]
    result = list(old)
    fresh = []
    for item in new:
        at = next((i for i, o in enumerate(result) if o.get(key) == item.get(key)), None)
        if item.get("$patch") == "delete":
            result = [o for o in result if o.get(key) != item.get(key)]
        elif at is None:
            fresh.append(strategic({}, item))
        else:
            result[at] = strategic(result[at], item)
    return result + fresh


def ordered(field, items, order):
    key = keyed(field, items)
    wanted = [o.get(key) if isinstance(o, dict) else o for o in order]

    def place(item):
        name = item.get(key) if key else item
        return wanted.index(name) if name in wanted else len(wanted)

    return sorted(items, key=place)


def apply(live, before, wanted, field=""):
    """Server-side apply for one manager: what it applied before and no longer wants goes, the rest stays."""
    if isinstance(wanted, dict):
        result = dict(live) if isinstance(live, dict) else {}
        before = before if isinstance(before, dict) else {}
        for name in before:
            if name not in wanted:
                left = (
                    apply(result.get(name), before[name], type(before[name])(), name)
                    if isinstance(before[name], (dict, list))
                    else None
                )
                result[name] = left
                if not left:
                    result.pop(name)
        for name, value in wanted.items():
            result[name] = apply(result.get(name), before.get(name), value, name)
        return result
    if isinstance(wanted, list):
        old, past = (v if isinstance(v, list) else [] for v in (live, before))
        key = keyed(field, old, past, wanted)
        if not key:
            return copy.deepcopy(wanted)
        old, past, new = ({i[key]: i for i in items} for items in (old, past, wanted))
        kept = [item for name, item in old.items() if name not in new and name not in past]
        return [apply(old.get(n), past.get(n), item) for n, item in new.items()] + kept
    return wanted


def json_patch(obj, operations):
    """RFC 6902."""
    obj = copy.deepcopy(obj)
    for step in operations:
        if step["op"] in ("move", "copy"):
            value = copy.deepcopy(locate(obj, step["from"]))
            if step["op"] == "move":
                one(obj, {"op": "remove", "path": step["from"]})
            step = {"op": "add", "path": step["path"], "value": value}
        one(obj, step)
    return obj


def pointer(path):
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def locate(obj, path):
    for part in pointer(path):
        try:
            obj = obj[int(part)] if isinstance(obj, list) else obj[part]
        except (KeyError, IndexError, ValueError, TypeError):
            raise ApiError(
                422, "Invalid", f"the server rejected our request due to an error in our request: missing path {path}"
            ) from None
    return obj


def one(obj, step):
    op, path = step["op"], step["path"]
    parent, last = locate(obj, path.rsplit("/", 1)[0]), pointer(path)[-1]
    if op == "test":
        if locate(obj, path) != step.get("value"):
            raise ApiError(
                422,
                "Invalid",
                f"the server rejected our request due to an error in our request: testing value {path} failed",
            )
    elif isinstance(parent, list):
        at = len(parent) if last == "-" else int(last)
        if op != "add":
            locate(obj, path)
            parent.pop(at)
        if op != "remove":
            parent.insert(at, step["value"])
    else:
        if op != "add":
            locate(obj, path)
            parent.pop(last)
        if op != "remove":
            parent[last] = step["value"]
