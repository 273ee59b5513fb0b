package demo

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/mutual-tls/mutual/internal/join"
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
const patience = time.Minute

// lifetime is the shortest that there is: who watches need not wait for a day.
const lifetime = 30 * time.Second

// demo is one run.
type demo struct {
	Options
	teller
	keeper *keeper

	orders, serve, web, connect *process
	line                        string // the join line of web, token and all
	stranger                    *process
	rotations                   int
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
		{"Machine A: orders, a plain HTTP service, and one command", d.startOrders},
		{"Machine B: web, another one, and one command", d.startWeb},
		{"Requests go through", d.ask},
		{"PEM files, for callers without a gateway and for strangers", d.issue},
		{"Certificates rotate under load", d.rotate},
		{"A join line that leads to a stranger is refused", d.misled},
		{"Four callers are refused, and both ends know why", d.refuse},
		{"Who is enrolled", d.list},
		{"A fresh handshake, in short", d.explain},
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

// machine is the data folder of one of the machines of the story.
func (d *demo) machine(name string) string { return filepath.Join(d.keeper.dir, name) }

// startOrders starts the service, and the command that makes the authority and a
// join line.
func (d *demo) startOrders(ctx context.Context) (err error) {
	if d.orders, err = d.startService(ctx, "orders"); err != nil {
		return err
	}
	if d.serve, err = d.startGateway(ctx, "serve", "orders", "--to", d.orders.address, "--allow", "web", "--lifetime", lifetime.String(),
		"--listen", "127.0.0.1:0", "--ca-listen", "127.0.0.1:0", "--data", d.machine("a")); err != nil {
		return err
	}
	if d.line = d.serve.lines["web"]; d.line == "" || len(d.serve.lines) != 1 {
		return fmt.Errorf("mutual serve was to make one join line, for web, and made %d", len(d.serve.lines))
	}
	l, err := join.Parse(d.line)
	if err != nil {
		return fmt.Errorf("the join line that mutual serve made can't be read: %w", err)
	}
	var status struct {
		Domain    string   `json:"domain"`
		Authority []string `json:"authority"`
		Process   int      `json:"process"`
	}
	if err := d.runJSON(ctx, &status, "ca", "status", "--data", d.machine("a")); err != nil {
		return err
	}
	return d.tell(event{Event: "authority", Name: status.Domain, Address: strings.Join(status.Authority, ", "), PID: status.Process, Join: l.String()})
}

// startWeb starts the command that joins, and the service that calls through it.
func (d *demo) startWeb(ctx context.Context) (err error) {
	if d.connect, err = d.startGateway(ctx, "connect", d.line, "--listen", "127.0.0.1:0", "--lifetime", lifetime.String(), "--data", d.machine("b")); err != nil {
		return err
	}
	d.web, err = d.startService(ctx, "web", "--orders", "http://"+d.connect.address)
	return err
}

// ask asks web, which asks orders through both gateways.
func (d *demo) ask(ctx context.Context) error {
	for _, number := range []string{"7", "8", "9"} {
		answer, err := d.order(ctx, number)
		if err != nil {
			return err
		}
		if err := d.tell(event{Event: "answer", URL: d.url(number), Answer: answer}); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) url(number string) string { return "http://" + d.web.address + "/orders/" + number }

// order asks for one. What only orders knows has to be in the answer.
func (d *demo) order(ctx context.Context, number string) (string, error) {
	status, body, err := get(ctx, d.url(number))
	switch want := order(number); {
	case err != nil:
		return "", fmt.Errorf("web was asked for %s and gave no answer: %w", d.url(number), err)
	case status != http.StatusOK || !strings.Contains(body, want):
		return "", fmt.Errorf("web was asked for %s; expected an answer with %q, found status %d and %q", d.url(number), want, status, body)
	}
	return strings.TrimSpace(body), nil
}

// stay keeps all of it up, and tells whom orders refuses meanwhile.
func (d *demo) stay(ctx context.Context) error {
	if err := d.tell(event{Event: "ready"}); err != nil {
		return err
	}
	from := d.serve.said()
	for {
		for ; from < d.serve.said(); from++ {
			if r := d.serve.line(from); r.Code != "" && r.Alert != "" {
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
			return p.fell()
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
