"""The long runs: `python -m experiments.NAME` does what results/NAME*.json lacks of them."""
