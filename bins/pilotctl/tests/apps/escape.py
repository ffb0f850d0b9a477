"""An app in Python that tries what the word in a call's arguments says, as app.rs does."""

import os
import signal
import socket
import subprocess
import sys
import threading

import helper
from pilot_app import App, connect

app = App()


@app.method(name="try")
def attempt(**given) -> dict:
    word, _, rest = given["try"].partition(" ")
    try:
        return {"came_of_it": str(ATTEMPTS[word](rest) or "done")}
    except (OSError, ValueError) as error:
        return {"came_of_it": str(error)}


def read(path):
    with open(path) as file:
        return file.read(40)


def write(path):
    with open(path, "w") as file:
        file.write("written by an app")


def fork(_):
    if os.fork() == 0:
        os._exit(0)


def thread(_):
    threading.Thread(target=lambda: None).start()


def loop(_):
    while True:
        pass


def exchange(rest):
    host, _, port = rest.partition(" ")
    connection = connect(host, int(port))
    connection.sendall(b"hello\n")
    return connection.makefile("rb").readline().decode().strip()


ATTEMPTS = {
    "nothing": lambda _: None,
    "isolated": lambda _: f"{sys.flags.isolated} {' '.join(os.environ)} {'' in sys.path} {helper.WORD}",
    "packages": lambda _: " ".join(path for path in sys.path if "-packages" in path),
    "read": read,
    "write": write,
    "list": os.listdir,
    "fork": fork,
    "thread": thread,
    "socket": lambda _: socket.socket(),
    "system": lambda _: os.system("true"),
    "run": lambda _: subprocess.run(["/bin/true"]),
    "exec": lambda _: os.execv("/usr/bin/python3", ["python3", "-c", ""]),
    "kill": lambda rest: os.kill(int(rest), signal.SIGTERM),
    "memory": lambda rest: len(bytearray(int(rest))),
    "cpu": loop,
    "crash": lambda _: os._exit(3),
    "exchange": exchange,
}

app.serve(connected=CONNECTED)
