package demo

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Options are what the demo is told.
type Options struct {
	// Program is the path of mutual itself, which the demo starts again and again.
	Program string
	// Out is where the story goes.
	Out io.Writer
	// JSON tells it as a stream of JSON lines, Colour with colour.
	JSON, Colour bool
	// Once ends with the story; else all stays up until ctx ends.
	Once bool
}

// patience is how long anything may take that usually takes no time at all.
const patience = 20 * time.Second

// demo is one run.
type demo struct {
	Options
	teller
	keeper *keeper
	papers *papers

	orders, serve, web, connect *process
}

// Run tells the story. An error is a step that did not go as it should have, in
// a sentence; nothing is left behind in any case.
func Run(ctx context.Context, o Options) (err error) {
	d := &demo{Options: o, teller: newTeller(o)}
	if d.keeper, err = newKeeper(o.Program); err != nil {
		return err
	}
	defer func() {
		if ended := d.keeper.end(); err == nil {
			err = ended
		}
		if err == nil {
			err = d.tell(event{Event: "done"})
		}
	}()
	lines := "Try it yourself"
	if o.Once {
		lines += " (with a demo that stays up: without --once)"
	}
	for n, step := range []struct {
		title string
		run   func(context.Context) error
	}{
		{"Certificates, made on the spot", d.makePapers},
		{"orders: a plain HTTP service, and mutual serve before it", d.startOrders},
		{"web: another one, and mutual connect to take it to orders", d.startWeb},
		{"Requests go through", d.ask},
		{"Four callers are refused, and both ends know why", d.refuse},
		{lines, d.try},
	} {
		if err := d.begin(n+1, step.title); err != nil {
			return err
		}
		if err := step.run(ctx); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return fmt.Errorf("step %d (%s): %w", n+1, step.title, err)
		}
	}
	if d.Once {
		return nil
	}
	return d.stay(ctx)
}

// makePapers makes an authority, who it vouches for, and who it does not.
func (d *demo) makePapers(context.Context) (err error) {
	if d.papers, err = makePapers(d.keeper.dir); err != nil {
		return err
	}
	return d.tell(event{Event: "certificates", Dir: d.papers.dir, Certificates: d.papers.list})
}

func (d *demo) startOrders(ctx context.Context) (err error) {
	if d.orders, err = d.startService(ctx, "orders"); err != nil {
		return err
	}
	d.serve, err = d.startGateway(ctx, "serve", "orders", "--to", d.orders.address, "--listen", "127.0.0.1:0", "--allow", "web",
		"--cert", d.papers.cert("orders"), "--key", d.papers.key("orders"), "--client-ca", d.papers.ca)
	return err
}

func (d *demo) startWeb(ctx context.Context) (err error) {
	if d.connect, err = d.startGateway(ctx, d.calling("web")...); err != nil {
		return err
	}
	d.web, err = d.startService(ctx, "web", "--orders", "http://"+d.connect.address)
	return err
}

// calling is a connect to orders that shows the certificate of who, "" for none.
func (d *demo) calling(who string) []string {
	args := []string{"connect", "--to", d.serve.address, "--server-name", "orders", "--listen", "127.0.0.1:0"}
	if who != "" {
		args = append(args, "--cert", d.papers.cert(who), "--key", d.papers.key(who))
	}
	return append(args, "--server-ca", d.papers.ca)
}

// ask asks web, which asks orders through both gateways. What only orders knows
// has to be in the answer.
func (d *demo) ask(ctx context.Context) error {
	for _, number := range []string{"7", "8", "9"} {
		url := "http://" + d.web.address + "/orders/" + number
		status, body, err := get(ctx, url)
		switch want := order(number); {
		case err != nil:
			return fmt.Errorf("web was asked for %s and gave no answer: %w", url, err)
		case status != http.StatusOK || !strings.Contains(body, want):
			return fmt.Errorf("web was asked for %s; expected an answer with %q, found status %d and %q", url, want, status, body)
		}
		if err := d.tell(event{Event: "answer", URL: url, Answer: strings.TrimSpace(body)}); err != nil {
			return err
		}
	}
	return nil
}

