"""`edgeship inspect`: what a model file or a bundle really holds."""

from __future__ import annotations

import zlib
from pathlib import Path

import click

from edgeship.cli import common


@click.command()
@click.argument("file", type=common.PATH)
@click.option("--operations", is_flag=True, help="List every operation, not only the counts.")
@common.signature_option
@common.input_shape_option
@common.output_options
def inspect(
    file: Path,
    operations: bool,
    signature: str | None,
    input_shape: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> int:
    """Say what FILE holds: signature, operations, MACs, parameters, true precision, metadata; or a bundle's manifest.

    A bundle is verified first: every digest, every name.
    """
    if is_bundle(file):
        from edgeship.bundle.seal import open_bundle
        from edgeship.report.inspection import bundle_document, bundle_text

        bundle = open_bundle(file)
        common.show(bundle_text(bundle), lambda: bundle_document(bundle), as_json=as_json)
        return 0
    from edgeship.model.inspect import inspect_model
    from edgeship.report.inspection import model_document, model_text

    with common.progress(quiet=quiet) as progress:
        shapes = common.shapes_of(input_shape)
        found = inspect_model(file, progress=progress, signature=signature, shapes=shapes)
    common.show(model_text(found, operations=operations), lambda: model_document(found), as_json=as_json)
    return 0


def is_bundle(file: Path) -> bool:
    """Return whether a file is meant as a bundle: by its name, or by beginning as a bundle of any name does.

    Other files packed with gzip are models that somebody packed, which `open_model` says how to unpack.
    """
    if file.suffix == ".edgeship":
        return True
    try:
        with file.open("rb") as stream:
            head = stream.read(4096)
        return head[:2] == b"\x1f\x8b" and _first_member(head) == b"manifest.json"
    except (OSError, zlib.error):
        return False


def _first_member(head: bytes) -> bytes | None:
    """Return the name of the first file in a packed tar archive, from its beginning; None: it is no such archive.

    Raises zlib.error where it does not unpack.
    """
    block = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(head, 512)
    return block[:100].rstrip(b"\0") if block[257:262] == b"ustar" else None
