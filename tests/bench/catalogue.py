"""Makes many backups out of one: catalogue.py FOLDER COUNT

Copies the files of the one backup in FOLDER under new times, an hour apart and going back from it, under folders of
months; its archive is shortened to nothing but stays true to its manifest. Every third one has a verification.
"""

import datetime
import glob
import hashlib
import json
import os
import sys

folder, count = sys.argv[1], int(sys.argv[2])
[manifest_file] = glob.glob(f"{folder}/**/*.sql.gz.json", recursive=True)
with open(manifest_file) as file:
    manifest = json.load(file)
archive = manifest_file.removesuffix(".json")
with open(f"{archive}.facts.json.gz", "rb") as file:
    facts = file.read()
bytes_ = b"x" * 64
sha256 = hashlib.sha256(bytes_).hexdigest()
first = datetime.datetime.fromisoformat(manifest["started"])
base = manifest["id"][:-19]
for file in glob.glob(f"{archive}*"):
    os.remove(file)
for number in range(count):
    time = first - datetime.timedelta(hours=number)
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    text = time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    manifest |= {"id": base + stamp, "started": text, "finished": text, "stored_bytes": len(bytes_), "sha256": sha256}
    place = f"{folder}/{time.strftime('%Y-%m')}"
    os.makedirs(place, exist_ok=True)
    name = f"{base}{stamp}.sql.gz"
    files = {
        "": bytes_,
        ".sha256": f"{sha256}  {name}\n".encode(),
        ".facts.json.gz": facts,
        ".json": json.dumps(manifest).encode(),
    }
    if number % 3 == 0:
        record = {"version": 1, "sha256": sha256, "how": "restore", "passed": True, "finished": text}
        files[f".verify-{time.strftime('%Y%m%dT%H%M%S')}.000Z.json"] = json.dumps(record).encode()
    for ending, content in files.items():
        with open(f"{place}/{name}{ending}", "wb") as file:
            file.write(content)
