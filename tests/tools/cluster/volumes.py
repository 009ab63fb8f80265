"""A pod's volumes as folders of the host, owned and with modes as the real kubelet leaves them."""

import os
import shutil
import subprocess

from .errors import ApiError
from .inputs import Missing, data, expand, quantity
from .kinds import CONFIGMAPS, PVCS, SECRETS


class Volumes:
    def __init__(self, kubelet, pod, folder):
        self.store, self.state, self.attached = kubelet.store, kubelet.state, kubelet.attached
        self.pod, self.mounted = pod, []
        self.namespace = pod["metadata"]["namespace"]
        self.group = pod["spec"]["securityContext"].get("fsGroup")
        self.home = folder / "volumes"
        self.paths = {}
        for volume in pod["spec"].get("volumes") or []:
            try:
                self.paths[volume["name"]] = self.make(volume)
            except Missing as missing:
                why = f'MountVolume.SetUp failed for volume "{volume["name"]}" : {missing}'
                raise missing if missing.reason else Missing(why, "FailedMount") from None

    def make(self, volume):
        """The volume's folder, and whether it can only be read."""
        path = self.home / volume["name"]
        if "persistentVolumeClaim" in volume:
            ref = volume["persistentVolumeClaim"]
            return self.claim(ref["claimName"]), ref.get("readOnly", False)
        if "ephemeral" in volume:
            return self.ephemeral(volume), False
        if "emptyDir" in volume:
            return self.empty(path, volume["emptyDir"] or {}), False
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        source = volume.get("projected") or {"sources": [volume], "defaultMode": self.mode(volume)}
        for part in source.get("sources") or []:
            for name, (content, mode) in self.files(part).items():
                self.put(path, name, content, source.get("defaultMode", 0o644) if mode is None else mode)
        self.own(path, 0o440)
        return path, True

    @staticmethod
    def mode(volume):
        inner = volume.get("secret") or volume.get("configMap") or {}
        return inner.get("defaultMode", 0o644)

    def empty(self, path, source):
        path.mkdir(parents=True, exist_ok=True)
        if source.get("medium") == "Memory":
            size = f",size={int(quantity(source['sizeLimit']))}" if source.get("sizeLimit") else ""
            done = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"mode=0777{size}", "tmpfs", path], capture_output=True
            )
            if done.returncode == 0:
                self.mounted.append(path)
        path.chmod(0o2777 if self.group is not None else 0o777)
        self.own(path, None)
        return path

    def claim(self, name):
        obj = self.store.find(PVCS, self.namespace, name)
        if obj is None:
            raise Missing(f'persistentvolumeclaim "{name}" not found')
        self.attach(obj)
        path = claim_folder(self.state, obj)
        if not path.exists():
            path.mkdir(parents=True)
            path.chmod(0o755)
        self.own(path, 0o660)
        return path

    def attach(self, claim):
        """Keeps a claim on the node where pods have it, unless it is ReadWriteMany."""
        meta, holders = self.pod["metadata"], self.attached[claim["metadata"]["uid"]]
        others = [pod for pod, node in holders.values() if node != self.pod["spec"]["nodeName"]]
        if others and "ReadWriteMany" not in claim["spec"]["accessModes"]:
            volume, pods = claim["spec"]["volumeName"], ", ".join(others)
            why = f'Multi-Attach error for volume "{volume}" Volume is already used by pod(s) {pods}'
            raise Missing(why, "FailedAttachVolume")
        holders[meta["uid"]] = (meta["name"], self.pod["spec"]["nodeName"])

    def ephemeral(self, volume):
        meta, template = self.pod["metadata"], volume["ephemeral"]["volumeClaimTemplate"]
        owner = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"], "controller": True}
        name = f"{meta['name']}-{volume['name']}"
        claim = {
            "metadata": {**(template.get("metadata") or {}), "name": name, "ownerReferences": [owner]},
            "spec": template["spec"],
        }
        try:
            self.store.create(PVCS, claim, self.namespace)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        return self.claim(name)

    def files(self, part):
        """Name to content and mode of what a Secret or a ConfigMap puts into a volume."""
        for name, kind in (("secret", SECRETS), ("configMap", CONFIGMAPS)):
            if name in part:
                ref = part[name] or {}
                ref = {**ref, "name": ref.get("name") or ref.get("secretName")}
                values = data(self.store, kind, self.namespace, ref) or {}
                if not ref.get("items"):
                    return {key: (value, None) for key, value in values.items()}
                for item in ref["items"]:
                    if item["key"] not in values and not ref.get("optional"):
                        raise Missing(f"references non-existent {name} key: {item['key']}")
                return {i["path"]: (values[i["key"]], i.get("mode")) for i in ref["items"] if i["key"] in values}
        raise Missing(f"volume source not known: {', '.join(k for k in part if k != 'name')}")

    @staticmethod
    def put(path, name, content, mode):
        """As the kubelet does it: the files lie in `..data`, and links in the volume lead there."""
        file = path / "..1" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(mode)
        for link, to in ((path / "..data", "..1"), (path / name.split("/")[0], "..data/" + name.split("/")[0])):
            if not link.is_symlink():
                link.symlink_to(to)

    def own(self, path, mask):
        """The pod's fsGroup on all of the volume; without the right to give files away, everyone may write."""
        if self.group is None:
            return
        for folder, _, names in os.walk(path):
            for each in [folder, *(os.path.join(folder, n) for n in names)]:
                if os.path.islink(each):
                    continue
                mode, directory = os.stat(each).st_mode & 0o7777, os.path.isdir(each)
                try:
                    os.chown(each, -1, self.group)
                except PermissionError:
                    mode |= 0o777 if directory else 0o666
                if mask is not None or not directory:
                    mode |= (mask or 0o660) | (0o2110 if directory else 0)
                os.chmod(each, mode)

    def mounts(self, container, env):
        """(host path, path in the container, read only) of a container's mounts."""
        found = []
        for mount in container.get("volumeMounts") or []:
            path, fixed = self.paths[mount["name"]]
            inner = expand(mount.get("subPathExpr") or "", env) or mount.get("subPath") or ""
            if inner:
                home, path = path, path / inner
                if not path.exists() and not fixed:
                    path.mkdir(parents=True)
                    os.chmod(path, home.stat().st_mode & 0o7777)
                path = path.resolve()
            found.append((path, mount["mountPath"].rstrip("/") or "/", bool(fixed or mount.get("readOnly"))))
        return found

    def unmount(self):
        for path in self.mounted:
            subprocess.run(["umount", "--lazy", path], capture_output=True)
        self.mounted = []


def claim_folder(state, claim):
    return state / "pvc" / claim["metadata"]["namespace"] / claim["metadata"]["name"]
