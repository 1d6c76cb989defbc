package interop

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// ownRelay is a Relay of this process. It accepts mail at a port of 127.0.0.1. Without Domains, it relays to anyone.
type ownRelay struct {
	port string
	told *events
	wire *recorder
}

// serveRelay starts a Relay, until the test ends. It fills in the fields that every test has the same. The Relay serves
// more listeners than its own one, if there are any.
func serveRelay(t *testing.T, r *postrider.Relay, more ...net.Listener) *ownRelay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	own := &ownRelay{port: port, told: newEvents(), wire: &recorder{Listener: l}}
	r.Hostname, r.Queue = "relay.test", mem.New()
	if len(r.Domains) == 0 {
		r.Allow = postrider.AllowNetworks(netip.MustParsePrefix("127.0.0.0/8"))
	}
	r.Events = delivery.Events{Delivered: own.told.add, Deferred: own.told.add, Rejected: own.told.add}
	log := new(logs)
	r.Logger = slog.New(slog.NewTextHandler(log, nil))
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- r.Serve(ctx, append(more, own.wire)...) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: got %v", err)
		}
		if t.Failed() {
			t.Logf("the relay logged:\n%s", tail(log.String()))
		}
	})
	return own
}

// result waits for the relay's first attempt for a recipient.
func (r *ownRelay) result(t *testing.T, recipient string) smtp.Result {
	t.Helper()
	eventually(t, "the relay has tried "+recipient, func() bool { return len(r.told.of(recipient)) > 0 })
	return r.told.of(recipient)[0].Result
}

// recorder is a listener that keeps the octets that clients send.
type recorder struct {
	net.Listener

	mu       sync.Mutex
	sessions []*logs
}

func (r *recorder) Accept() (net.Conn, error) {
	conn, err := r.Listener.Accept()
	if err != nil {
		return nil, err
	}
	sent := new(logs)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions = append(r.sessions, sent)
	return &recorded{conn, sent}, nil
}

type recorded struct {
	net.Conn

	sent *logs
}

func (c *recorded) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.sent.Write(p[:n])
	return n, err
}

// session returns the octets of the session that named a recipient.
func (r *recorder) session(recipient string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, sent := range r.sessions {
		if text := sent.String(); strings.Contains(text, "<"+recipient+">") {
			return text
		}
	}
	return ""
}

var (
	contentCommand = regexp.MustCompile(`(?i)\r\n(?:data\r\n|bdat \d)`)
	chunkCommand   = regexp.MustCompile(`(?i)^bdat (\d+)( last)?\r\n`)
)

// cutSession divides a session at its first DATA or BDAT: into the commands, and the content without its dot stuffing.
// ok reports whether the content has an end.
func cutSession(session string) (commands, content string, ok bool) {
	at := contentCommand.FindStringIndex(session)
	if at == nil {
		return session, "", false
	}
	if begin := at[0] + len("\r\n"); chunkCommand.MatchString(session[begin:]) {
		content, ok = chunks(session[begin:])
		return session[:at[0]], content, ok
	}
	content, _, ok = strings.Cut("\r\n"+session[at[1]:], "\r\n.\r\n")
	return session[:at[0]], strings.TrimPrefix(strings.ReplaceAll(content, "\r\n.", "\r\n"), "\r\n") + "\r\n", ok
}

// chunks returns the content of the chunks that a session begins with. It ends in CRLF, as the next host gets it by DATA.
func chunks(session string) (content string, ok bool) {
	for {
		at := chunkCommand.FindStringSubmatch(session)
		if at == nil {
			return content, false
		}
		size, err := strconv.Atoi(at[1])
		if session = session[len(at[0]):]; err != nil || size > len(session) {
			return content, false
		}
		content += session[:size]
		session = session[size:]
		if at[2] != "" {
			return strings.TrimSuffix(content, "\r\n") + "\r\n", true
		}
	}
}

// messageTo returns the message for a recipient that a host has taken, or nil.
func messageTo(h *smtptest.Host, recipient string) *smtptest.Message {
	for _, m := range h.Messages() {
		if slices.ContainsFunc(m.Envelope.Recipients, func(to smtp.Recipient) bool { return to.Address == recipient }) {
			return &m
		}
	}
	return nil
}

// bridge makes a host in memory reachable for other processes. It returns the port at 127.0.0.1.
func bridge(t *testing.T, inet *smtptest.Network, host *smtptest.Host) (port string) {
	t.Helper()
	return bridgeBy(t, func(ctx context.Context) (net.Conn, error) {
		return inet.DialContext(ctx, "tcp", host.Name()+":25")
	})
}

// bridgeBy makes a port at 127.0.0.1 the connections to which are passed on to those of dial.
func bridgeBy(t *testing.T, dial func(context.Context) (net.Conn, error)) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	pass := func(to, from net.Conn) {
		io.Copy(to, from)
		to.Close()
		from.Close()
	}
	wg.Go(func() {
		for {
			outer, err := l.Accept()
			if err != nil {
				return
			}
			inner, err := dial(ctx)
			if err != nil {
				outer.Close()
				continue
			}
			context.AfterFunc(ctx, func() { outer.Close() })
			wg.Go(func() { pass(inner, outer) })
			wg.Go(func() { pass(outer, inner) })
		}
	})
	t.Cleanup(func() {
		cancel()
		l.Close()
		wg.Wait()
	})
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port
}

// withoutReceived returns a message without the fields that hosts put on top.
func withoutReceived(data []byte) []byte {
	for at := onTop.FindIndex(data); at != nil && bytes.HasPrefix(data, []byte("Received: ")); at = onTop.FindIndex(data) {
		data = data[at[1]:]
	}
	return data
}
