"""Thousands of live connections go from process to process, between every ordered pair of loops. No client notices."""

import contextlib
import itertools
import json
import os
import resource
import signal
import socket
import statistics
import struct
import subprocess
import threading
import unittest

from server import DEADLINE, LOAD, available_loops, clean_environment, die_with_parent, echoes, tour, wait_until
from takeover_case import TakeoverTest

LOADED = 200
WANTED = 5000
VISITORS = 4  # at the same time
SPARE = 200  # descriptors of a process that are not connections


class Visitors(threading.Thread):
    """A thread that connects again and again, by TCP and UNIX socket in turn, and has one message echoed each time. It
    keeps all failures."""

    def __init__(self, port, path):
        super().__init__()
        self.port, self.path = port, path
        self.over = threading.Event()
        self.served = 0
        self.failures = []

    def connect(self):
        if self.served % 2 == 0:
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(DEADLINE)
            client.connect(self.path)
            return client
        client = socket.create_connection(("127.0.0.1", self.port), DEADLINE)
        # The connection ends with a reset, which leaves no port in TIME_WAIT. Otherwise the ports would run out.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return client

    def run(self):
        while not self.over.is_set():
            try:
                with self.connect() as client:
                    echoes(client, b"visitor %d" % self.served)
            except (OSError, AssertionError) as error:
                self.failures.append(f"visitor {self.served}: {error!r}")
            self.served += 1

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *unused):
        self.over.set()
        self.join()


class Load:
    """Runs onloop-load until finish()."""

    def __init__(self, address):
        self.process = subprocess.Popen(
            [LOAD, address, "--connections", str(LOADED), "--size", "500", "--duration", "3600", "--json"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=clean_environment(), preexec_fn=die_with_parent)

    def finish(self):
        """Stops onloop-load. Returns its exit status, its report and its messages on standard error."""
        self.process.send_signal(signal.SIGINT)
        output, errors = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, output, errors

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


class Tour(TakeoverTest):
    def stops(self):
        """The stops of the tour, each with a loop and a hosting. First comes each ordered pair of loops with the
        default hosting. Then come the loops of other libraries with direct hosting, and at last native again."""
        loops = available_loops()
        self.assertLessEqual({"native", "native-poll"}, set(loops))
        round_trip = tour(loops, to_itself=True)
        self.assertEqual(sorted(itertools.pairwise(round_trip)), sorted(itertools.product(loops, repeat=2)))
        guests = [name for name in loops if not name.startswith("native")]
        return [(name, "") for name in round_trip] + [(name, "direct") for name in guests] + [("native", "")]

    def test_5000_connections_go_between_every_ordered_pair_of_loops(self):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        total = min(WANTED, hard - SPARE)
        if total < WANTED:
            print(f"{total} connections, not {WANTED}: the hard limit of descriptors is {hard}")
        path = f"{self.directory}/echo"
        (loop, hosting), *stops = self.stops()
        server = self.serve(loop=loop, hosting=hosting, listen=("127.0.0.1:0", f"unix:{path}"))
        quiet = self.connect(server, total - LOADED)
        stalls = []
        with Load(server.addresses[0]) as load, contextlib.ExitStack() as visits:
            visitors = [visits.enter_context(Visitors(server.port, path)) for _ in range(VISITORS)]
            wait_until(lambda: json.loads(server.ctl("stats"))["connections"] >= total, "the load is there")
            for name, hosting in stops:
                old, server = server, self.successor(server, loop=name, hosting=hosting)
                self.assert_ended(old)
                self.assertGreaterEqual(server.taken, total)
                self.assertEqual(old.lines(r"onloop-echo: handed over (\d+) connections: stopping"),
                                 [str(server.taken)])
                stalls.append((server.stall, f"{loop} to {name} {hosting}".rstrip()))
                loop = name
                old.kill()  # closes the descriptors of this test for it
            visits.close()
            status, output, errors = load.finish()
        self.assertEqual([failure for visitor in visitors for failure in visitor.failures], [])
        self.assertEqual((status, errors), (0, ""), output)
        report = json.loads(output)
        self.assertEqual(report["errors"], 0, output)
        self.assertGreater(report["messages"], LOADED * len(stops), "there was traffic all the time")
        visits = sum(visitor.served for visitor in visitors)
        self.assertGreater(visits, 2 * len(stops), "visitors came all the time")
        self.assert_served(quiet)
        for client in quiet:
            client.close()
        self.assertEqual(server.stop(), 0, server.stderr())
        self.assertFalse(os.path.exists(path))
        worst, where = max(stalls)
        median = statistics.median(stall for stall, _ in stalls)
        print(f"{len(stalls)} takeovers of {total} connections, {visits} visits meanwhile: not served for "
              f"{median / 1e3:.1f} ms in the median, {worst / 1e3:.1f} ms at worst ({where})")


if __name__ == "__main__":
    unittest.main()
