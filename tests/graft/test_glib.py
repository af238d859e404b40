"""gsettings and yad: an onloop guest on the default main context, brought in by a module of GIO's."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import unittest

from host import GRAFT, LOOPBACK, GraftTest, Host, connect, die_with_parent, run

MODULES = {"GIO_EXTRA_MODULES": os.path.dirname(os.path.abspath(GRAFT))}
SCHEMA = """<schemalist><schema id="org.example.graft" path="/org/example/graft/">
<key name="count" type="i"><default>0</default></key></schema></schemalist>"""


@unittest.skipUnless(shutil.which("gsettings"), "gsettings (libglib2.0-bin) is not installed")
class Gsettings(GraftTest):
    def setUp(self):
        super().setUp()
        pathlib.Path(self.path("org.example.graft.gschema.xml")).write_text(SCHEMA)
        run(shutil.which("glib-compile-schemas") or "/usr/lib/x86_64-linux-gnu/glib-2.0/glib-compile-schemas",
            self.directory)
        # The keyfile backend is a file, which those who monitor it watch: no daemon, no session bus.
        self.settings = {"GSETTINGS_SCHEMA_DIR": self.directory, "GSETTINGS_BACKEND": "keyfile",
                         "XDG_CONFIG_HOME": self.directory}

    def monitor(self, listen=LOOPBACK, env=None):
        return Host("gsettings", "monitor", "org.example.graft", listen=listen,
                    env={**MODULES, **self.settings, **(env or {})})

    def gsettings(self, *arguments, env=None):
        return run("gsettings", *arguments, env={**os.environ, **self.settings, **(env or {})})

    def assert_host_and_guest_are_served(self, env):
        with self.monitor(env=env) as host:
            address = host.address("glib")
            count = 0

            def change():
                nonlocal count
                count += 1
                self.gsettings("set", "org.example.graft", "count", str(count))
                host.wait_for_output(f"count: {count}\n")

            self.assert_echoes(address, change)
            host.signal(signal.SIGTERM)
            self.assertEqual(host.wait(), -signal.SIGTERM)

    def test_host_and_guest_are_served_at_a_time(self):
        self.assert_host_and_guest_are_served({})

    def test_likewise_if_the_loop_watches_each_descriptor(self):
        self.assert_host_and_guest_are_served({"ONLOOP_GRAFT_DIRECT": "1"})

    def test_a_unix_socket_that_a_killed_host_left_is_taken_over(self):
        address = "unix:" + self.path("guest.sock")
        for _ in range(2):
            with self.monitor(address) as host:
                self.assertEqual(host.address("glib"), address)
                with connect(address) as client:
                    client.sendall(b"hello")
                    self.assertEqual(client.recv(5, socket.MSG_WAITALL), b"hello")
                host.signal(signal.SIGKILL)
                self.assertEqual(host.wait(), -signal.SIGKILL)

    def test_one_glib_is_in_the_process(self):
        with self.monitor() as host:
            host.address("glib")
            self.assertEqual(len(host.mapped("libglib-2.0.so")), 1, host.mapped("libglib"))

    def test_a_program_without_a_main_loop_is_left_alone(self):
        self.assertEqual(self.gsettings("get", "org.example.graft", "count",
                                        env={**MODULES, "ONLOOP_GRAFT_LISTEN": LOOPBACK}), "0\n")


@unittest.skipUnless(shutil.which("yad") and shutil.which("Xvfb"), "yad or Xvfb is not installed")
class Dialog(GraftTest):
    def setUp(self):
        super().setUp()
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        try:
            self.server = subprocess.Popen(["Xvfb", "-displayfd", str(writer), "-nolisten", "tcp"], pass_fds=[writer],
                                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                           preexec_fn=die_with_parent)
        finally:
            os.close(writer)
        self.addCleanup(self.server.wait)
        self.addCleanup(self.server.terminate)
        self.display = ":" + os.read(reader, 16).decode().strip()

    def test_the_progress_of_a_dialog_goes_on(self):
        """The window takes its progress from its standard input, and ends with status 0 at 100."""
        env = {**MODULES, "DISPLAY": self.display, "HOME": self.directory, "NO_AT_BRIDGE": "1"}
        with Host("yad", "--progress", "--auto-close", env=env, stdin=subprocess.PIPE) as host:
            address = host.address("glib")
            done = 0

            def progress():
                nonlocal done
                done = min(done + 1, 99)
                host.process.stdin.write(b"%d\n" % done)
                host.process.stdin.flush()
                with connect(address) as client:
                    client.sendall(b"hello")
                    self.assertEqual(client.recv(5, socket.MSG_WAITALL), b"hello")

            self.assert_echoes(address, progress)
            host.process.stdin.write(b"100\n")
            host.process.stdin.close()
            self.assertEqual(host.wait(), 0)


if __name__ == "__main__":
    unittest.main()
