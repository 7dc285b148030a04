#!/usr/bin/env python3
"""A mail server for tests: smtp_sink.py CERT KEY USER PASSWORD [FAILURES]

Listens on a free port of 127.0.0.1, demands STARTTLS and AUTH, answers the first FAILURES messages with 451
and takes all others. Writes to standard output "READY port", then one JSON line a message that it took:
{"from", "to", "tls", "user", "headers": [[name, value], …], "body"}. Ends when its standard input does.
Needs aiosmtpd (Debian: python3-aiosmtpd).
"""
import asyncio, email, email.policy, json, ssl, sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

cert, key, user, password = sys.argv[1:5]
failures = int(sys.argv[5]) if len(sys.argv) > 5 else 0


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("gone@"):
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        global failures
        if failures > 0:
            failures -= 1
            return "451 4.3.0 try again later"
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        print(json.dumps({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None,
            "user": session.auth_data.login.decode() if session.auth_data else None,
            "headers": [[name, str(value)] for name, value in message.items()],
            "body": message.get_body(("plain",)).get_content(),
        }), flush=True)
        return "250 2.0.0 queued as 4F1A"


def authenticate(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (user.encode(), password.encode())
    return AuthResult(success=good, handled=False, auth_data=data)


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(Handler(), hostname="localhost", tls_context=context, require_starttls=True, auth_required=True,
                     auth_require_tls=True, authenticator=authenticate, loop=loop),
        "127.0.0.1", 0)
    print("READY", server.sockets[0].getsockname()[1], flush=True)
    # The test holds the other end; when the test is gone, so is this.
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
