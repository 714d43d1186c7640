"""The networks of the records: what a run's `network` names, built from a table; nothing that a file says is run."""

import ast

from experiments.c3_tables import c3_network
from experiments.distilled_lenet import teacher_network
from experiments.modern_kernel import full_lenet
from experiments.modern_lenet import ladder_network
from experiments.own_kernel import relu_lenet
from lenet import C3_TABLE, LeNet5, modern_lenet, tutorial_lenet

MAKERS = (LeNet5, tutorial_lenet, modern_lenet, ladder_network, c3_network, teacher_network, relu_lenet, full_lenet)
CONSTRUCTORS = {make.__name__: make for make in MAKERS}
TABLES = {"C3_TABLE": C3_TABLE}


def build(expression):
    """Return the untrained network of an expression such as "LeNet5()" or "ladder_network(output='rbf', norm=False)".

    It must be one call of a name in CONSTRUCTORS with plain values or a name in TABLES. Raises ValueError for all else.
    """
    try:
        call = ast.parse(expression, mode="eval").body
        make = CONSTRUCTORS[call.func.id]
        places = [TABLES[node.id] if isinstance(node, ast.Name) else ast.literal_eval(node) for node in call.args]
        names = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
        return make(*places, **names)
    except (SyntaxError, AttributeError, KeyError, TypeError, ValueError) as error:
        known = ", ".join(CONSTRUCTORS)
        raise ValueError(f"{expression!r} is not a network of a record, a call of {known} ({error}).") from error
