// One end of TLS by the module node:tls, which Node and Bun both have.
//
//   tls.mjs connect '{"port": …, "name": …, "ca": FILE, "send": TEXT, …}'
//   tls.mjs listen '{"cert": FILE, "key": FILE, …}'
//
// Everything that happens is told as one JSON object a line.
import fs from 'node:fs';
import tls from 'node:tls';

const [role, json] = process.argv.slice(2);
const o = JSON.parse(json);
const tell = (what) => console.log(JSON.stringify(what));
const fault = (e) => ({ error: `${e.code}: ${e.message}` });

const options = { minVersion: o.old ?? 'TLSv1.3', maxVersion: o.old ?? 'TLSv1.3' };
if (o.cert) Object.assign(options, { cert: fs.readFileSync(o.cert), key: fs.readFileSync(o.key) });
if (o.ca) options.ca = fs.readFileSync(o.ca);
if (o.suite) options.ciphers = o.suite;
if (o.groups) options.ecdhCurve = o.groups;
if (o.alpn) options.ALPNProtocols = o.alpn;

const agreed = (socket) => ({
  suite: socket.getCipher()?.standardName ?? socket.getCipher()?.name,
  alpn: socket.alpnProtocol,
  authorized: socket.authorized,
  peer: socket.getPeerCertificate()?.subject?.CN ?? '',
  resumed: socket.isSessionReused(),
});

if (role === 'connect') {
  // With "again" it calls a second time, and goes on from the last session.
  const call = (session, again) => {
    const socket = tls.connect({ ...options, host: '127.0.0.1', port: o.port, servername: o.name, session }, () => {
      tell({ agreed: agreed(socket) });
      socket.write(o.send);
    });
    let got = '';
    socket.setEncoding('utf8');
    if (again) socket.on('session', (s) => { session = s; });
    socket.on('data', (text) => { got += text; });
    socket.on('end', () => { tell({ got }); socket.end(); if (again) call(session, false); });
    socket.on('error', (e) => { tell(fault(e)); process.exitCode = 1; });
  };
  call(undefined, o.again);
} else {
  const server = tls.createServer({ ...options, requestCert: o.mutual, rejectUnauthorized: o.mutual }, (socket) => {
    tell({ agreed: agreed(socket) });
    socket.on('error', (e) => tell(fault(e)));
    socket.pipe(socket);
  });
  server.on('tlsClientError', (e) => tell(fault(e)));
  server.listen(0, '127.0.0.1', () => tell({ port: server.address().port }));
}
