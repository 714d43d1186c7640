"""The project's records: results/*.json without bench_*.json, which `make bench` writes on any reader's machine."""

from tools.notebook_rules import ROOT

RECORDS = sorted(path for path in (ROOT / "results").glob("*.json") if not path.stem.startswith("bench_"))
