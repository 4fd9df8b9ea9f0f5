# SPDX-License-Identifier: BSD-2-Clause
"""The two ends of the quickstart's demonstration.

demo.py backend PORT FOLDER   a customer's mail server (python3-aiosmtpd): each message becomes a file FOLDER/NNNN.eml
demo.py send PORT SUBJECT     a sending server: hands in one message to someone@acme.example, prints the final reply
"""
import pathlib
import signal
import smtplib
import sys
import time


def backend(port, folder):
    from aiosmtpd.controller import Controller
    folder = pathlib.Path(folder)
    folder.mkdir(exist_ok=True)

    class Keeper:
        async def handle_DATA(self, server, session, envelope):
            number = len(list(folder.glob("*.eml"))) + 1
            (folder / f"{number:04}.eml").write_bytes(envelope.original_content)
            return f"250 2.0.0 the demonstration backend has it as {number:04}.eml"

    controller = Controller(Keeper(), hostname="127.0.0.1", port=int(port), server_hostname="mail.acme.example")
    controller.start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    controller.stop()


def send(port, subject):
    message = (f"From: <someone@origin.example>\r\nTo: <someone@acme.example>\r\nSubject: {subject}\r\n"
               f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S +0000', time.gmtime())}\r\n\r\nHello from the quickstart.\r\n")
    with smtplib.SMTP("127.0.0.1", int(port), local_hostname="origin.example", timeout=60) as client:
        client.ehlo()
        for code, text in (client.mail("someone@origin.example"), client.rcpt("someone@acme.example")):
            if code != 250:
                sys.exit(f"{code} {text.decode()}")
        code, text = client.data(message.encode())
        print(code, text.decode())
        if code != 250:
            sys.exit(1)


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in ("backend", "send"):
        sys.exit(__doc__)
    try:
        (backend if sys.argv[1] == "backend" else send)(*sys.argv[2:])
    except (OSError, smtplib.SMTPException) as e:
        sys.exit(f"127.0.0.1:{sys.argv[2]}: {e} (deploy/quickstart status says what runs)")
