package milter

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// fake is a filter at filter.test:8891.
type fake struct {
	version, actions, protocol uint32 // that it wants; if version is 0, 6

	// answer returns the octets of the answer to a command. If nil, or if ok is false, the answer is continue. At "!",
	// the filter closes the connection.
	answer func(cmd byte, data string) (octets string, ok bool)

	every time.Duration // if set, the answer is sent again and again
	deaf  byte          // the command after which nothing is read

	mu       sync.Mutex
	heard    []string // commands with their data, NULs as "|"
	sessions int
	conns    map[net.Conn]bool
}

// packet returns a packet.
func packet(cmd byte, data string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(data)+1))) + string(cmd) + data
}

// indexed returns the data of a change with an index.
func indexed(n uint32, name, value string) string {
	return string(binary.BigEndian.AppendUint32(nil, n)) + name + "\x00" + value + "\x00"
}

// silent is the bit of the protocol by which a command has no answer.
var silent = map[byte]uint32{
	cmdConnect: silentConnect, cmdHelo: silentHelo, cmdMail: silentMail, cmdRcpt: silentRcpt, cmdData: silentData,
	cmdHeader: silentHeader, cmdEndHeader: silentEndHeader, cmdBody: silentBody,
}

// serve speaks with one server.
func (f *fake) serve(conn net.Conn) {
	defer f.leave(conn)
	f.mu.Lock()
	f.sessions++
	if f.conns == nil {
		f.conns = map[net.Conn]bool{}
	}
	f.conns[conn] = true
	f.mu.Unlock()
	in := bufio.NewReader(conn)
	for {
		var head [5]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return
		}
		data := make([]byte, binary.BigEndian.Uint32(head[:])-1)
		if _, err := io.ReadFull(in, data); err != nil {
			return
		}
		cmd := head[4]
		f.mu.Lock()
		f.heard = append(f.heard, string(cmd)+" "+strings.ReplaceAll(string(data), "\x00", "|"))
		f.mu.Unlock()
		if cmd == cmdMacros || cmd == cmdAbort {
			continue
		}
		if cmd == cmdQuit {
			return
		}
		octets := packet(ansContinue, "")
		if cmd == cmdNegotiate {
			b := binary.BigEndian.AppendUint32(nil, max(f.version, 2))
			if f.version == 0 {
				b = binary.BigEndian.AppendUint32(nil, 6)
			}
			octets = packet(cmdNegotiate, string(binary.BigEndian.AppendUint32(
				binary.BigEndian.AppendUint32(b, f.actions), f.protocol)))
		}
		if f.protocol&silent[cmd] != 0 {
			octets = ""
		}
		if f.answer != nil {
			if own, ok := f.answer(cmd, string(data)); ok {
				octets = own
			}
		}
		own := octets != packet(ansContinue, "") && cmd != cmdNegotiate
		before, _, dies := strings.Cut(octets, "!")
		if _, err := io.WriteString(conn, before); err != nil || dies {
			return
		}
		for own && f.every > 0 {
			time.Sleep(f.every)
			if _, err := io.WriteString(conn, octets); err != nil {
				return
			}
		}
		if cmd == f.deaf {
			time.Sleep(time.Hour)
			return
		}
	}
}

func (f *fake) leave(conn net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, conn)
	conn.Close()
}

// open returns how many connections there are.
func (f *fake) open() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.conns)
}

// hangUp closes all connections.
func (f *fake) hangUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for conn := range f.conns {
		conn.Close()
	}
}

// commands returns the commands that were heard so far, and forgets them.
func (f *fake) commands() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	heard := f.heard
	f.heard = nil
	return heard
}

// letters returns the commands that were heard so far without macros, as one string.
func (f *fake) letters() string {
	var b strings.Builder
	for _, c := range f.commands() {
		if c[0] != cmdMacros {
			b.WriteByte(c[0])
		}
	}
	return b.String()
}

// received is a message that the server has accepted.
type received struct {
	env  smtp.Envelope
	body string
	held string
}

// world is a server at mx.test with checks. A client may relay if the recipient begins with "allowed"; a recipient that
// begins with "nobody" is refused with 550, and "later" with 451. The user "ann" authenticates.
type world struct {
	t    *testing.T
	inet *smtptest.Network
	srv  *server.Server

	mu    sync.Mutex
	found []string
	mails []received
}

// start starts a filter and a server that asks it. The filters that f has more than Addr and DialContext for keep that.
func start(t *testing.T, filters map[*Filter]*fake, order ...*Filter) *world {
	t.Helper()
	return startWith(t, func(*server.Server) {}, filters, order...)
}

// startWith is start with another setting of the server.
func startWith(t *testing.T, set func(*server.Server), filters map[*Filter]*fake, order ...*Filter) *world {
	t.Helper()
	w := &world{t: t, inet: smtptest.NewNetwork(t)}
	w.inet.Host("mx.test").SetAddrs(netip.MustParseAddr("192.0.2.25"), netip.MustParseAddr("2001:db8::25"))
	w.srv = &server.Server{
		Hostname: "mx.test", Handler: handler{w}, AllowInsecureAuth: true,
		TLSConfig:    &tls.Config{Certificates: []tls.Certificate{w.inet.Certificate("mx.test")}},
		Names:        names{},
		XClient:      []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
		Authenticate: func(context.Context, *server.Peer, string, string) error { return nil },
		Found: func(_ context.Context, _ *server.Peer, f server.Finding) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.found = append(w.found, f.Check+" "+f.Moment+": "+f.Text)
		},
	}
	set(w.srv)
	for i, f := range order {
		name := fmt.Sprintf("filter%d.test:8891", i)
		l, err := w.inet.Listen(name)
		if err != nil {
			t.Fatal(err)
		}
		f.Addr, f.DialContext = name, w.inet.DialContext
		w.srv.Checks = append(w.srv.Checks, f.Check())
		w.inet.Go(func(ctx context.Context) error {
			stop := context.AfterFunc(ctx, func() { l.Close() })
			defer stop()
			var all sync.WaitGroup
			defer all.Wait()
			for {
				conn, err := l.Accept()
				if err != nil {
					return nil
				}
				all.Go(func() {
					stop := context.AfterFunc(ctx, func() { conn.Close() })
					defer stop()
					filters[f].serve(conn)
				})
			}
		})
	}
	l, err := w.inet.Listen("mx.test:25")
	if err != nil {
		t.Fatal(err)
	}
	w.inet.Go(func(ctx context.Context) error { return w.srv.Serve(ctx, l) })
	return w
}

