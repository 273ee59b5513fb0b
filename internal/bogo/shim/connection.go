package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/mtls"
)

// connection is one connection with the runner: an ordinary one, whose Identity,
// Verifier and Observer it is too.
type connection struct {
	*process
	*settings
	resumes    bool
	transport  net.Conn
	conn       wire
	tickets    int
	secrets    map[string][]byte
	retry      *settings // where early data was rejected
	notTaken   string    // why, of early data
	allowEarly bool      // says the last ticket
	lastRead   message.Type
}

// run carries out the handshake, what is to be done behind it, and the end.
func (c *connection) run() error {
	if err := c.load(c.now); err != nil {
		return err
	}
	connect, err := c.endpoint()
	if err != nil {
		return err
	}
	if c.transport, err = dial(c.settings); err != nil {
		return err
	}
	if c.conn, err = connect(context.Background()); err != nil {
		return c.verifyRejection(err)
	}
	defer c.conn.Close()
	if err := c.sendEarly(); err != nil {
		return c.retry.verifyRejection(err)
	}
	if c.after.neverDone {
		return errors.New("the handshake is over, and was never to be")
	}
	if err := errors.Join(c.verifyHandshake(), c.verifyECH()); err != nil {
		return err
	}
	if conn, ok := c.conn.(*mtls.Conn); ok && c.after.again {
		if c.server && !conn.HandshakeOver() {
			return unimplemented("Handshake waits for the end of the handshake, also where early data travels")
		}
		if err := conn.Handshake(context.Background()); err != nil {
			return err
		}
	}
	if err := c.begin(); err != nil {
		return err
	}
	if c.after.refuses {
		const decompressionFailure = 30
		return c.conn.Refuse(decompressionFailure, "the runner wants it refused")
	}
	if err := c.echoEarly(); err != nil {
		return err
	}
	if !c.after.shutsDown {
		if err := c.echo(); err != nil {
			return err
		}
	}
	if err := c.verifyTickets(); err != nil {
		return err
	}
	return c.close()
}

