"""Digits of MNIST as strokes: their skeletons, walked from end to end."""

import numpy as np
from scipy.ndimage import convolve, zoom
from skimage.morphology import skeletonize

FINE = 4  # the digit is enlarged before it is thinned, or the skeleton would be too coarse to follow


def trace(digit):
    """Return the strokes of `digit`, uint8 [28, 28]: lists of points [x, y] in pixels, 0 to 28, y downwards.

    The enlarged digit is thinned to lines one cell wide. Each walk starts at an end of a line if there is one, goes on
    in the direction it has while cells are left, and takes each cell once; where lines cross, another walk starts.
    """
    lines = skeletonize(zoom(digit.astype(float), FINE, order=1, grid_mode=True, mode="nearest") > 127)
    left, strokes = {(y, x) for y, x in zip(*np.nonzero(lines), strict=True)}, []
    degree = convolve(lines.astype(int), np.ones((3, 3), int), mode="constant") - 1

    def neighbours(cell, of):
        y, x = cell
        return [(y + j, x + i) for j in (-1, 0, 1) for i in (-1, 0, 1) if (j or i) and (y + j, x + i) in of]

    every = frozenset(left)
    while left:
        ends = [cell for cell in left if degree[cell] == 1] or [
            cell for cell in left if len(neighbours(cell, left)) == 1
        ] or list(left)  # fmt: skip
        cell = min(ends)
        left.remove(cell)
        # Begin on the line already drawn, so that the branch joins it.
        drawn = [near for near in neighbours(cell, every) if near not in left and near != cell]
        path = [*drawn[:1], cell]
        while near := neighbours(cell, left):
            back = np.subtract(path[max(-len(path), -6)], cell)  # where the walk comes from
            cell = min(near, key=lambda to: (np.dot(np.subtract(to, cell), back), to))
            left.remove(cell)
            path.append(cell)
        path += [near for near in neighbours(cell, every) if near not in path[-3:]][:1]
        if len(path) > FINE or not strokes:
            strokes.append([((x + 0.5) / FINE, (y + 0.5) / FINE) for y, x in path])
    return strokes
