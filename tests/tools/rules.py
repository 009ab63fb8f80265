"""The alert rules of rendered manifests (YAML on standard input) as promtool reads them, without annotations when asked,
because promtool compares each of them to the letter.

Usage: rules.py [--without-annotations]
"""

import json
import sys

import yaml

groups = [
    group
    for document in yaml.safe_load_all(sys.stdin)
    if document and document["kind"] == "PrometheusRule"
    for group in document["spec"]["groups"]
]
if "--without-annotations" in sys.argv:
    for group in groups:
        for rule in group["rules"]:
            del rule["annotations"]
json.dump({"groups": groups}, sys.stdout, indent=2)
