"""The Status objects with which the API server refuses something."""


class ApiError(Exception):
    def __init__(self, code, reason, message, **details):
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details

    def status(self):
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self.details,
            "code": self.code,
        }


def not_found(kind, name):
    return ApiError(
        404, "NotFound", f'{kind.qualified} "{name}" not found', name=name, group=kind.group, kind=kind.plural
    )


def exists(kind, name):
    return ApiError(
        409, "AlreadyExists", f'{kind.qualified} "{name}" already exists', name=name, group=kind.group, kind=kind.plural
    )


def conflict(kind, name):
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return ApiError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {kind.qualified} "{name}": {why}',
        name=name,
        group=kind.group,
        kind=kind.plural,
    )


def forbidden(kind, name, why):
    return ApiError(
        403,
        "Forbidden",
        f'{kind.qualified} "{name}" is forbidden: {why}',
        name=name,
        group=kind.group,
        kind=kind.plural,
    )


def invalid(kind, name, field, why):
    title = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    causes = [{"reason": "FieldValueInvalid", "message": why, "field": field}]
    return ApiError(
        422,
        "Invalid",
        f'{title} "{name}" is invalid: {field}: {why}',
        name=name,
        group=kind.group,
        kind=kind.kind,
        causes=causes,
    )
