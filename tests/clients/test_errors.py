"""Bad input: one line that says what is wrong, and the exit status that tells usage (2) from run time (1)."""

import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import unittest

from server import ECHO, ROOT, ClientTest, EchoServer, run

NOBODY = 65534


class Errors(ClientTest):
    def assert_fails(self, result, status, *words):
        self.assertEqual(result.returncode, status, result)
        self.assertEqual(result.stdout, "")
        self.assertRegex(result.stderr, r"\Aonloop-echo: [^\n]+\n\Z", "one line")
        for word in words:
            self.assertIn(word, result.stderr)

    def run_as_nobody(self, *arguments):
        """As a user without rights, with a copy of the program, since nobody may look into a home directory."""
        directory = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        directory.chmod(0o755)
        program = shutil.copy(ECHO, directory / "onloop-echo")
        identity = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
        return run(*arguments, program=program, cwd="/", **identity)

    def test_an_address_in_use(self):
        with EchoServer() as server:
            address = server.addresses[0]
            self.assert_fails(run("--listen", address), 1, address, "Address already in use")

    def test_a_unix_socket_in_use(self):
        with tempfile.TemporaryDirectory() as directory, EchoServer(listen=[f"unix:{directory}/echo"]):
            self.assert_fails(run("--listen", f"unix:{directory}/echo"), 1, directory, "Address already in use")

    def test_one_bad_address_among_good_ones_stops_all(self):
        with EchoServer() as server:
            address = server.addresses[0]
            self.assert_fails(run("--listen", "127.0.0.1:0", "--listen", address), 1, address)

    def test_a_port_without_permission(self):
        first_free = int(pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
        if first_free <= 80:
            self.skipTest(f"on this system everybody may listen on port 80 (from {first_free})")
        self.assert_fails(self.run_as_nobody("--listen", "127.0.0.1:80"), 1, "127.0.0.1:80", "Permission denied")

    def test_a_directory_without_permission(self):
        with tempfile.TemporaryDirectory() as directory:
            os.chmod(directory, 0o555)
            self.assert_fails(self.run_as_nobody("--listen", f"unix:{directory}/echo"), 1, directory,
                              "Permission denied")

    def test_a_missing_directory(self):
        self.assert_fails(run("--listen", "unix:/nonexistent/echo"), 1, "/nonexistent/echo",
                          "No such file or directory")

    def test_an_address_of_another_machine(self):
        self.assert_fails(run("--listen", "192.0.2.1:0"), 1, "192.0.2.1:0", "Cannot assign requested address")

    def test_malformed_addresses(self):
        for address in ("nonsense", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:8o80",
                        "1.2.3:80", "::1:80", "[::1]", "[::1:80", "example.org:80", "unix:", "unix:@", "fd:", "",
                        "unix:/" + "x" * 200):
            with self.subTest(address=address):
                self.assert_fails(run("--listen", address), 2, address)

    def test_an_unknown_loop(self):
        self.assert_fails(run("--loop", "no-such-loop"), 2, "no-such-loop", "native", "native-poll")

    def test_an_unknown_hosting(self):
        self.assert_fails(run("--hosting", "both"), 2, "direct", "aggregate", "both")

    def test_a_loop_is_a_name_and_no_path(self):
        for name in ("../glib", "/lib/glib", "glib/../glib", "GLIB", "", "x" * 5000):
            self.assert_fails(run("--loop", name), 2, "unknown loop")

    def install(self, directory, source=None):
        """The program by itself in an installation of its own, with one shim: what a compiler makes of the source."""
        root = pathlib.Path(directory)
        for name in ("bin", "lib"):
            (root / name).mkdir()
        if source is not None:
            subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", root / "lib/libonloop-odd.so",
                            "-I", ROOT / "include"], input=source, text=True, check=True)
        return shutil.copy(ECHO, root / "bin/onloop-echo")

    def test_a_shim_that_is_not_installed(self):
        with tempfile.TemporaryDirectory() as directory:
            program = self.install(directory)
            # What lies in the current directory is not taken.
            (pathlib.Path(directory) / "libonloop-glib.so").write_bytes(b"")
            self.assert_fails(run("--loop", "glib", program=program, cwd=directory), 2,
                              f"{directory}/lib/libonloop-glib.so", "not there", "install")

    def test_a_file_that_is_no_library(self):
        with tempfile.TemporaryDirectory() as directory:
            program = self.install(directory)
            (pathlib.Path(directory) / "lib/libonloop-odd.so").write_text("odd")
            self.assert_fails(run("--loop", "odd", program=program), 2, f"{directory}/lib/libonloop-odd.so",
                              "file too short")

    def test_a_library_that_is_no_shim(self):
        with tempfile.TemporaryDirectory() as directory:
            program = self.install(directory, "int nothing;")
            self.assert_fails(run("--loop", "odd", program=program), 2, f"{directory}/lib/libonloop-odd.so",
                              "onloop_shim_odd")

    def test_a_shim_of_another_version(self):
        with tempfile.TemporaryDirectory() as directory:
            program = self.install(directory, """
                #include <onloop/loop_ops.h>
                const onloop_ops onloop_shim_odd = {7u << 16, sizeof(onloop_ops), "odd"};""")
            self.assert_fails(run("--loop", "odd", program=program), 2, f"{directory}/lib/libonloop-odd.so",
                              "version 7")
            listed = run("--list-loops", program=program).stdout
            self.assertRegex(listed, r"(?m)^odd +not available: .*version 7")

    def test_a_shim_that_is_too_short(self):
        with tempfile.TemporaryDirectory() as directory:
            program = self.install(directory, """
                #include <onloop/loop_ops.h>
                const onloop_ops onloop_shim_odd = {ONLOOP_OPS_VERSION, 16, "odd"};""")
            self.assert_fails(run("--loop", "odd", program=program), 2, f"{directory}/lib/libonloop-odd.so",
                              "too short")

    def test_unknown_and_malformed_options(self):
        for arguments in (["--no-such-option"], ["extra"], ["--listen"], ["--quiet", "--verbose"],
                          ["--max-connections", "many"], ["--max-connections", "-1"], ["--max-connections", "0"],
                          ["--idle-timeout", "soon"], ["--idle-timeout", "-1"], ["--drain-timeout", "x"],
                          ["--stats", "-3"]):
            with self.subTest(arguments=arguments):
                self.assert_fails(run(*arguments), 2)

    def test_a_descriptor_that_is_not_open(self):
        self.assert_fails(run("--listen", "fd:99"), 1, "fd:99", "Bad file descriptor")

    def test_a_descriptor_that_is_no_socket(self):
        self.assert_fails(run("--listen", "fd:0"), 1, "fd:0")

    def test_a_descriptor_that_does_not_listen(self):
        with socket.socket() as plain:
            self.assert_fails(run("--listen", "fd:0", stdin=plain), 1, "fd:0")

    def test_a_descriptor_of_a_datagram_socket(self):
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            self.assert_fails(run("--listen", "fd:0", stdin=datagrams), 1, "fd:0")

    def test_a_name_that_nobody_passed(self):
        self.assert_fails(run("--listen", "fd:web"), 1, "fd:web")


class Information(ClientTest):
    def test_help_names_every_option(self):
        result = run("--help")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        for option in ("--listen", "--loop", "--hosting", "--max-connections", "--idle-timeout", "--drain-timeout",
                       "--stats", "--control", "--quiet", "--verbose", "--list-loops", "--version", "SIGUSR1", "SIGUSR2",
                       "onloop-echo ctl"):
            self.assertIn(option, result.stdout)

    def test_version(self):
        result = run("--version")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertRegex(result.stdout, r"\Aonloop-echo \d+\.\d+\.\d+\n\Z")

    def test_list_of_loops_says_of_each_whether_it_can_be_had(self):
        result = run("--list-loops")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        loops = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
        self.assertLessEqual({"native", "native-poll", "libevent", "libuv", "glib", "sdevent"}, loops.keys())
        for name in ("libevent", "libuv", "glib", "sdevent"):
            self.assertRegex(loops[name], f"; (loaded from|not available: no) /.*/libonloop-{name}.so$")


if __name__ == "__main__":
    unittest.main()
