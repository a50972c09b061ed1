"""The log as a folder of static files (C2SP tlog-tiles): cacheable for ever, served by anything.

checkpoint                     the newest signed checkpoint with its cosignatures
tile/<level>/<number>[.p/<n>]  256 hashes of complete subtrees of 256^level leaves, or n of them
tile/entries/<number>[.p/<n>]  the leaves' data, each with a 16-bit length before it
"""

from collections.abc import Iterator
from pathlib import Path

from gateway.ledger import Checkpoint, Tree

WIDTH, WIDTH_BITS = 256, 8


def files(tree: Tree, checkpoint: Checkpoint) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file of the log up to a checkpoint."""
    note = checkpoint.note + "".join(tree.cosignatures(checkpoint.size))
    yield "checkpoint", note.encode()
    size = checkpoint.size
    for number, width in _tiles(size):
        start = number * WIDTH
        content = b"".join(
            len(leaf).to_bytes(2, "big") + leaf for _, leaf, _ in tree.leaves(start, start + width)
        )
        yield f"tile/entries/{_name(number, width)}", content
    level = 0
    while size >> (WIDTH_BITS * level):
        for number, width in _tiles(size >> (WIDTH_BITS * level)):
            start = number * WIDTH
            hashes = [tree.node(WIDTH_BITS * level, start + place) for place in range(width)]
            yield f"tile/{level}/{_name(number, width)}", b"".join(hashes)
        level += 1


def export(tree: Tree, checkpoint: Checkpoint, folder: Path) -> int:
    """Write the files; full tiles that are there already stay. Gives how many were written."""
    count = 0
    for name, content in files(tree, checkpoint):
        path = folder / name
        if path.exists() and path.read_bytes() == content:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        count += 1
    return count


def _tiles(size: int) -> Iterator[tuple[int, int]]:
    """Number and width of the tiles that ``size`` hashes fill."""
    for number in range(size // WIDTH):
        yield number, WIDTH
    if size % WIDTH:
        yield size // WIDTH, size % WIDTH


def _name(number: int, width: int) -> str:
    """x001/x234/067 for 1234067, and .p/<width> behind a partial tile."""
    groups = [f"{number % 1000:03d}"]
    while number >= 1000:
        number //= 1000
        groups.append(f"x{number % 1000:03d}")
    path = "/".join(reversed(groups))
    return path if width == WIDTH else f"{path}.p/{width}"
