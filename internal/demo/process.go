package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mutual-tls/mutual/internal/join"
)

// entry is a line of a gateway's log; one with a code and an alert is a refusal.
type entry struct {
	Code   string `json:"code"`
	Reason string `json:"msg"`
	Mend   string `json:"mend,omitempty"`
	Alert  string `json:"alert,omitempty"`
	Sent   bool   `json:"sent"`
	Serial string `json:"serial,omitempty"` // of a certificate that was taken into use
}

// process is the program, started again as something else.
type process struct {
	name    string
	address string
	lines   map[string]string // join lines that it announced, by name
	cmd     *exec.Cmd
	ended   chan struct{}
	err     error
	news    chan struct{} // has room for one: there is a new line

	mu    sync.Mutex
	log   []*entry
	words string // the last line that was no log line
	final string // the last line of either kind
	asked bool   // to end
}

// maxLog is how many lines of a log are kept: more than a story has.
const maxLog = 4096

// startService starts a plain service, and waits for the line that says where it
// listens.
func (d *demo) startService(ctx context.Context, name string, more ...string) (*process, error) {
	args := append([]string{"demo", "service", name}, more...)
	p, err := d.keeper.start(name, args)
	if err != nil {
		return nil, err
	}
	if err := p.await(ctx, "say where it listens", func() bool { p.address = p.words; return p.address != "" }); err != nil {
		return nil, err
	}
	return p, d.tell(event{Event: "started", Name: name, Address: p.address, PID: p.cmd.Process.Pid, Command: d.shown(args)})
}

// shown is a command as it may be shown: with stars for a join line's token.
func (d *demo) shown(args []string) []string {
	out := append([]string{d.Program}, args...)
	for i, a := range out {
		if l, err := join.Parse(a); err == nil {
			out[i] = l.String()
		}
	}
	return out
}

// startGateway starts a gateway, waits until it is ready, and tells it.
func (d *demo) startGateway(ctx context.Context, args ...string) (*process, error) {
	p, err := d.start(ctx, d.gatewayArgs(args))
	if err != nil {
		return nil, err
	}
	return p, d.tell(event{Event: "started", Name: p.name, Address: p.address, PID: p.cmd.Process.Pid, Command: d.shown(args)})
}

// gatewayArgs adds what the demo needs to hear a gateway, and to end it soon: a
// connection that somebody tries is not worth waiting for.
func (d *demo) gatewayArgs(args []string) []string {
	return append(args[:len(args):len(args)], "--drain", "1s", "--log", "json", "--announce", d.keeper.announcement())
}

// start starts a gateway or an authority, the last of whose arguments is where it
// announces itself, and waits until it has.
func (d *demo) start(ctx context.Context, args []string) (*process, error) {
	announced := args[len(args)-1]
	p, err := d.keeper.start("mutual "+args[0], args)
	if err != nil {
		return nil, err
	}
	return p, p.await(ctx, "announce where it listens", func() bool {
		b, err := os.ReadFile(announced)
		var said struct {
			Listen, Authority []string
			Join              map[string]string
		}
		if err != nil || json.Unmarshal(b, &said) != nil || len(said.Listen)+len(said.Authority) == 0 {
			return false
		}
		p.address, p.lines = append(said.Listen, said.Authority...)[0], said.Join
		return true
	})
}

// hear reads what the process prints, to its end.
func (p *process) hear(lines *bufio.Scanner) {
	for lines.Scan() {
		r := new(entry)
		p.mu.Lock()
		if json.Unmarshal(lines.Bytes(), r) != nil {
			p.words, p.final = lines.Text(), lines.Text()
		} else {
			p.final = r.Reason
			if len(p.log) < maxLog {
				p.log = append(p.log, r)
			}
		}
		p.mu.Unlock()
		select {
		case p.news <- struct{}{}:
		default:
		}
	}
}

// await waits until done, which is asked after each line and every now and then.
func (p *process) await(ctx context.Context, what string, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		p.mu.Lock()
		ok := done()
		p.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended before it could %s: %s", p.name, what, p.last())
		case <-ctx.Done():
			return fmt.Errorf("%s did not %s within %v; its last words: %s", p.name, what, patience, p.last())
		case <-p.news:
		case <-tick.C:
		}
	}
}

// refusal is the first one from line from on.
func (p *process) refusal(ctx context.Context, from int) (found *entry, err error) {
	err = p.await(ctx, "log a refusal", func() bool {
		for _, r := range p.log[min(from, len(p.log)):] {
			if r.Code != "" && r.Alert != "" {
				found = r
				return true
			}
		}
		return false
	})
	return found, err
}

// said is how many lines the log has.
func (p *process) said() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.log)
}

func (p *process) line(n int) *entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log[n]
}

// last is what the process said last.
func (p *process) last() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.final != "" {
		return p.final
	}
	return "(it said nothing)"
}

