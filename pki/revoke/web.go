package revoke

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/pki"
)

const (
	// maxURL is the longest place that is asked, maxRedirects how often it may send us
	// on.
	maxURL       = 2048
	maxRedirects = 3
	// maxHeader bounds the header of an answer.
	maxHeader = 64 << 10
	// maxGet is the longest request that goes into a URL (RFC 6960, appendix A.1).
	maxGet = 255
)

// web fetches over HTTP, with bounds on all that an answer may cost.
type web struct {
	private bool
	timeout time.Duration
	client  *http.Client
}

// origin is what is known, in the middle of a fetch, of where it has been. Two
// addresses of one name may be dialled at the same time.
type origin struct{ outside atomic.Bool }

type originKey struct{}

func newWeb(private bool, timeout time.Duration) *web {
	w := &web{private: private, timeout: timeout}
	dialer := &net.Dialer{Timeout: 10 * time.Second, ControlContext: w.control}
	w.client = &http.Client{
		// No proxy from the environment: the address is judged that is dialled.
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: maxHeader,
			DisableKeepAlives: true, DisableCompression: true,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return errTooManyRedirects
			}
			if why := w.refuse(r.URL.String()); why != "" {
				return errors.New("it redirects elsewhere: " + why)
			}
			return nil
		},
	}
	return w
}

var errTooManyRedirects = fmt.Errorf("more than %d redirects", maxRedirects)

func (w *web) close() { w.client.CloseIdleConnections() }

// refuse says why a place is not asked whatever its address; "" where it is.
func (w *web) refuse(place string) string {
	u, err := url.Parse(place)
	switch {
	case len(place) > maxURL:
		return "it is too long"
	case err != nil || u.Host == "":
		return "it is no URL with a host"
	case u.Scheme != "http" && u.Scheme != "https": // RFC 5280, section 4.2.1.13 knows LDAP too
		return "only http and https are fetched"
	case u.User != nil:
		return "it has a user's name in it"
	}
	return ""
}

// control judges the address that is dialled, after all names were looked up.
func (w *web) control(ctx context.Context, _, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	a := reached(at.Addr())
	from, _ := ctx.Value(originKey{}).(*origin)
	switch inside := within(a, private); {
	case a.IsMulticast(), within(a, never):
		return fmt.Errorf("the address %s is never asked", a)
	case inside && !w.private:
		return fmt.Errorf("the address %s is of this machine or of a private network, which is not asked unless that is allowed", a)
	case inside && from != nil && from.outside.Load():
		return fmt.Errorf("it redirects from the Internet to %s, which is inside", a)
	case !inside && from != nil:
		from.outside.Store(true)
	}
	return nil
}

// reached is the address of IPv4 that an address leads to, where it holds one: through
// a translator (RFC 6052, section 2.1; RFC 8215) or a relay (RFC 3056), or compatible
// with it (RFC 4291, section 2.5.5.1), what is inside can be written as if it were
// outside.
func reached(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	b := a.As16()
	switch {
	case a.Is4(), a == netip.IPv6Unspecified(), a == netip.IPv6Loopback():
	case within(a, translated):
		return netip.AddrFrom4([4]byte(b[12:]))
	case relayed.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return a
}

func within(a netip.Addr, list []netip.Prefix) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

var (
	translated = prefixes("64:ff9b::/96", "64:ff9b:1::/48", "::/96")
	relayed    = netip.MustParsePrefix("2002::/16")

	// never are addresses that are not asked, whatever is allowed: none of a service,
	// and those where clouds tell a machine who it is, and give it keys.
	never = prefixes(
		"0.0.0.0/8", "::/128", "240.0.0.0/4", // nobody's; 0.0.0.0 is this machine, where it is anything
		"169.254.0.0/16", "fe80::/10", // link-local, where most clouds have them
		"fd00:ec2::/32",                          // Amazon's, over IPv6
		"fd20:ce::/32",                           // Google's, over IPv6
		"fd00:a9fe:a9fe::/48", "fd00:42::42/128", // Akamai's and Scaleway's, over IPv6
		"100.100.100.200/32", // Alibaba's
		"168.63.129.16/32",   // Azure's
		"192.0.0.0/24",       // RFC 6890, section 2.2.2; 192.0.0.192 is Oracle's
	)
	// private are those of this machine and of private networks (RFC 1918, RFC 4193,
	// RFC 6598), of benchmarks (RFC 2544), and what was site-local (RFC 3879).
	private = prefixes("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "100.64.0.0/10",
		"198.18.0.0/15", "fec0::/10")
)

// get fetches what it is.
func (w *web) get(ctx context.Context, it *item) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, originKey{}, &origin{}), w.timeout)
	defer cancel()
	if it.kind == aList {
		return w.ask(ctx, http.MethodGet, it.url, nil, pki.MaxRevocationList)
	}
	request, err := pki.OCSPRequest(it.about, it.issuer, crypto.SHA1)
	if err != nil {
		return nil, err
	}
	if text := base64.StdEncoding.EncodeToString(request); len(text) <= maxGet {
		b, err := w.ask(ctx, http.MethodGet, strings.TrimSuffix(it.url, "/")+"/"+url.PathEscape(text), nil, pki.MaxOCSPResponse)
		var refused *statusError
		if err == nil {
			if _, err := pki.ParseOCSPResponse(b); err == nil {
				return b, nil
			}
		} else if !errors.As(err, &refused) {
			return nil, err
		}
		// Some responders know POST alone.
	}
	return w.ask(ctx, http.MethodPost, it.url, request, pki.MaxOCSPResponse)
}

// statusError is an answer that is none.
type statusError struct{ status int }

func (s *statusError) Error() string { return fmt.Sprintf("it answers with status %d", s.status) }

func (w *web) ask(ctx context.Context, method, place string, body []byte, most int64) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, place, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("it is no URL that can be asked")
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/ocsp-request")
	}
	r.Header.Set("User-Agent", "mutual")
	answer, err := w.client.Do(r)
	if err != nil {
		var network net.Error
		if errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded) {
			return nil, &silence{plain(err)}
		}
		return nil, plain(err)
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode != http.StatusOK:
		return nil, &statusError{answer.StatusCode}
	case answer.ContentLength > most:
		return nil, fmt.Errorf("it would send %d bytes; at most %d are taken", answer.ContentLength, most)
	}
	b, err := io.ReadAll(io.LimitReader(answer.Body, most+1))
	switch {
	case err != nil:
		return nil, plain(err)
	case int64(len(b)) > most:
		return nil, fmt.Errorf("it sends more than the %d bytes that are taken", most)
	}
	return b, nil
}

// plain is an error without the URL, which is said beside it.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("it did not answer in time")
	}
	text := err.Error()
	for i := range len(text) { // it may hold what the other side sent
		if text[i] < ' ' || text[i] > '~' || len(text) > 200 {
			return errors.New(identity.Quote(text))
		}
	}
	return errors.New(text)
}
