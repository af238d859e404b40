"""Applications on loops of other libraries get an echo service and lose it again. Their own work goes on.

ONLOOP_HOST names the application: glib, libevent, libuv or sdevent.
"""

import hashlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import unittest

from program import Program, start_load
from server import DEADLINE, ClientTest, echoes, ended, listens, wait_until

HOST = os.environ.get("ONLOOP_HOST", "glib")
NAME = "echo_in_sdevent_service" if HOST == "sdevent" else f"echo_in_{HOST}_app"


def application(**options):
    return Program(NAME, HOST, **options)


class Applications(ClientTest):
    def relay(self, *command):
        payload = os.urandom(8 << 20)
        result = subprocess.run(command, input=payload, capture_output=True, timeout=DEADLINE)
        self.assertEqual((result.returncode, len(result.stdout)), (0, len(payload)), result.stderr)
        self.assertEqual(hashlib.sha256(result.stdout).digest(), hashlib.sha256(payload).digest())

    def assert_alive(self, app):
        """Asserts that the timer, the idle work and the commands of the application go on. Each status is a new
        answer."""
        before = app.status()
        wait_until(lambda: app.status()["ticks"] >= before["ticks"] + 3, "the application's timer ticks")
        wait_until(lambda: app.status()["idle_callbacks"] > before["idle_callbacks"], "the application's idle work")

    def wait_for_descriptors(self, app, expected):
        """Waits until exactly these descriptors are open. On libuv, handles are gone only after one more turn, so this
        asks again. The timer of the application turns the loop."""
        wait_until(lambda: app.descriptors() == expected, f"only these are open: {expected}, not {app.descriptors()}")

    def test_nc_gets_every_byte_back(self):
        with application() as app:
            self.relay("nc", "-N", "127.0.0.1", str(app.port))

    def test_socat_gets_every_byte_back(self):
        with application() as app:
            self.relay("socat", "-t", "30", "STDIO", f"TCP:127.0.0.1:{app.port}")

    def test_what_is_its_own_goes_on_at_full_load(self):
        with application() as app:
            wait_until(lambda: app.status()["ticks"] > 50, "the timer ticks")
            worst_before, app.worst_lateness_us = app.worst_lateness_us, 0
            with start_load(app.port, 1) as load:
                try:
                    wait_until(lambda: app.status()["connections"] == 50, "all are connected")
                    first = last = app.status()
                    answers = 0
                    while load.poll() is None:
                        wait_until(lambda: load.poll() is not None or app.status()["ticks"] > last["ticks"] + 5,
                                   "the timer ticks")
                        last = app.status()
                        answers += 1
                    report = json.loads(load.stdout.read())
                    self.assertEqual((load.returncode, report["errors"]), (0, 0), load.stderr.read())
                finally:
                    load.kill()
            ticks, idle = last["ticks"] - first["ticks"], last["idle_callbacks"] - first["idle_callbacks"]
            print(f"{HOST}: {report['messages']} messages in a second; worst lateness of the 10 ms timer "
                  f"{app.worst_lateness_us} us (before: {worst_before} us), {ticks} ticks, {idle} idle callbacks, "
                  f"{answers} commands answered one after another")
            self.assertGreater(report["messages"], 1000)
            self.assertGreater(answers, 2)
            self.assertGreater(ticks, 10)
            self.assertGreater(idle, 10)

    def test_stop_takes_the_service_away_and_nothing_else(self):
        with application() as app:
            clients = [app.connect() for _ in range(5)]
            for client in clients:
                echoes(client, b"served")
            self.assertEqual((app.status()["service"], app.status()["connections"]), ("on", 5))
            port = app.port
            app.stop_service()
            for client in clients:
                self.assertTrue(ended(client))
                client.close()
            self.assertFalse(listens(app.process.pid, port))
            self.assertEqual((app.status()["service"], app.status()["connections"]), ("off", 0))
            self.assert_alive(app)
            self.assertEqual(app.end(), 0, app.stderr())

    def test_start_brings_it_back(self):
        with application() as app:
            for _ in range(5):
                app.stop_service()
                app.start()
                with app.connect() as client:
                    echoes(client, b"served again")
            self.assert_alive(app)

    def test_no_descriptor_stays_behind(self):
        with application() as app:
            app.stop_service()
            app.status()  # makes the loop turn once more
            self.assert_alive(app)
            without = app.descriptors()
            for _ in range(3):
                app.start()
                self.assertGreater(len(app.descriptors()), len(without))
                clients = [app.connect() for _ in range(10)]
                for client in clients:
                    echoes(client)
                app.stop_service()
                for client in clients:
                    client.close()
                self.wait_for_descriptors(app, without)

    def test_clients_that_do_not_read_do_not_hold_it_up(self):
        with application() as app:
            deaf = [app.connect() for _ in range(5)]
            for client in deaf:
                client.setblocking(False)
                try:
                    while True:
                        client.send(bytes(1 << 16))
                except BlockingIOError:
                    pass
            with app.connect() as client:
                echoes(client, b"served meanwhile")
            self.assert_alive(app)
            app.stop_service()
            self.assert_alive(app)
            for client in deaf:
                client.close()

    def test_signals_and_the_end_of_input_end_it(self):
        for service in (True, False):
            for number in (signal.SIGTERM, signal.SIGINT):
                with self.subTest(service=service, signal=number.name), application() as app:
                    if not service:
                        app.stop_service()
                    self.assertEqual(app.end(number), 0, app.stderr())
            with self.subTest(service=service, end="of standard input"), application() as app:
                if not service:
                    app.stop_service()
                app.process.stdin.close()
                self.assertEqual(app.process.wait(DEADLINE), 0, app.stderr())

    def test_clients_are_let_go_when_it_ends(self):
        with application() as app:
            client = app.connect()
            echoes(client)
            self.assertEqual(app.end(), 0, app.stderr())
            self.assertTrue(ended(client))
            client.close()

    def test_an_unknown_command_is_answered(self):
        with application() as app:
            self.assertIn("start, stop, status", app.command("dance"))


