"""A serial line, a directory and standard input in one context with an echo server. The tests drive them by what is
usually at the other end: socat, changes of files, and a pipe.

ONLOOP_LOOP and ONLOOP_HOSTING say on which loop.
"""

import os
import pathlib
import re
import subprocess
import tempfile
import unittest

from program import Program, start_load
from server import DEADLINE, HOSTING, LOOP, ClientTest, clean_environment, die_with_parent, echoes, wait_until

NAME = "raw_descriptors"
LINES = 3000


class RawDescriptors(ClientTest):
    def setUp(self):
        self.directory = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

    def program(self, **options):
        program = Program(NAME, LOOP, str(self.directory), f"{LOOP}:{HOSTING}" if HOSTING else LOOP, **options)
        self.line = re.fullmatch(r"serial line at (/dev/pts/\d+)", program.read_line())[1]
        return program

    def terminal(self):
        """Starts socat on the serial line. Its standard input and output are the other end of the line."""
        socat = subprocess.Popen(["socat", "-t", "0", "-", f"{self.line},raw,echo=0"], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, bufsize=0, env=clean_environment(),
                                 preexec_fn=die_with_parent)
        self.addCleanup(socat.wait)
        self.addCleanup(socat.stdout.close)
        self.addCleanup(socat.stdin.close)
        self.addCleanup(socat.kill)
        return socat

    def expect(self, program, *lines):
        self.assertEqual([program.read_line() for _ in lines], list(lines))

    def test_the_serial_line_both_ways(self):
        with self.program() as program:
            socat = self.terminal()
            socat.stdin.write(b"hello\n")
            self.expect(program, "serial: hello")
            program.process.stdin.write(b"good morning\n")
            self.expect(program, "input: good morning")
            self.assertEqual(socat.stdout.readline(), b"good morning\n")
            socat.stdin.write(b"in two ")
            socat.stdin.write(b"parts\nand another\n")
            self.expect(program, "serial: in two parts", "serial: and another")

    def test_no_line_is_lost_when_many_come(self):
        with self.program() as program, tempfile.NamedTemporaryFile() as file:
            file.write(b"".join(b"line %d\n" % number for number in range(LINES)))
            file.flush()
            socat = subprocess.Popen(["socat", "-u", f"OPEN:{file.name},rdonly", f"{self.line},raw,echo=0"],
                                     env=clean_environment(), preexec_fn=die_with_parent)
            self.expect(program, *(f"serial: line {number}" for number in range(LINES)))
            self.assertEqual(socat.wait(DEADLINE), 0)

    def test_terminals_come_and_go(self):
        with self.program() as program:
            for number in range(10):
                socat = self.terminal()
                socat.stdin.write(b"terminal %d\n" % number)
                self.expect(program, f"serial: terminal {number}")
                socat.stdin.close()
                self.assertEqual(socat.wait(DEADLINE), 0)

    def test_changes_in_the_directory_in_their_order(self):
        with self.program() as program:
            (self.directory / "one").write_text("text")
            self.expect(program, "directory: new one", "directory: written one")
            (self.directory / "one").rename(self.directory / "two")
            self.expect(program, "directory: gone one", "directory: new two")
            (self.directory / "two").unlink()
            self.expect(program, "directory: gone two")
            (self.directory / "folder").mkdir()
            self.expect(program, "directory: new folder")

    def test_many_changes_at_once(self):
        with self.program() as program:
            for number in range(300):
                (self.directory / str(number)).touch()
            self.expect(program, *(line for number in range(300)
                                   for line in (f"directory: new {number}", f"directory: written {number}")))

    def test_the_end_of_standard_input_ends_nothing_else(self):
        with self.program() as program:
            program.process.stdin.write(b"one\ntwo\n")
            self.expect(program, "input: one", "input: two")
            program.process.stdin.close()
            self.expect(program, "input: end")
            with program.connect() as client:
                echoes(client)
            self.terminal().stdin.write(b"still there\n")
            self.expect(program, "serial: still there")

    def test_standard_input_that_is_a_file_is_left_alone(self):
        with tempfile.TemporaryFile() as file, self.program(stdin=file) as program, program.connect() as client:
            self.assertIn("raw_descriptors: standard input is left alone: Operation not permitted\n", program.stderr())
            echoes(client)

    def test_standard_input_that_is_the_null_device(self):
        with self.program(stdin=subprocess.DEVNULL) as program, program.connect() as client:
            if not program.stderr():  # poll(2) accepts /dev/null as always ready; epoll(7) refuses it
                self.expect(program, "input: end")
            echoes(client)

    def test_all_of_it_beside_echo_at_full_load(self):
        with self.program() as program, start_load(program.port, 1) as load:
            socat = self.terminal()
            rounds = 0
            while load.poll() is None:
                socat.stdin.write(b"from the terminal\n")
                self.expect(program, "serial: from the terminal")
                program.process.stdin.write(b"to the terminal\n")
                self.expect(program, "input: to the terminal")
                self.assertEqual(socat.stdout.readline(), b"to the terminal\n")
                (self.directory / "file").touch()
                self.expect(program, "directory: new file", "directory: written file")
                (self.directory / "file").unlink()
                self.expect(program, "directory: gone file")
                rounds += 1
            self.assertEqual(load.returncode, 0, load.stderr.read())
            self.assertGreater(rounds, 0)

    def test_a_line_that_nobody_reads_loses_lines_and_harms_nothing(self):
        with self.program() as program, program.connect() as client:
            line = b"x" * 1000
            told = []
            while "the serial line is full: not sent" not in told:
                program.process.stdin.write(line + b"\n")
                self.expect(program, "input: " + line.decode())
                program.process.stdin.write(b"next\n")
                told.append(program.read_line())
                if told[-1] != "input: next":
                    self.expect(program, "input: next")
            echoes(client)

    def test_idle_after_a_terminal_has_gone_it_uses_no_cpu(self):
        with self.program() as program:
            socat = self.terminal()
            socat.stdin.write(b"hello\n")
            self.expect(program, "serial: hello")
            program.process.stdin.close()
            self.expect(program, "input: end")
            socat.stdin.close()
            self.assertEqual(socat.wait(DEADLINE), 0)
            status = pathlib.Path(f"/proc/{program.process.pid}/status")
            wait_until(lambda: "State:\tS" in status.read_text(), "it sleeps")

            def wakeups():
                return re.findall(r"ctxt_switches:\s+(\d+)", status.read_text())

            before = wakeups()
            with self.assertRaises(subprocess.TimeoutExpired):
                program.process.wait(1.0)
            self.assertEqual(wakeups(), before)

    def test_a_directory_that_there_is_not(self):
        self.directory /= "none"
        with self.assertRaisesRegex(AssertionError, "watch the directory .*/none: No such file or directory"):
            self.program()
        self.directory = self.directory.parent


if __name__ == "__main__":
    unittest.main()
