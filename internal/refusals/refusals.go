package refusals

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/fair"
	"github.com/mutual-tls/mutual/mtls"
)

// Log tells refusals. It is safe for concurrent use.
type Log struct {
	log *slog.Logger
	// network is how loud trouble of the network is: who calls is told of it,
	// and who is called by every scanner is not.
	network slog.Level
	burst   int // told of one host within a window

	mu    sync.Mutex
	hosts map[string]*tally
}

// tally counts one host's refusals within a window.
type tally struct{ told, held int }

const (
	window   = 10 * time.Second
	burst    = 10   // told of one host within a window, unless UpTo says otherwise
	maxHosts = 1024 // told apart within a window; the others count together
)

// New is a Log that tells log. network is how loud trouble of the network is.
func New(log *slog.Logger, network slog.Level) *Log {
	return &Log{log: log, network: network, burst: burst, hosts: make(map[string]*tally)}
}

// UpTo is a Log that tells n of one host within a window.
func (f *Log) UpTo(n int) *Log {
	one := New(f.log, f.network)
	one.burst = n
	return one
}

// Tell logs r, which remote met or caused.
func (f *Log) Tell(remote string, r *mtls.Refusal) {
	level := slog.LevelWarn
	switch r.Fault {
	case mtls.Misuse:
		level = slog.LevelError
	case mtls.Network:
		level = f.network
	}
	if f.log.Enabled(context.Background(), level) && f.Admit(remote) {
		f.log.LogAttrs(context.Background(), level, r.Reason, attributes(r)...)
	}
}

// Admit says whether there is room for another line of remote, and counts it.
func (f *Log) Admit(remote string) bool {
	host := remote
	if at, err := netip.ParseAddrPort(remote); err == nil {
		host = fair.HostOf(at.Addr()).String() // who has an IPv6 network has no end of addresses
	} else if h, _, err := net.SplitHostPort(remote); err == nil {
		host = h
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.hosts[host]
	if t == nil {
		if len(f.hosts) >= maxHosts {
			host = "other addresses"
			t = f.hosts[host]
		}
		if t == nil {
			if len(f.hosts) == 0 {
				time.AfterFunc(window, f.sweep)
			}
			t = &tally{}
			f.hosts[host] = t
		}
	}
	if t.told < f.burst {
		t.told++
		return true
	}
	t.held++
	return false
}

// sweep ends a window, and tells what was held back.
func (f *Log) sweep() {
	f.mu.Lock()
	ended := f.hosts
	f.hosts = make(map[string]*tally)
	f.mu.Unlock()
	for host, t := range ended {
		if t.held > 0 {
			f.log.Warn(fmt.Sprintf("%d more refusals of %s in %v were not told one by one", t.held, host, window), "held", t.held)
		}
	}
}

// attributes are what a log line says of a refusal beside its sentence. What the
// peer sent is quoted.
func attributes(r *mtls.Refusal) []slog.Attr {
	out := []slog.Attr{slog.String("code", r.Code), slog.String("id", r.ID)}
	add := func(key, value string) {
		if value != "" {
			out = append(out, slog.String(key, value))
		}
	}
	if name := r.Shown.Name(); name != "" {
		peer := []any{slog.String("name", identity.Plain(name))}
		if r.Shown.SPIFFE != "" {
			peer = append(peer, slog.String("spiffe", identity.Plain(r.Shown.SPIFFE)))
		}
		if r.Shown.Serial != "" {
			peer = append(peer, slog.String("serial", r.Shown.Serial))
		}
		out = append(out, slog.Group("peer", peer...))
	}
	add("step", r.At)
	if v := r.Verdict; v != nil {
		if v.Policy != nil {
			add("rule", v.Policy.Rule)
		}
		if p := v.Path; p != nil && !p.OK {
			out = append(out, slog.Int("link", p.Link))
			add("expected", p.Expected)
			add("found", p.Found)
		}
	}
	add("mend", r.Mend)
	if r.HasAlert {
		out = append(out, slog.String("alert", r.Alert.String()), slog.Bool("sent", r.Sent))
	}
	return out
}
