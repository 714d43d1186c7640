"""What mutmut found: a score for each file, and the survivors that tools/survivors.txt gives no reason for.

`make mutants` runs mutmut over lenet.py, lenet_utils.py, digit_pad.py and the computing experiments (pyproject.toml
says with which tests), and then this. A survivor is known by its function and the line that was changed: in
tools/survivors.txt stand such lines under the reason for which they are left.
"""

import sys
from collections import Counter
from pathlib import Path

NOTICED = ("killed", "timeout", "segfault")


def reasons():
    """Return the survivors that have a reason: {line of tools/survivors.txt: reason}."""
    found, reason = {}, ""
    for line in Path(__file__).with_name("survivors.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            reason = line[2:]
        elif line.strip():
            found[line] = reason
    return found


def in_words(name, path):
    """Return a mutant as tools/survivors.txt has it: "lenet.output_size: what its changed lines are now"."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant  # here and below: `make mutants` alone installs it

    changed = [line[1:].strip() for line in get_diff_for_mutant(name, path=path).splitlines()[2:] if line[0] == "+"]
    function = name.rpartition("__mutmut_")[0].replace("xǁ", "").replace("ǁ", ".").replace(".x_", ".")
    return f"{function}: {' '.join(changed)}"


def share(counts):
    return f"{counts['noticed']:,} of {counts.total():,} noticed, {counts['noticed'] / counts.total():.1%}"


def main():
    from mutmut.__main__ import walk_mutatable_files
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.stats import status_by_exit_code

    known, met, totals, left = reasons(), set(), Counter(), 0
    for path in walk_mutatable_files():
        mutants = SourceFileMutationData(path=path)
        mutants.load()
        counts = Counter()
        for name, exit_code in mutants.exit_code_by_key.items():
            status = status_by_exit_code[exit_code]
            counts["noticed" if status in NOTICED else "survived"] += 1
            if status in NOTICED:
                continue
            words = in_words(name, path)
            met.add(words)
            if words not in known:
                left += 1
                print(f"{status}  {words}")
        if counts:
            print(
                f"{path}: {counts['noticed']:,} of {counts.total():,} noticed, {counts['noticed'] / counts.total():.1%}"
            )
            totals += counts
    print(f"all: {totals['noticed']:,} of {totals.total():,} noticed, {totals['noticed'] / totals.total():.1%}; "
          f"{totals['survived'] - left} survivors have a reason in tools/survivors.txt, {left} have none")  # fmt: skip
    for words in set(known) - met:
        print(f"no longer a survivor: {words}")
    sys.exit(left > 0)


if __name__ == "__main__":
    main()
