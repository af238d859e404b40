#!/usr/bin/env python3
"""Compiles each program of wrong_shapes.cpp. The compiler must refuse each callback of a wrong shape with a sentence.

usage: wrong_shapes.py COMPILER INCLUDE_DIRECTORY
"""
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import unittest

SOURCE = pathlib.Path(__file__).with_name("wrong_shapes.cpp")
COMPILER, INCLUDE = sys.argv[1:3]
CASES = re.findall(r"defined\((\w+)\) +// (.*)", SOURCE.read_text())


def compile_with(*flags):
    command = [COMPILER, "-std=c++20", "-fsyntax-only", f"-I{INCLUDE}", *flags, str(SOURCE)]
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)


class WrongShapes(unittest.TestCase):
    def test_the_right_shapes_compile_without_a_warning(self):
        result = compile_with("-Wall", "-Wextra", "-Werror", "-Wno-unused")
        self.assertEqual(result.returncode, 0, result.stderr[:3000])

    def test_each_wrong_shape_is_refused_with_its_sentence(self):
        self.assertGreater(len(CASES), 10)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            results = list(pool.map(lambda case: compile_with(f"-D{case[0]}"), CASES))
        for (name, sentence), result in zip(CASES, results):
            with self.subTest(name):
                self.assertNotEqual(result.returncode, 0, "it compiles")
                errors = [line for line in result.stderr.splitlines() if "error: " in line]
                self.assertEqual(len(errors), 1, result.stderr[:3000])
                self.assertIn("static", errors[0])
                self.assertIn(sentence, errors[0])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
