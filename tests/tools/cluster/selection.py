"""Label and field selectors."""

import re

TERM = re.compile(
    r"\s*(?:(?P<no>!)?(?P<key>[^\s=!,()]+)\s*(?:(?P<op>==|=|!=|\bin\b|\bnotin\b)\s*(?:\((?P<set>[^)]*)\)|(?P<value>[^,]*)))?)\s*(?:,|$)"
)


def terms(selector):
    position = 0
    while position < len(selector):
        found = TERM.match(selector, position)
        if not found or found.end() == position:
            raise ValueError(f"unable to parse requirement: {selector}")
        position = found.end()
        values = found["set"].split(",") if found["set"] is not None else [found["value"] or ""]
        op = {"==": "=", "in": "=", "notin": "!="}.get(found["op"], found["op"])
        yield found["key"], op or ("absent" if found["no"] else "exists"), {v.strip() for v in values}


def holds(value, op, values):
    if op in ("exists", "absent"):
        return (value is not None) == (op == "exists")
    return (value in values) == (op == "=")


def field(obj, path):
    for part in path.split("."):
        obj = obj.get(part) if isinstance(obj, dict) else None
    return "" if obj is None else str(obj)


def matches(obj, labels="", fields=""):
    own = obj["metadata"].get("labels") or {}
    return all(holds(own.get(key), op, values) for key, op, values in terms(labels or "")) and all(
        holds(field(obj, key), op, values) for key, op, values in terms(fields or "")
    )
