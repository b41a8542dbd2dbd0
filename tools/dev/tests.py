# SPDX-License-Identifier: Apache-2.0
"""Counts tests for ./dev test: each call prints "PASSED FAILED SKIPPED" on stdout, the rest on stderr.

    tests.py ctest RESULTS.xml      counts a results file of `ctest --output-junit`, shows the failures
    tests.py unittest FOLDER…       runs the test_*.py in each folder
"""
import collections
import sys
import unittest
import xml.etree.ElementTree as tree

SHOWN_LINES = 60  # of each failed test's output
SHOWN_TESTS = 20


def count_ctest(path):
    count = collections.Counter()
    shown = 0
    for case in tree.parse(path).getroot().iter("testcase"):
        if case.find("skipped") is not None or case.get("status") == "disabled":
            count["skipped"] += 1
            continue
        if case.get("status") == "run":
            count["passed"] += 1
            continue
        count["failed"] += 1
        shown += 1
        if shown <= SHOWN_TESTS:
            said = (case.findtext("system-out") or "(no output: not built, or it timed out)").rstrip()
            print(f"-- FAILED {case.get('name')}", file=sys.stderr)
            print("\n".join(said.split("\n")[-SHOWN_LINES:]), file=sys.stderr)
    if shown > SHOWN_TESTS:
        print(f"-- and {shown - SHOWN_TESTS} more failed tests", file=sys.stderr)
    return count


def run_unittests(folders):
    count = collections.Counter()
    for folder in folders:
        suite = unittest.TestLoader().discover(folder, "test_*.py", top_level_dir=folder)
        result = unittest.TextTestRunner(stream=sys.stderr, verbosity=1).run(suite)
        bad = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
        count["failed"] += bad
        count["skipped"] += len(result.skipped)
        # A module that does not load is an error on top of the tests run; never count below zero.
        count["passed"] += max(0, result.testsRun - bad - len(result.skipped))
    return count


def main(arguments):
    if len(arguments) == 2 and arguments[0] == "ctest":
        count = count_ctest(arguments[1])
    elif len(arguments) >= 2 and arguments[0] == "unittest":
        count = run_unittests(arguments[1:])
    else:
        sys.exit(__doc__)
    print(count["passed"], count["failed"], count["skipped"])


main(sys.argv[1:])
