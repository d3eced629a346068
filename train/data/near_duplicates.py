"""Images that look alike although their files differ: scaled, saved again, made lighter, or cropped a little."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

HASH_BITS = 64
MAX_COMPARISONS = 1 << 22
"""Number of pairs that are compared at a time."""
Group: TypeAlias = tuple[str, ...]
"""SHA-256 of images that look alike, at least two."""


def find_near_duplicates(hashes: Mapping[str, int], distance: int) -> list[Group]:
    """Group images whose perceptual hashes differ in at most `distance` bits, directly or by way of others.

    Args:
        hashes: 64 bits by the SHA-256 of an image.
        distance: Largest number of bits by which two of a group differ.

    Returns:
        Groups in the order of their first images.
    """
    if not hashes:
        return []
    digests = list(hashes)
    values = np.array(list(hashes.values()), np.uint64)
    pairs = [np.empty((0, 2), np.int64), *_close_pairs(values, distance)]
    first, second = np.concatenate(pairs).T
    edges = coo_array((np.ones(len(first), bool), (first, second)), shape=(len(values), len(values)))
    _, numbers = connected_components(edges, directed=False)
    members: dict[int, list[str]] = defaultdict(list)
    for digest, number in zip(digests, numbers.tolist(), strict=True):
        members[number].append(digest)
    return [tuple(group) for group in members.values() if len(group) > 1]


def _close_pairs(values: npt.NDArray[np.uint64], distance: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield int64[N, 2] indices of all pairs within a distance; some more than once.

    Two hashes that differ in d bits are equal in one of d + 1 blocks of bits at least, so that only hashes with an
    equal block are compared.
    """
    edges = np.linspace(0, HASH_BITS, min(distance + 1, HASH_BITS) + 1).astype(int).tolist()
    for start, end in pairwise(edges):
        block = (values >> np.uint64(start)) & np.uint64((1 << (end - start)) - 1)
        order = np.argsort(block, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(block[order])) + 1):
            yield from _compare(values, bucket, distance)


def _compare(
    values: npt.NDArray[np.uint64], bucket: npt.NDArray[np.int64], distance: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the close pairs among the hashes of a bucket, some hashes with all later ones at a time."""
    hashes = values[bucket]
    step = max(1, MAX_COMPARISONS // len(bucket))
    for start in range(0, len(bucket), step):
        differing = np.bitwise_count(hashes[start : start + step, None] ^ hashes[None, start:])
        first, second = np.nonzero(differing <= distance)
        later = second > first
        yield np.stack([bucket[start + first[later]], bucket[start + second[later]]], axis=1)