@unittest.skipUnless(HOST == "sdevent", "for systemd only")
class Systemd(ClientTest):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.socket.close)
        self.socket.settimeout(DEADLINE)
        self.socket.bind(f"{self.directory.name}/notify")
        self.environment = {"NOTIFY_SOCKET": f"{self.directory.name}/notify"}

    def heard(self):
        return self.socket.recv(4096).decode().splitlines()

    def test_ready_and_stopping_are_told(self):
        with application(env=self.environment) as app:
            self.assertEqual(self.heard(), ["READY=1"])
            self.assertEqual(app.end(), 0, app.stderr())
            self.assertEqual(self.heard(), ["STOPPING=1"])

    def test_the_watchdog_is_fed_at_full_load(self):
        with application(env={**self.environment, "WATCHDOG_USEC": "200000"}) as app:
            self.assertEqual(sorted([*self.heard(), *self.heard()]), ["READY=1", "WATCHDOG=1"])
            with start_load(app.port, 1) as load:
                try:
                    wait_until(lambda: app.status()["connections"] == 50, "all are connected")
                    fed = 0
                    while load.poll() is None:  # the end of the load is noticed at most one message late
                        self.assertEqual(self.heard(), ["WATCHDOG=1"])
                        fed += 1
                    self.assertEqual(load.returncode, 0, load.stderr.read())
                finally:
                    load.kill()
            self.assertGreater(fed, 4, "times that the watchdog was fed")
            app.stop_service()
            for _ in range(2):
                self.assertEqual(self.heard(), ["WATCHDOG=1"])

    def test_without_standard_input_it_serves(self):
        """Standard input is /dev/null, as for a service. epoll cannot watch it."""
        path = os.environ.get(f"ONLOOP_EXAMPLE_{NAME}", "")
        if not path:
            self.skipTest("not built")
        with subprocess.Popen([path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              env=self.environment) as process:
            self.assertEqual(self.heard(), ["READY=1"])
            port = int(process.stdout.readline().split()[2].rpartition(b":")[2])
            with socket.create_connection(("127.0.0.1", port), DEADLINE) as client:
                echoes(client, b"served")
            process.terminate()
            self.assertEqual(process.wait(DEADLINE), 0)


if __name__ == "__main__":
    unittest.main()
