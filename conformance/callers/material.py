"""What the callers run: a root file system of busybox, and the same as an image."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

IMAGE = "localhost/busybox:test"
DIRECTORIES = ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var")


def make_rootfs(path: Path) -> Path:
    """Busybox with its links and three users' names. Raises FileNotFoundError without a static busybox on PATH."""
    busybox = shutil.which("busybox")
    if not busybox:
        raise FileNotFoundError("busybox is missing: apt-get install busybox-static")
    for name in DIRECTORIES:
        (path / name).mkdir(parents=True)
    path.chmod(0o755)
    (path / "tmp").chmod(0o1777)
    (path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/tmp:/bin/sh\n")
    (path / "etc/group").write_text("root:x:0:\nstaff:x:50:user\nuser:x:1000:\n")
    shutil.copy(busybox, path / "bin/busybox")
    for applet in subprocess.run([busybox, "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout.split():
        if applet != "busybox":
            (path / "bin" / applet).symlink_to("busybox")
    return path


def make_layer(rootfs: Path, path: Path) -> Path:
    """The tree as the tar file of which an image consists; `docker import` takes it as it is."""
    with tarfile.open(path, "w") as layer:
        layer.add(rootfs, arcname=".")
    return path


def make_image(layer: Path, path: Path, *, name: str = IMAGE, command: Sequence[str] = ("/bin/sh",)) -> Path:
    """An archive of one image of one layer for `ctr image import` (image-spec, "Image Layout")."""
    blobs: dict[str, bytes] = {}

    def blob(kind: str, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}

    tree = blob("layer.v1.tar", layer.read_bytes())
    settings = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": list(command)},
        "rootfs": {"type": "layers", "diff_ids": [tree["digest"]]},
    }
    config = blob("config.v1+json", json.dumps(settings).encode())
    manifest = blob("manifest.v1+json", json.dumps({"schemaVersion": 2, "config": config, "layers": [tree]}).encode())
    manifest["annotations"] = {"io.containerd.image.name": name}
    blobs["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode()
    blobs["oci-layout"] = json.dumps({"imageLayoutVersion": "1.0.0"}).encode()
    with tarfile.open(path, "w") as archive:
        for name, content in blobs.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path
