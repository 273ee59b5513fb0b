// Gets a page by impit, an HTTP client on rustls, and prints it.
//
//   impit.cjs FILE URL
//
// It has no option for an authority, and so judges no certificate here.
const [file, url] = process.argv.slice(2);
const { Impit } = require(file);
const impit = new Impit({ browser: 'chrome', ignoreTlsErrors: true, vanillaFallback: false });
impit.fetch(url).then(async (r) => console.log(await r.text()), (e) => { console.log(e.message); process.exitCode = 1; });
