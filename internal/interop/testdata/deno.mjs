// One end of TLS by Deno's own interface.
//
//   deno.mjs connect '{"port": …, "ca": FILE, "send": TEXT, …}'
//   deno.mjs listen '{"cert": FILE, "key": FILE, …}'
//
// Everything that happens is told as one JSON object a line. It calls the name
// that it connects to, so that is localhost; its servers ask nobody for a
// certificate.
const [role, json] = Deno.args;
const o = JSON.parse(json);
const tell = (what) => console.log(JSON.stringify(what));
const fault = (e) => tell({ error: `${e.name}: ${e.message}` });
const read = (file) => Deno.readTextFileSync(file);

const options = o.cert ? { cert: read(o.cert), key: read(o.key) } : {};
if (o.alpn) options.alpnProtocols = o.alpn;

async function agree(conn) {
  const { alpnProtocol } = await conn.handshake();
  tell({ agreed: { alpn: alpnProtocol } });
}

async function connect() {
  const conn = await Deno.connectTls({ ...options, hostname: 'localhost', port: o.port, caCerts: [read(o.ca)] });
  await agree(conn);
  const got = new Response(conn.readable).text();
  await conn.writable.getWriter().write(new TextEncoder().encode(o.send));
  tell({ got: await got });
}

async function carry(conn) {
  await agree(conn);
  await conn.readable.pipeTo(conn.writable);
}

async function listen() {
  const listener = Deno.listenTls({ ...options, hostname: '127.0.0.1', port: 0 });
  tell({ port: listener.addr.port });
  for await (const conn of listener) carry(conn).catch(fault);
}

await (role === 'connect' ? connect() : listen()).catch(fault);
