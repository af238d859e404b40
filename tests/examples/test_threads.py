"""Threads work beside a loop. The thread of the loop sends their results, and serves echo clients in the meantime.

ONLOOP_EXAMPLE names one of the two ways to do this. ONLOOP_LOOP and ONLOOP_HOSTING name the loop.
"""

import os
import re
import select
import socket
import subprocess
import unittest

from program import Program, start_load
from server import DEADLINE, HOSTING, LOOP, ClientTest, echoes, ended, wait_until

NAME = os.environ.get("ONLOOP_EXAMPLE", "threads_wake")
PRIMES = {0: 0, 2: 0, 3: 1, 10: 4, 100: 25, 1000: 168, 10_000: 1229}
FOR_EVER = b"10000000000000\n"


class Threads(ClientTest):
    def program(self):
        program = Program(NAME, LOOP, f"{LOOP}:{HOSTING}" if HOSTING else LOOP)
        self.primes = int(re.fullmatch(r"primes on 127\.0\.0\.1:(\d+)", program.read_line())[1])
        return program

    def client(self):
        client = self.enterContext(socket.create_connection(("127.0.0.1", self.primes), DEADLINE))
        return client, self.enterContext(client.makefile("rb"))

    def test_many_clients_get_their_own_answers_in_order(self):
        questions = [*PRIMES] * 20
        with self.program():
            clients = [self.client() for _ in range(20)]
            for client, _ in clients:
                client.sendall(b"".join(b"%d\n" % limit for limit in questions))
                client.shutdown(socket.SHUT_WR)
            for _, lines in clients:
                self.assertEqual([int(line) for line in lines], [PRIMES[limit] for limit in questions])

    def test_netcat_gets_an_answer(self):
        with self.program():
            result = subprocess.run(["nc", "-N", "127.0.0.1", str(self.primes)], input=b"100\n", capture_output=True,
                                    timeout=DEADLINE)
            self.assertEqual((result.returncode, result.stdout), (0, b"25\n"), result.stderr)

    def test_echo_goes_on_while_threads_are_busy_and_a_signal_ends_them(self):
        with self.program() as program, program.connect() as echo:
            client, lines = self.client()
            client.sendall(b"100\n" + FOR_EVER)
            self.assertEqual(lines.readline(), b"25\n")
            for _ in range(100):
                echoes(echo, b"served while a thread is at it")
            other, other_lines = self.client()
            other.sendall(b"1000\n")
            self.assertEqual(other_lines.readline(), b"168\n", "another thread answers")
            self.assertEqual(select.select([client], [], [], 0)[0], [])
            self.assertEqual(program.end(), 0, program.stderr())
            self.assertTrue(ended(client))

    def test_full_load_on_both(self):
        with self.program() as program, start_load(program.port, 1) as load:
            client, lines = self.client()
            answers = 0
            while load.poll() is None:
                client.sendall(b"10\n")
                self.assertEqual(lines.readline(), b"4\n")
                answers += 1
            self.assertEqual(load.returncode, 0, load.stderr.read())
            self.assertGreater(answers, 0)

    def test_an_answer_for_a_client_that_has_gone_is_dropped(self):
        with self.program():
            for _ in range(50):
                client, _ = self.client()
                client.sendall(b"3000\n")
                client.close()
            client, lines = self.client()
            client.sendall(b"10\n")
            self.assertEqual(lines.readline(), b"4\n")

    def test_what_is_no_number_ends_the_conversation(self):
        with self.program():
            for line in (b"ten\n", b"10 20\n", b"-1\n", b"\n", b"9" * 30 + b"\n", b"1" * 1000):
                client, lines = self.client()
                client.sendall(line)
                self.assertEqual(lines.read(), b"a line is one number\n")

    def test_idle_it_uses_no_cpu(self):
        with self.program() as program:
            directory = f"/proc/{program.process.pid}/task"

            def asleep():
                states = [open(f"{directory}/{thread}/stat").read().rpartition(") ")[2][0]
                          for thread in os.listdir(directory)]
                return states == ["S"] * 4

            def wakeups():
                return sum(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)",
                                         open(f"{directory}/{thread}/status").read(),
                                         re.MULTILINE)[1]) for thread in os.listdir(directory))

            wait_until(asleep, "its four threads sleep")
            before = wakeups()
            with self.assertRaises(subprocess.TimeoutExpired):
                program.process.wait(1.0)
            self.assertEqual(wakeups(), before)


if __name__ == "__main__":
    unittest.main()
