"""The GTK window on a display without a screen, and what it shows while real clients are connected."""

import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

from program import Program, start_load
from server import DEADLINE, ClientTest, clean_environment, die_with_parent, echoes, ended, listens, wait_until

NAME = "echo_in_gtk_window"


class Display:
    """Runs an Xvfb for the time of the `with` block."""

    def __enter__(self):
        if not shutil.which("Xvfb"):
            raise unittest.SkipTest("there is no Xvfb")
        ready, told = os.pipe()
        self.process = subprocess.Popen(
            ["Xvfb", "-displayfd", str(told), "-screen", "0", "560x400x24", "-nolisten", "tcp"], pass_fds=[told],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
        os.close(told)
        with open(ready, "rb", buffering=0) as stream:
            number = b""
            while not number.endswith(b"\n") and select.select([stream], [], [], DEADLINE)[0]:
                byte = stream.read(1)
                if not byte:
                    raise AssertionError("Xvfb does not start")
                number += byte
        self.name = f":{int(number)}"
        return self

    def __exit__(self, *unused):
        self.process.terminate()
        self.process.wait(DEADLINE)

    def screenshot(self, path):
        subprocess.run(["import", "-silent", "-window", "root", path], check=True, timeout=DEADLINE,
                       stdin=subprocess.DEVNULL, env={**clean_environment(), "DISPLAY": self.name})


class Window(ClientTest):
    def setUp(self):
        if not os.environ.get(f"ONLOOP_EXAMPLE_{NAME}", ""):
            self.skipTest(f"{NAME} was not built")
        self.display = self.enterContext(Display())
        self.home = self.enterContext(tempfile.TemporaryDirectory())

    def window(self):
        return Program(NAME, "glib", env={
            "DISPLAY": self.display.name, "GDK_BACKEND": "x11", "GSK_RENDERER": "cairo", "HOME": self.home,
            "XDG_RUNTIME_DIR": self.home, "GTK_A11Y": "none", "GSETTINGS_BACKEND": "memory",
            "DBUS_SESSION_BUS_ADDRESS": "disabled:"})

    def shown(self, window):
        """The rows and the totals that the window shows."""
        window.process.stdin.write(b"status\n")
        rows = []
        while True:
            line = window.read_line().replace("\u00a0", " ")
            if line.startswith("total: "):
                return rows, line.removeprefix("total: ")
            rows.append(line)

    def test_it_lists_its_connections(self):
        with self.window() as window:
            self.assertEqual(self.shown(window), ([], "0 connections, 0 bytes received, 0 bytes sent"))
            clients, expected = [], []
            for size, text in ((64, "64 bytes"), (1500, "1.5 kB"), (250_000, "250.0 kB")):
                client = window.connect()
                for part in range(0, size, 10_000):
                    echoes(client, os.urandom(min(10_000, size - part)))
                clients.append(client)
                expected.append("%s:%d  %s  %s" % (*client.getsockname(), text, text))
            self.assertEqual(self.shown(window), (expected, "3 connections, 251.6 kB received, 251.6 kB sent"))
            clients.pop(0).close()
            wait_until(lambda: self.shown(window)[0] == expected[1:], "the row of the client that left is gone")
            window.stop_service()
            for client in clients:
                self.assertTrue(ended(client))
                client.close()
            self.assertFalse(listens(window.process.pid, window.port))
            self.assertEqual(self.shown(window), ([], "0 connections, 0 bytes received, 0 bytes sent"))
            window.start()
            with window.connect() as client:
                echoes(client)
                self.assertEqual(len(self.shown(window)[0]), 1)

    def test_the_window_is_drawn(self):
        """A picture of the display has the many colours of the window. It changes when connections come, because the
        window is drawn again."""
        picture = pathlib.Path(os.environ.get("ONLOOP_SCREENSHOT", f"{self.home}/window.png"))

        def pixels():
            self.display.screenshot(str(picture))
            return subprocess.run(["convert", str(picture), "-depth", "8", "rgb:-"], check=True, capture_output=True,
                                  timeout=DEADLINE).stdout

        with self.window() as window:
            first = wait_until(lambda: len(set(zip(*[iter(raw := pixels())] * 3))) > 20 and raw, "the window is there")
            clients = []
            for size in (64, 1500, 20_000, 480_000, 3_200_000, 77_777):
                clients.append(window.connect())
                for part in range(0, size, 10_000):
                    echoes(clients[-1], bytes(min(10_000, size - part)))
            self.assertEqual(self.shown(window)[1], "6 connections, 3.8 MB received, 3.8 MB sent")
            footer = len(first) * 9 // 10  # the picture shows the totals from this byte on
            wait_until(lambda: pixels()[footer:] != first[footer:], "the totals are drawn")
            for client in clients:
                client.close()

    def test_it_is_answering_at_full_load(self):
        with self.window() as window, start_load(window.port, 1) as load:
            try:
                wait_until(lambda: len(self.shown(window)[0]) == 50, "50 rows")
                answers = 0
                while load.poll() is None:
                    self.shown(window)
                    answers += 1
                self.assertEqual(load.returncode, 0, load.stderr.read())
            finally:
                load.kill()
            print(f"gtk: {answers} commands answered at full load, {self.shown(window)[1]}")
            self.assertGreater(answers, 2)
            wait_until(lambda: self.shown(window)[0] == [], "all rows are gone")

    def test_signals_end_it(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=number.name), self.window() as window, window.connect() as client:
                echoes(client)
                self.assertEqual(window.end(number), 0, window.stderr())
                self.assertTrue(ended(client))
                self.assertNotRegex(window.stderr(), r"CRITICAL")


if __name__ == "__main__":
    unittest.main()
