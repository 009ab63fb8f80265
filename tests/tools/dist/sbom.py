"""Prints what the program is made of as a CycloneDX 1.6 document, from Cargo.lock and `cargo metadata`.

Every package of Cargo.lock is a component: required where it becomes part of the program or of its build on some
platform, excluded where only the tests need it. Nothing in it depends on when or where it was made but
SOURCE_DATE_EPOCH.
"""

import datetime
import json
import os
import re
import subprocess
import tomllib
import uuid

REGISTRY = "registry+"


def metadata():
    command = ["cargo", "metadata", "--quiet", "--locked", "--format-version", "1"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def needed(resolve):
    """Ids of the packages that are reached from ours without the dependencies of tests."""
    nodes = {node["id"]: node for node in resolve["nodes"]}
    found, waiting = set(), [resolve["root"]]
    while waiting:
        package = waiting.pop()
        if package not in found:
            found.add(package)
            for dependency in nodes[package]["deps"]:
                if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
                    waiting.append(dependency["pkg"])
    return found


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, checksums, is_needed):
    ours = package["source"] is None
    described = {
        "type": "application" if ours else "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(package),
    }
    if not ours:
        described["scope"] = "required" if is_needed else "excluded"
    if package["license"]:
        # a slash is how older manifests write OR
        described["licenses"] = [{"expression": re.sub(r"\s*/\s*", " OR ", package["license"])}]
    elif package["license_file"]:
        described["licenses"] = [{"license": {"name": os.path.basename(package["license_file"])}}]
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        described["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        described["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return described


def main():
    with open("Cargo.lock", "rb") as file:
        lock = file.read()
    locked = tomllib.loads(lock.decode())["package"]
    checksums = {(p["name"], p["version"]): p["checksum"] for p in locked if p.get("source", "").startswith(REGISTRY)}
    found = metadata()
    packages = {package["id"]: package for package in found["packages"]}
    used = needed(found["resolve"])
    root = found["resolve"]["root"]
    others = sorted((p for p in packages.values() if p["id"] != root), key=lambda p: (p["name"], p["version"]))
    made = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), datetime.timezone.utc)
    nodes = sorted(found["resolve"]["nodes"], key=lambda node: purl(packages[node["id"]]))
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_OID, lock.decode()).urn,
        "version": 1,
        "metadata": {
            "timestamp": made.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": component(packages[root], checksums, True),
        },
        "components": [component(package, checksums, package["id"] in used) for package in others],
        "dependencies": [
            {
                "ref": purl(packages[node["id"]]),
                "dependsOn": sorted(purl(packages[dependency]) for dependency in node["dependencies"]),
            }
            for node in nodes
        ],
    }
    print(json.dumps(document, indent=2))


main()