// begin does what comes before the echo.
func (c *connection) begin() error {
	a := &c.after
	if a.exportLength > 0 {
		var with []byte
		if a.exportWithContext {
			with = []byte(a.exportContext)
		}
		b, err := c.conn.Export(a.exportLabel, with, a.exportLength)
		if err != nil {
			return err
		}
		if _, err := c.conn.Write(b); err != nil {
			return err
		}
	}
	if a.exportSecrets {
		if err := c.writeSecrets(); err != nil {
			return err
		}
	}
	if a.recordSizes {
		for _, n := range []int{0, 1, 255, 256, 257, 16383, 16384, 16385, 32767, 32768, 32769} {
			if _, err := c.conn.Write([]byte(strings.Repeat("\x42", n))); err != nil {
				return err
			}
		}
	}
	if a.writesFirst && !c.early.written {
		for range a.initialWrites {
			if _, err := c.conn.Write([]byte(a.initialWrite)); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeSecrets tells the runner our traffic secrets, the reading one first.
func (c *connection) writeSecrets() error {
	read, write := c.secrets["SERVER_TRAFFIC_SECRET_0"], c.secrets["CLIENT_TRAFFIC_SECRET_0"]
	if c.server {
		read, write = write, read
	}
	b := []byte{byte(len(read)), byte(len(read) >> 8)}
	b = append(append(b, read...), write...)
	_, err := c.conn.Write(b)
	return err
}

// echo gives back all that comes, each bit turned round, to the end.
func (c *connection) echo() error {
	unfinished := make(chan error, 1)
	if c.after.unfinishedWrite {
		d, ok := c.transport.(*dribble)
		if !ok {
			return unimplemented("a write is left unfinished with -async alone")
		}
		d.hold()
		go func() {
			_, err := c.conn.Write([]byte(c.after.initialWrite))
			unfinished <- err
		}()
		<-d.hit
	}
	var in io.Reader = c.conn
	if c.after.peek {
		in = peeker{bufio.NewReader(c.conn)}
	}
	b := make([]byte, 512)
	if c.after.readSize > 0 {
		b = make([]byte, c.after.readSize)
	}
	for {
		if c.after.keyUpdateFirst {
			if err := c.conn.Rekey(false); err != nil {
				return err
			}
		}
		n, err := in.Read(b)
		if err == io.EOF || isTruncated(err) && !c.after.checkCloseNotify {
			return nil
		}
		if err != nil {
			return err
		}
		if c.after.exportBetween {
			if _, err := c.conn.Export("", nil, 1); err != nil {
				return err
			}
		}
		if d, ok := c.transport.(*dribble); ok && c.after.unfinishedWrite {
			c.after.unfinishedWrite = false
			d.release()
			if err := <-unfinished; err != nil {
				return err
			}
		}
		if c.after.keyUpdate {
			if err := c.conn.Rekey(false); err != nil {
				return err
			}
		}
		for i := range b[:n] {
			b[i] ^= 0xff
		}
		if _, err := c.conn.Write(b[:n]); err != nil {
			return err
		}
	}
}

// isTruncated says whether the peer went away without close_notify.
func isTruncated(err error) bool {
	r, ok := mtls.RefusalOf(err)
	return ok && r.Code == string(code.Truncated)
}

// close says close_notify, waits for the runner's where it is to be checked, and
// then for the runner to go away.
func (c *connection) close() error {
	_ = c.conn.CloseWrite()
	if c.after.shutsDown && c.after.checkCloseNotify {
		var b [1]byte
		switch n, err := c.conn.Read(b[:]); {
		case n > 0:
			return errors.New("application data came behind our close_notify")
		case err != io.EOF:
			return err
		}
	}
	c.drain()
	return nil
}

// drain waits until the runner has gone: it would not like its writes to fail.
func (c *connection) drain() {
	t := c.transport
	if d, ok := t.(*dribble); ok {
		t = d.Conn
	}
	if tcp, ok := t.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
		_, _ = io.Copy(io.Discard, tcp)
	}
}

// late takes a while where answers are to come late.
func (c *connection) late() {
	if c.async {
		time.Sleep(lateness)
	}
}

// Verify makes a connection the Verifier of its peer: whom to admit is the
// runner's to say.
func (c *connection) Verify(_ context.Context, claim *mtls.Claim) (*mtls.Verdict, error) {
	c.late()
	s := c.settings
	if s.early.offered && s.early.rejected { // it is what follows that is judged
		s = c.retry
	}
	if err := s.verifyName(claim.ServerName); err != nil {
		return nil, err
	}
	if v, err := s.beside.judge(claim); v != nil || err != nil {
		return v, err
	}
	// An application that does not verify admits whoever it is; one that trusts its
	// sessions says so when it is asked about one.
	unasked := !s.verifyPeer && !s.requirePeer && claim.RawKey == nil || claim.Occasion == mtls.Resumption && !s.reverify
	if !s.verifyFail || unasked {
		return &mtls.Verdict{OK: true}, nil
	}
	v := &mtls.Verdict{Code: string(code.NotPinned), Alert: alert.HandshakeFailure, Reason: "the runner wants it refused"}
	if s.verifyCustom {
		v.Alert = alert.CertificateUnknown
	}
	return v, nil
}

// Observe counts the tickets that can be used.
func (c *connection) Observe(e mtls.Event) {
	c.observeEarly(e)
	if e.Kind == observe.Message && (e.From == observe.Client) == c.server {
		c.lastRead = e.Type
	}
	if e.Kind != observe.Message || e.Type != message.TypeNewSessionTicket {
		return
	}
	var m message.NewSessionTicket
	if m.Parse(e.Bytes) == nil && m.Lifetime > 0 {
		c.tickets++
		c.allowEarly = m.MaxEarlyData > 0
	}
}

// process is what connections have in common. It stands for the connection of
// the moment where something was made for several.
type process struct {
	current     *connection
	client      *mtls.Client
	clientShape string
	keys        *mtls.TicketKeys
	now         time.Time // it stands still, but for the delays that the runner asks for
}

func (p *process) Certificate(ctx context.Context, ask *mtls.Ask) (*mtls.Certificate, error) {
	return p.current.Certificate(ctx, ask)
}

func (p *process) Verify(ctx context.Context, claim *mtls.Claim) (*mtls.Verdict, error) {
	return p.current.Verify(ctx, claim)
}

// Generation says that our verdicts rest on nothing that changes.
func (p *process) Generation() ([sha256.Size]byte, bool) { return [sha256.Size]byte{1}, true }

func (p *process) Observe(e mtls.Event) { p.current.Observe(e) }

// Write takes a line of the key log.
func (p *process) Write(line []byte) (int, error) {
	if f := strings.Fields(string(line)); len(f) == 3 {
		p.current.secrets[f[0]], _ = hex.DecodeString(f[2])
	}
	return len(line), nil
}

// endpoint is the server or the client that the settings ask for.
func (c *connection) endpoint() (func(context.Context) (wire, error), error) {
	p := c.process
	common := mtls.Common{Observer: p, Clock: func() time.Time { return p.now }}
	if c.after.exportSecrets {
		common.KeyLog = p
	}
	if c.server {
		cfg := mtls.ServerConfig{Identity: p, Clients: mtls.Anonymous(), Common: common}
		cfg.GREASE = true // the runner looks for it in every server's tickets
		switch {
		case c.verifyPeer && !c.requirePeer:
			cfg.Clients = mtls.Optional(p)
		case c.requirePeer:
			cfg.Clients = mtls.Required(p)
		}
		if !c.noTicket {
			cfg.Resumption = &mtls.ServerResumption{Keys: p.keys}
		}
		for _, change := range c.configure {
			change(&config{Common: &cfg.Common, server: &cfg})
		}
		c.choose(&cfg.Common, nil)
		if c.early.enabled && cfg.Resumption != nil {
			cfg.Resumption.EarlyData = &mtls.ServerEarlyData{Most: maxEarlyData}
		}
		if c.settings.quic.on && cfg.ALPN == nil {
			cfg.ALPN = []string{"what nobody speaks"} // there is no QUIC without
		}
		c.keyServer(&cfg)
		if err := c.settings.ech.serve(&cfg); err != nil {
			return nil, misconfigured(err)
		}
		server, err := mtls.NewServer(cfg)
		if err != nil {
			return nil, misconfigured(err)
		}
		if c.settings.quic.on {
			return func(ctx context.Context) (wire, error) { return c.overQUIC(ctx, server.QUIC) }, nil
		}
		return func(ctx context.Context) (wire, error) { return stands(server.Accept(ctx, c.transport)) }, nil
	}
	if p.client == nil || p.clientShape != c.settings.shape {
		cfg := mtls.ClientConfig{Identity: p, Servers: p, Common: common}
		if !c.noTicket {
			cfg.Resumption = &mtls.ClientResumption{}
		}
		for _, change := range c.configure {
			change(&config{Common: &cfg.Common, client: &cfg})
		}
		c.choose(&cfg.Common, &cfg)
		c.keyClient(&cfg)
		c.settings.ech.connect(&cfg)
		client, err := mtls.NewClient(cfg)
		if err != nil {
			return nil, misconfigured(err)
		}
		p.client, p.clientShape = client, c.settings.shape
	}
	if c.settings.quic.on {
		return func(ctx context.Context) (wire, error) {
			return c.overQUIC(ctx, func(cfg mtls.QUICConfig) (*mtls.QUICConn, error) { return p.client.QUIC(c.meant(), cfg) })
		}, nil
	}
	connect := p.client.Connect
	if c.early.enabled {
		connect = p.client.ConnectEarly
	}
	return func(ctx context.Context) (wire, error) { return stands(connect(ctx, c.transport, c.meant())) }, nil
}

// misconfigured tells what we do not have from what is wrong.
func misconfigured(err error) error {
	if strings.Contains(err.Error(), "is not one that we have") {
		return unimplemented("%v", err)
	}
	return fmt.Errorf("the configuration was refused: %w", err)
}
