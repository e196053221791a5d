"""Releases: stage from verified blobs, and verify."""

import contextlib
import errno
import json
import os
import stat

from .base import Refusal, read_json
from .files import hash_file, make_folder, remove_tree, sync_file, sync_folder, write_whole
from .state import DIGEST, check_fence
from .trust import authorise, keep_signatures, sweep_signatures

MANIFEST_BYTES = 4 << 20
MODES = (0o444, 0o555)


def load_manifest(place, release):
    """Return the manifest of a release from the store, checked against its digest; a rotten one is dropped."""
    path = place.blob(release)
    if not os.path.isfile(path) or hash_file(path)[0] != release:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        raise Refusal("blob-missing", "the manifest of release %s is not here" % release[:12])
    if os.path.getsize(path) > MANIFEST_BYTES:
        raise Refusal("bad-manifest", "the manifest of release %s is too long" % release[:12])
    with open(path, "rb") as stream:
        return sound_manifest(stream.read())


def kept_manifest(place, release):
    """Return the manifest in a release's folder as it lies there, or None where it is missing or torn."""
    manifest = read_json(os.path.join(place.release(release), "manifest.json"), MANIFEST_BYTES)
    return manifest if isinstance(manifest, dict) and isinstance(manifest.get("files"), dict) else None


def changed_modes(place, release):
    """Return what is wrong with the permissions of a release's files: a list of texts. Nothing may change them, and
    nothing of ours depends on more than that they can be read."""
    folder, problems = place.release(release), []
    for name in sorted((kept_manifest(place, release) or {"files": {}})["files"]):
        path = os.path.join(folder, checked_name(name))
        if os.path.isfile(path) and stat.S_IMODE(os.stat(path).st_mode) not in MODES:
            problems.append("%s has the permissions %04o" % (name, stat.S_IMODE(os.stat(path).st_mode)))
    return problems


def sound_manifest(data):
    """Return a manifest whose list of files has names inside the release and digests; refuses any other."""
    try:
        manifest = json.loads(data.decode("utf-8"))
        for name, info in manifest["files"].items():
            checked_name(name)
            if not DIGEST.match(info["sha256"]) or type(info["bytes"]) is not int or info["bytes"] < 0:
                raise Refusal("bad-manifest", "the entry of file %r is not sound" % (name,))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Refusal("bad-manifest", "the manifest is not sound: %s" % type(error).__name__) from None
    return manifest


def checked_name(name):
    """Return a manifest's file name; refuses what would leave the release's folder."""
    parts = name.split("/")
    if not name or name.startswith("/") or any(part in ("", ".", "..") for part in parts) or "\0" in name:
        raise Refusal("bad-manifest", "file name %r leaves the release" % (name,))
    return name


def check_release(place, release):
    """Return what is wrong with a release on disk: a list of texts, empty where every hash holds."""
    folder = place.release(release)
    manifest_path = os.path.join(folder, "manifest.json")
    if not os.path.isfile(manifest_path):
        return ["manifest.json is missing"]
    if hash_file(manifest_path)[0] != release:
        return ["manifest.json has changed"]
    kept = kept_manifest(place, release)
    if kept is None:
        return ["manifest.json cannot be read"]
    files, problems = kept["files"], []
    for name in sorted(files):
        path = os.path.join(folder, checked_name(name))
        if os.path.islink(path) or not os.path.isfile(path):
            problems.append("%s is missing" % name)
        elif hash_file(path) != (files[name]["sha256"], files[name]["bytes"]):
            problems.append("%s has changed" % name)
    for base, folders, names in os.walk(folder):
        for name in names + [name for name in folders if os.path.islink(os.path.join(base, name))]:
            relative = os.path.relpath(os.path.join(base, name), folder)
            if relative != "manifest.json" and relative not in files:
                problems.append("%s does not belong to the release" % relative)
    return problems


def stage(place, request):
    """Build the release's folder from verified blobs; it appears under its name only when whole and
    durable."""
    release, final = request["release"], place.release(request["release"])
    with place.held():
        check_fence(place, request["fence"])
        signatures = request.get("signatures") or []
        accepted = authorise(place, release, signatures)
        sweep(place)
        if os.path.isdir(final):
            problems = check_release(place, release)
            if not problems:
                keep_signatures(place, release, signatures, accepted)
                return {"staged": "present"}
            os.rename(final, place.of("releases", ".trash-%s-%s" % (release, request["tx"])))
        manifest = load_manifest(place, release)
        if manifest.get("app") != place.app_name:
            raise Refusal("bad-manifest", "the release is for app %r" % (manifest.get("app"),))
        check_blobs(place, manifest)
        temporary = place.of("releases", ".tmp-" + request["tx"])
        folders = {temporary}
        make_folder(temporary)
        link_blob(place, release, os.path.join(temporary, "manifest.json"), False)
        for name, info in sorted(manifest["files"].items()):
            path = os.path.join(temporary, checked_name(name))
            make_folder(os.path.dirname(path))
            folders.add(os.path.dirname(path))
            link_blob(place, info["sha256"], path, info.get("executable", False))
        for folder in sorted(folders, reverse=True):
            sync_folder(folder)
        keep_signatures(place, release, signatures, accepted)
        os.rename(temporary, final)
        sync_folder(os.path.dirname(final))
        sweep(place)
    return {"staged": "new", "files": len(manifest["files"]) + 1}


def check_blobs(place, manifest):
    """Hash the blobs of a release again; those that are rotten are dropped so that the next upload brings them."""
    lost = []
    for name, info in sorted(manifest["files"].items()):
        source = place.blob(info["sha256"])
        if not os.path.isfile(source) or hash_file(source)[0] != info["sha256"]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(source)
            lost.append(name)
    if lost:
        words = ", ".join(lost[:5])
        raise Refusal("blob-missing", "not in the device's store, or damaged there: %s" % words, names=lost)


def link_blob(place, digest, path, executable):
    """Hard-link a verified blob into a release; copies where links are not to be had."""
    source = place.blob(digest)
    try:
        os.link(source, path)
    except OSError as error:
        if error.errno not in (errno.EMLINK, errno.EPERM, errno.EXDEV, errno.ENOTSUP):
            raise
        with open(source, "rb") as stream:
            write_whole(path, stream.read())
    os.chmod(path, MODES[1] if executable or os.stat(path).st_mode & 0o100 else MODES[0])
    sync_file(path)


def sweep(place):
    """Remove what interrupted calls left behind: staging, trash and stale names."""
    releases = place.of("releases")
    for name in os.listdir(releases):
        if name.startswith((".tmp-", ".trash-")):
            remove_tree(os.path.join(releases, name))
    for name in os.listdir(place.app):
        if name.startswith("current.tmp-"):
            remove_tree(place.of(name))
    sweep_signatures(place)


def releases_present(place):
    """Return the ids of the releases on disk, newest first (by when they were staged)."""
    folder = place.of("releases")
    if not os.path.isdir(folder):
        return []
    names = [name for name in os.listdir(folder) if DIGEST.match(name)]
    return sorted(names, key=lambda name: (-os.stat(os.path.join(folder, name)).st_ctime, name))
