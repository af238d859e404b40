"""A child process of a context, on every loop: its output and its end."""

import os
import signal
import subprocess
import unittest

import program  # noqa: F401, the import makes the module `server` available
from server import DEADLINE, ClientTest, clean_environment, die_with_parent, run

PATH = os.environ.get("ONLOOP_EXAMPLE_child_process", "")


def loops():
    lines = [line.split(maxsplit=1) for line in run("--list-loops").stdout.splitlines()]
    return [name for name, description in lines if "not available" not in description]


class ChildProcess(ClientTest):
    def setUp(self):
        if not PATH:
            self.skipTest("child_process was not built")

    def result(self, *arguments):
        done = subprocess.run([PATH, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=DEADLINE, env=clean_environment())
        return done.returncode, done.stdout, done.stderr

    def test_sort_gets_lines_and_gives_them_back_on_every_loop(self):
        for loop in loops():
            with self.subTest(loop=loop):
                self.assertEqual(self.result("--loop", loop), (
                    0, "out: four\nout: one\nout: three\nout: two\nchild: exited with status 0\n", ""))

    def test_both_outputs_and_the_status_are_told(self):
        status, out, err = self.result("sh", "-c", "echo for err >&2; wc -l; printf unfinished; exit 3")
        self.assertEqual(sorted(out.splitlines()),
                         ["child: exited with status 3", "err: for err", "out: 4", "out: unfinished"])
        self.assertEqual((status, err), (1, ""))

    def test_a_missing_program_is_said(self):
        self.assertEqual(self.result("no-such-program"), (
            1, "", "child_process: spawn no-such-program: No such file or directory\n"))

    def test_signals_end_the_child(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=number.name), subprocess.Popen(
                    [PATH, "sh", "-c", "echo ready; exec sleep 100000"], stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE, text=True, env=clean_environment(), preexec_fn=die_with_parent) as parent:
                self.assertEqual(parent.stdout.readline(), "out: ready\n")
                parent.send_signal(number)
                self.assertEqual(parent.stdout.read(), "child: killed by signal 9 (Killed)\n")
                self.assertEqual(parent.wait(DEADLINE), 1)


if __name__ == "__main__":
    unittest.main()
