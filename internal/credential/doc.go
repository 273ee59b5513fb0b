// Package credential keeps an identity and its trust as PEM files say them now:
// a certificate with its key, and the authorities that the other side is judged
// by. When the files change, what is in use changes with them: the pair as a
// whole or not at all.
//
// Open reads them once and says in a sentence what is wrong. Watch looks at them
// every second and at each SIGHUP; bad contents are looked at twice, since somebody
// may be writing them, and are then told once while the former stay in use. What
// is exchanged lies behind an mtls.Swap and an mtls.SwapVerifier, so that whoever
// uses them notices nothing.
package credential
