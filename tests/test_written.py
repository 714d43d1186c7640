"""What the tutorial is about stands in the notebooks' cells: from those alone, the networks can be built again."""

import ast
import math
from collections import OrderedDict
from types import SimpleNamespace

import nbformat
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lenet
from lenet_utils import seed_everything
from tools.notebook_rules import ROOT, code_cells, committed


def define(notebook, names, **given):
    """Run the cells of a notebook that define `names`, without their claims and prints; return what they define."""
    cells = code_cells(nbformat.reads(committed(ROOT / "notebooks" / f"{notebook}.ipynb"), as_version=4))
    namespace = {"torch": torch, "nn": nn, "F": F, "math": math, "OrderedDict": OrderedDict} | given
    for name in names:
        found = [cell.source for cell in cells if name in defined_by(cell.source)]
        assert len(found) == 1, f"notebook {notebook} defines {name} in {len(found)} cells"
        body = [statement for statement in ast.parse(found[0]).body if not isinstance(statement, ast.Expr)]
        exec(compile(ast.Module(body, []), notebook, "exec"), namespace)
    return SimpleNamespace(**{name: namespace[name] for name in names})


def defined_by(source):
    """Return the names of the functions and classes that a cell defines, and of the variables that it sets."""
    names = set()
    for statement in ast.parse(source).body:
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            names.add(statement.name)
        elif isinstance(statement, ast.Assign):
            names |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
    return names


@pytest.fixture(scope="module")
def written():
    """lenet.py as a reader would write it again: each piece from the notebook that builds it, on those before it."""
    module = define("01_output_sizes", ["size_after", "ScaledTanh", "Subsample", "tutorial_lenet"])
    module.output_size = module.size_after
    found = define("02_c3_connection_table", ["three", "PartialConv2d"])  # one cell writes down the whole table
    module.PartialConv2d, module.C3_TABLE = found.PartialConv2d, define("02_c3_connection_table", ["table"]).table
    squash = module.ScaledTanh()
    names = ["CODES", "RBFOutput", "LeNet5", "draw_first_weights"]
    found = define("05_original_1998", names, lenet=module, squash=squash)

    def first_network():
        net = found.LeNet5()
        found.draw_first_weights(net)
        return net

    module.RBFOutput, module.LeNet5 = found.RBFOutput, first_network
    module.modern_lenet = define("06_modern_lenet", ["modern_lenet"], lenet=module).modern_lenet
    return module


@pytest.mark.parametrize(("name", "size"), [("LeNet5", 32), ("tutorial_lenet", 28), ("modern_lenet", 32)])
def test_the_network_written_in_the_notebooks_is_the_tidy_one(written, name, size):
    nets = []
    for module in (written, lenet):
        seed_everything(7)
        nets.append(getattr(module, name)())
    ours, tidy = (net.state_dict() for net in nets)
    assert list(ours) == list(tidy)
    assert all(torch.equal(ours[key], tidy[key]) for key in ours)
    images = torch.rand(5, 1, size, size)
    assert torch.equal(nets[0](images), nets[1](images))


def test_the_table_and_the_bitmaps_written_in_the_notebooks_are_the_tidy_ones(written):
    assert torch.equal(written.C3_TABLE, lenet.C3_TABLE)
    assert torch.equal(written.RBFOutput().bitmaps, lenet.RBFOutput().bitmaps)


def test_the_formula_written_in_the_notebooks_is_the_tidy_one(written):
    for case in [(32, 5), (28, 2, 2), (28, 5, 1, 2), (8, 3, 2), (5, 5)]:
        assert written.output_size(*case) == lenet.output_size(*case)
    with pytest.raises(ValueError, match="does not fit"):
        written.output_size(4, 5)