// fell is the error of a process that ended unasked.
func (p *process) fell() error {
	return fmt.Errorf("%s ended, and nobody had asked it to: %s", p.name, p.last())
}

// end asks the process to end, and waits. Who does not end well has failed.
func (p *process) end() error {
	p.mu.Lock()
	p.asked = true
	p.mu.Unlock()
	stop(p.cmd.Process)
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("%s did not end within %v, and was killed", p.name, patience)
	}
	if p.err != nil && stopsGently {
		return fmt.Errorf("%s was asked to end, and ended with %w: %s", p.name, p.err, p.last())
	}
	return nil
}

// keeper holds what may not outlive the demo: the folder with the keys, and the
// processes. It is a process itself, which ends all that when the demo is gone,
// however it went: a pipe between the two breaks. See Keep.
type keeper struct {
	program string
	dir     string
	fallen  chan *process // who ended unasked

	cmd     *exec.Cmd
	link    *os.File // the demo's end of the pipe
	running []*process
	files   int
}

func newKeeper(program string) (*keeper, error) {
	fail := func(err error) (*keeper, error) {
		return nil, fmt.Errorf("the process that is to tidy up did not start: %w", err)
	}
	theirs, ours, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	defer theirs.Close()
	k := &keeper{program: program, fallen: make(chan *process, 16), link: ours}
	k.cmd = exec.Command(program, "demo", "keep")
	k.cmd.Stdin, k.cmd.Stderr = theirs, os.Stderr
	lead(k.cmd)
	out, err := k.cmd.StdoutPipe()
	if err == nil {
		err = k.cmd.Start()
	}
	if err != nil {
		_ = ours.Close()
		return fail(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if k.dir = strings.TrimSuffix(line, "\n"); err != nil {
		_ = ours.Close()
		return fail(errors.Join(err, k.cmd.Wait()))
	}
	return k, nil
}

// start starts the program as another process, in the keeper's group.
func (k *keeper) start(name string, args []string) (*process, error) {
	p := &process{name: name, ended: make(chan struct{}), news: make(chan struct{}, 1)}
	p.cmd = exec.Command(k.program, args...)
	follow(p.cmd, k.cmd.Process.Pid)
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	err = p.cmd.Start()
	_ = w.Close()
	if err != nil {
		_ = r.Close()
		return nil, fmt.Errorf("%s did not start: %w", name, err)
	}
	k.running = append(k.running, p)
	go func() {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 1<<20)
		p.hear(lines)
		_ = r.Close()
		p.err = p.cmd.Wait()
		close(p.ended)
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.asked {
			k.fallen <- p
		}
	}()
	return p, nil
}

// run runs the program to its end, in the keeper's group.
func (k *keeper) run(ctx context.Context, args []string) (out, words string, code int, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c := exec.CommandContext(ctx, k.program, args...)
	follow(c, k.cmd.Process.Pid)
	var o, w bytes.Buffer
	c.Stdout, c.Stderr = &o, &w
	err = c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		err = nil
	}
	return o.String(), strings.TrimSpace(w.String()), c.ProcessState.ExitCode(), err
}

// runWords runs a command that is to end with code, and answers what it said.
func (d *demo) runWords(ctx context.Context, code int, args ...string) (string, error) {
	_, words, got, err := d.keeper.run(ctx, args)
	switch {
	case err != nil:
		return "", fmt.Errorf("mutual %s did not end well: %w", args[0], err)
	case got != code:
		return "", fmt.Errorf("mutual %s was to end with exit code %d, and ended with %d: %s", args[0], code, got, words)
	}
	return words, nil
}

// runJSON runs a command with --json, and reads its answer into v.
func (d *demo) runJSON(ctx context.Context, v any, args ...string) error {
	out, words, code, err := d.keeper.run(ctx, append(args[:len(args):len(args)], "--json"))
	switch {
	case err != nil:
		return fmt.Errorf("mutual %s did not end well: %w", args[0], err)
	case code != 0:
		return fmt.Errorf("mutual %s ended with exit code %d: %s", args[0], code, words)
	}
	if err := json.Unmarshal([]byte(out), v); err != nil {
		return fmt.Errorf("what mutual %s said is no JSON as it should be: %w", args[0], err)
	}
	return nil
}

// announcement is a file that is not there yet.
func (k *keeper) announcement() string {
	k.files++
	return filepath.Join(k.dir, fmt.Sprintf("announce-%d.json", k.files))
}

// end ends the processes, and then takes the folder away.
func (k *keeper) end() error {
	ends := make(chan error)
	for _, p := range k.running {
		go func() { ends <- p.end() }()
	}
	var all error
	for range k.running {
		all = errors.Join(all, <-ends)
	}
	_, _ = k.link.WriteString(wellEnded)
	_ = k.link.Close()
	if err := k.cmd.Wait(); err != nil {
		all = errors.Join(all, fmt.Errorf("the folder %s may still be there: %w", k.dir, err))
	}
	return all
}