// strangers are who is refused, with what has to be said of them.
var strangers = []struct {
	who, words   string
	here, there  string // the code of orders' gateway, and of the caller's
	alert, about string // what went over the wire, and a word that both reasons are about
}{
	{"", "a caller without a certificate", "M0402", "M0501", "certificate_required", "certificate"},
	{"stranger", "web, but by another authority", "M0103", "M0502", "unknown_ca", "authority"},
	{"expired", "web, but its certificate has ended", "M0101", "M0503", "certificate_expired", "expired"},
	{"ops", "ops, of our authority, but not allowed", "M0401", "M0508", "access_denied", "ops"},
}

// refuse lets each stranger call through a connect of its own, and holds both
// ends to what they have to say.
func (d *demo) refuse(ctx context.Context) error {
	for _, s := range strangers {
		before := d.serve.said()
		caller, err := d.start(ctx, d.gatewayArgs(d.calling(s.who)))
		if err != nil {
			return err
		}
		if status, body, err := get(ctx, "http://"+caller.address+"/7"); err == nil {
			return fmt.Errorf("%s was to be refused, and got status %d with %q", s.words, status, body)
		}
		here, err := d.serve.refusal(ctx, before)
		if err != nil {
			return fmt.Errorf("%s called, and the gateway of orders: %w", s.words, err)
		}
		there, err := caller.refusal(ctx, 0)
		if err != nil {
			return fmt.Errorf("%s called, and its gateway: %w", s.words, err)
		}
		if err := caller.end(); err != nil {
			return err
		}
		for _, c := range []struct {
			end, code string
			sent      bool
			refusal   *refusal
		}{{"the gateway of orders", s.here, true, here}, {"the caller", s.there, false, there}} {
			if r := c.refusal; r.Code != c.code || r.Alert != s.alert || r.Sent != c.sent || !strings.Contains(r.Reason, s.about) {
				return fmt.Errorf("%s called; expected %s to say %s (%s), found %s (%s): %s", s.words, c.end, c.code, s.alert, r.Code, r.Alert, r.Reason)
			}
		}
		if err := d.tell(event{Event: "refused", Caller: s.words, Here: here, There: there}); err != nil {
			return err
		}
	}
	return nil
}

// try says how curl and openssl get in, and how they do not.
func (d *demo) try(context.Context) error {
	p, at := d.papers, d.serve.address
	_, port, _ := strings.Cut(at, ":")
	own := []string{"--cert " + quote(p.cert("web")), "--key " + quote(p.key("web"))}
	curl := []string{"curl --resolve orders:" + port + ":127.0.0.1 --cacert " + quote(p.ca)}
	url := "https://orders:" + port + "/7"
	for _, e := range []event{
		{With: "curl", Words: "curl, as web:", Line: append(append(curl[:1:1], own...), url)},
		{With: "openssl", Words: "openssl, as web:", Line: []string{
			`printf 'GET /7 HTTP/1.0\r\n\r\n' | openssl s_client -quiet -tls1_3`,
			"-connect " + at + " -servername orders",
			"-verify_hostname orders -verify_return_error -CAfile " + quote(p.ca),
			"-cert " + quote(p.cert("web")), "-key " + quote(p.key("web"))}},
		{With: "explain", Words: "the whole handshake, told:", Line: []string{
			quote(d.Program) + " explain " + at + " --server-name orders --server-ca " + quote(p.ca), own[0], own[1]}},
		{With: "curl", Refused: true, Words: "curl without a certificate, which is refused:", Line: append(curl[:1:1], url)},
	} {
		e.Event = "try"
		if err := d.tell(e); err != nil {
			return err
		}
	}
	return nil
}

// stay keeps all of it up, and tells whom orders refuses meanwhile.
func (d *demo) stay(ctx context.Context) error {
	if err := d.tell(event{Event: "ready"}); err != nil {
		return err
	}
	from := d.serve.said()
	for {
		for ; from < d.serve.said(); from++ {
			if r := d.serve.line(from); r.Code != "" {
				if err := d.tell(event{Event: "refused", Here: r}); err != nil {
					return err
				}
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.serve.news:
		case p := <-d.keeper.fallen:
			return fmt.Errorf("%s ended, and nobody had asked it to: %s", p.name, p.last())
		}
	}
}

// get asks a plain service, each time on a connection of its own, and no proxy.
func get(ctx context.Context, url string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return resp.StatusCode, string(b), err
}