// one starts one filter.
func one(t *testing.T, f *Filter, of *fake) *world {
	t.Helper()
	return start(t, map[*Filter]*fake{f: of}, f)
}

// accepted returns the messages that were accepted so far, and forgets them.
func (w *world) accepted() []received {
	w.mu.Lock()
	defer w.mu.Unlock()
	mails := w.mails
	w.mails = nil
	return mails
}

// findings returns what was found so far, and forgets it.
func (w *world) findings() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	found := strings.Join(w.found, "\n")
	w.found = nil
	return found
}

// names is a NameResolver in which client.test is the name of 198.51.100.7.
type names struct{}

func (names) LookupAddr(context.Context, string) ([]string, error) {
	return []string{"client.test."}, nil
}

func (names) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("198.51.100.7")}, nil
}

type handler struct{ *world }

func (h handler) Allow(_ context.Context, _ *server.Peer, _ *smtp.Envelope, rcpt smtp.Recipient) (bool, error) {
	return strings.HasPrefix(rcpt.Address, "allowed"), nil
}

func (h handler) CheckRcpt(_ context.Context, _ *server.Peer, _ *smtp.Envelope, rcpt smtp.Recipient) error {
	switch {
	case strings.HasPrefix(rcpt.Address, "nobody"):
		return smtp.NewReply(550, "5.1.1", "no such user")
	case strings.HasPrefix(rcpt.Address, "later"):
		return smtp.NewReply(451, "4.3.0", "try later")
	}
	return nil
}

func (h handler) Handle(
	ctx context.Context, _ *server.Peer, env *smtp.Envelope, r io.Reader,
) (*smtp.Reply, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	got := received{*env, string(b), server.SessionOf(ctx).Held()}
	got.env.Recipients = slices.Clone(env.Recipients)
	h.mails = append(h.mails, got)
	return nil, nil
}

// client is a session with the server, from 198.51.100.7.
type client struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func (w *world) dial() *client {
	w.t.Helper()
	return w.dialFrom("198.51.100.7", "192.0.2.25:25")
}

func (w *world) dialFrom(from, to string) *client {
	w.t.Helper()
	host := w.inet.Host("client.test")
	host.SetAddrs(netip.MustParseAddr(from))
	conn, err := host.DialContext(w.t.Context(), "tcp", to)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	return &client{w.t, conn, bufio.NewReader(conn)}
}

// reply reads a reply: its code, or "closed".
func (c *client) reply() string {
	c.t.Helper()
	c.conn.SetDeadline(time.Now().Add(time.Hour))
	r, err := smtp.ReadReply(c.in)
	if err == io.EOF {
		return "closed"
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return r.Error()
}

// ask sends each line and returns the codes of the replies, with enhanced codes from 400 on. It stops at "closed".
func (c *client) ask(lines ...string) string {
	c.t.Helper()
	var codes []string
	for _, line := range lines {
		c.conn.SetDeadline(time.Now().Add(time.Hour))
		io.WriteString(c.conn, line+"\r\n")
		got := c.reply()
		if words := strings.Fields(got); got[0] >= '4' && got[0] <= '5' {
			got = words[0] + " " + words[1]
		} else {
			got = words[0]
		}
		if codes = append(codes, got); got == "closed" {
			break
		}
	}
	return strings.Join(codes, ", ")
}

// hello reads the greeting and sends EHLO.
func (c *client) hello() *client {
	c.t.Helper()
	if got := c.reply(); !strings.HasPrefix(got, "220 ") {
		c.t.Fatalf("got the greeting %q, want 220", got)
	}
	if got := c.ask("EHLO client.test"); got != "250" {
		c.t.Fatalf("got %s to EHLO, want 250", got)
	}
	return c
}

const text = "Subject: hi\r\nX-Two: a\r\n\tb\r\n\r\nHello.\r\n"

// mail sends a message, and returns the codes of the replies. It stops after a refusal of MAIL, of all recipients, or of
// DATA.
func (c *client) mail(from string, to ...string) string {
	c.t.Helper()
	return c.mailText(text, from, to...)
}

func (c *client) mailText(text, from string, to ...string) string {
	c.t.Helper()
	codes := []string{c.ask("MAIL FROM:<" + from + ">")}
	if codes[0] != "250" {
		return codes[0]
	}
	for _, rcpt := range to {
		codes = append(codes, c.ask("RCPT TO:<"+rcpt+">"))
	}
	if slices.Contains(codes[1:], "250") {
		codes = append(codes, c.ask("DATA"))
		if codes[len(codes)-1] == "354" {
			codes = append(codes, c.ask(text+"."))
		}
	}
	return strings.Join(codes, ", ")
}
