"""Releases: stage from verified blobs, verify, collect garbage."""

import contextlib
import errno
import json
import os

from .base import Refusal, read_json
from .files import hash_file, make_folder, remove_tree, sync_file, sync_folder, write_whole
from .state import DIGEST, IN_TRIAL, check_fence, read_state
from .trust import authorise, keep_signatures, signatures_path, sweep_signatures

MANIFEST_BYTES = 4 << 20


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
    files = read_json(manifest_path)["files"]
    problems = []
    for name in sorted(files):
        path = os.path.join(folder, checked_name(name))
        if os.path.islink(path) or not os.path.isfile(path):
            problems.append("%s is missing" % name)
        elif hash_file(path) != (files[name]["sha256"], files[name]["bytes"]):
            problems.append("%s has changed" % name)
    for base, _, names in os.walk(folder):
        for name in names:
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
    os.chmod(path, 0o555 if executable or os.stat(path).st_mode & 0o100 else 0o444)
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


def collect(place, request):
    """Delete releases beyond current, previous, pinned and the `keep` newest, then blobs nothing refers
    to."""
    with place.held():
        check_fence(place, request["fence"])
        record = read_state(place)
        if record["state"] in IN_TRIAL:
            return {"removed": [], "blobs": 0}
        pins = os.listdir(place.of("pins")) if os.path.isdir(place.of("pins")) else []
        present = releases_present(place)
        keep = {record.get("to"), record.get("from"), record.get("previous")} | set(pins)
        removed = [name for name in present[max(0, request["keep"]) :] if name not in keep]
        blobs = set()
        for name in removed:
            manifest = read_json(os.path.join(place.release(name), "manifest.json")) or {"files": {}}
            blobs.update([name], (info["sha256"] for info in manifest["files"].values()))
            trash = place.of("releases", ".trash-" + name)
            os.rename(place.release(name), trash)
            sync_folder(place.of("releases"))
            remove_tree(trash)
            remove_tree(place.of("settings", name + ".json"))
            remove_tree(signatures_path(place, name))
        return {"removed": removed, "blobs": drop_blobs(place, blobs)}


def drop_blobs(place, digests):
    """Delete those of the removed releases' blobs that no other release links to; return how many.

    Others are left alone: another application's upload may have brought them and not linked them yet.
    """
    count = 0
    for path in (place.blob(digest) for digest in digests):
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_nlink == 1:
                os.unlink(path)
                count += 1
    return count
