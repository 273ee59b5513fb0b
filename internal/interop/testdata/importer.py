# One end of TLS by libgnutls with an imported pre-shared key (RFC 9258), for which
# GnuTLS's own programs have no option.
#
#   importer.py connect '{"port": …, "name": …, "identity": …, "context": …, "key": HEX}'
#   importer.py listen '{"identity": …, "context": …, "key": HEX}'
#
# Both take the key for SHA-256. The client sends a line and prints what comes back;
# the server prints its port and sends back what it gets.
import ctypes
import json
import socket
import sys

gnutls = ctypes.CDLL('libgnutls.so.30')
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
gnutls.gnutls_strerror.restype = ctypes.c_char_p
gnutls.gnutls_record_send.restype = gnutls.gnutls_record_recv.restype = ctypes.c_ssize_t

SERVER, CLIENT = 1, 2
CREDENTIALS_PSK, NAME_DNS, SHUT_WR = 4, 1, 1
TLS13, SHA256, IMPORTED, AGAIN = 5, 6, 2, -28


class Datum(ctypes.Structure):
    _fields_ = [('data', ctypes.c_void_p), ('size', ctypes.c_uint)]


def datum(b):
    d = Datum(libc.malloc(len(b)), len(b))
    ctypes.memmove(d.data, b, len(b))
    return d


def check(code, what):
    if code < 0:
        sys.exit(f'{what}: {gnutls.gnutls_strerror(code).decode()}')
    return code


role, o = sys.argv[1], json.loads(sys.argv[2])
imported = Datum()
check(gnutls.gnutls_psk_format_imported_identity(
    ctypes.byref(datum(o['identity'].encode())), ctypes.byref(datum(o['context'].encode())), TLS13, SHA256, ctypes.byref(imported)), 'imported identity')
wire = ctypes.string_at(imported.data, imported.size)
Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(Datum), ctypes.POINTER(Datum), ctypes.POINTER(ctypes.c_int))


@Callback
def offer(_, username, key, flags):
    username[0], key[0], flags[0] = datum(wire), datum(bytes.fromhex(o['key'])), IMPORTED
    return 0


@Callback
def look_up(_, username, key, flags):
    if ctypes.string_at(username[0].data, username[0].size) != wire:
        return -1
    key[0], flags[0] = datum(bytes.fromhex(o['key'])), IMPORTED
    return 0


def session(kind, conn):
    s, credentials = ctypes.c_void_p(), ctypes.c_void_p()
    check(gnutls.gnutls_init(ctypes.byref(s), kind), 'init')
    check(gnutls.gnutls_priority_set_direct(s, b'NORMAL:-VERS-ALL:+VERS-TLS1.3:-KX-ALL:+ECDHE-PSK', None), 'priority')
    if kind == CLIENT:
        check(gnutls.gnutls_psk_allocate_client_credentials(ctypes.byref(credentials)), 'credentials')
        gnutls.gnutls_psk_set_client_credentials_function3(credentials, offer)
        name = o['name'].encode()
        check(gnutls.gnutls_server_name_set(s, NAME_DNS, name, len(name)), 'name')
    else:
        check(gnutls.gnutls_psk_allocate_server_credentials(ctypes.byref(credentials)), 'credentials')
        gnutls.gnutls_psk_set_server_credentials_function3(credentials, look_up)
    check(gnutls.gnutls_credentials_set(s, CREDENTIALS_PSK, credentials), 'credentials')
    gnutls.gnutls_transport_set_int2(s, conn.fileno(), conn.fileno())
    check(gnutls.gnutls_handshake(s), 'handshake')
    print('imported', wire.hex(), flush=True)
    return s


def receive(s):
    b = ctypes.create_string_buffer(4096)
    n = AGAIN  # is what a ticket comes to
    while n == AGAIN:
        n = gnutls.gnutls_record_recv(s, b, ctypes.c_size_t(len(b)))
    check(n, 'receive')
    return b.raw[:n]


def send(s, b):
    check(gnutls.gnutls_record_send(s, b, ctypes.c_size_t(len(b))), 'send')


if role == 'connect':
    conn = socket.create_connection(('127.0.0.1', o['port']))
    s = session(CLIENT, conn)
    send(s, b'imported by both\n')
    print(receive(s).decode(), flush=True)
else:
    listener = socket.create_server(('127.0.0.1', 0))
    print('port', listener.getsockname()[1], flush=True)
    conn, _ = listener.accept()
    s = session(SERVER, conn)
    while line := receive(s):
        send(s, line)
check(gnutls.gnutls_bye(s, SHUT_WR), 'bye')
