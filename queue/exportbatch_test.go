package queue_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestExport exports messages, has our own server take in what was written, and compares what it got.
func TestExport(t *testing.T) {
	const plain = "From: <ann@example.com>\r\n\r\n.\r\n..two dots\r\nline\r\n.end\r\n"
	full := &smtp.Envelope{
		From: "ann@bücher.example", Body: smtp.Body8BitMIME, UTF8: true, Ret: smtp.RetHeaders, EnvID: "order 47+11",
		Recipients: []smtp.Recipient{
			{Address: "jörg@example.net", Notify: smtp.NotifySuccess | smtp.NotifyFailure, ORCPT: "utf-8;jörg@example.org"},
			{Address: `"a \"b"@example.net`, Notify: smtp.NotifyNever, ORCPT: "rfc822;a+b@example.org"},
		},
	}
	domains := smtp.NewEnvelope("ann@bücher.example", "bob@übung.example")
	tests := []struct {
		name string
		env  *smtp.Envelope
		body string
		want smtp.Envelope // but for Recipients and Size
		rcpt []smtp.Recipient
	}{
		{"plain", smtp.NewEnvelope("ann@example.com", "bob@example.net", "eve@example.net"), plain, smtp.Envelope{From: "ann@example.com"}, nil},
		{"null", smtp.NewEnvelope("", "bob@example.net"), plain, smtp.Envelope{}, nil},
		{"dsn", full, "Subject: x\r\n\r\nJörg\r\n", *full, nil},
		{"8bit", smtp.NewEnvelope("ann@example.com", "bob@example.net"), "Subject: x\r\n\r\nJörg\r\n", smtp.Envelope{From: "ann@example.com", Body: smtp.Body8BitMIME}, nil},
		{"header", smtp.NewEnvelope("ann@example.com", "bob@example.net"), "Subject: Jörg\r\n\r\n", smtp.Envelope{From: "ann@example.com", Body: smtp.Body8BitMIME}, nil},
		{"declared", &smtp.Envelope{From: "ann@example.com", UTF8: true, Recipients: []smtp.Recipient{{Address: "bob@example.net"}}}, "Subject: Jörg\r\n\r\n", smtp.Envelope{From: "ann@example.com", Body: smtp.Body8BitMIME, UTF8: true}, nil},
		{"domains", domains, plain, smtp.Envelope{From: "ann@xn--bcher-kva.example"}, []smtp.Recipient{{Address: "bob@xn--bung-zra.example"}}},
		{"empty", smtp.NewEnvelope("ann@example.com", "bob@example.net"), "", smtp.Envelope{From: "ann@example.com"}, nil},
		{"open", smtp.NewEnvelope("ann@example.com", "bob@example.net"), "Subject: x\r\n\r\nno end", smtp.Envelope{From: "ann@example.com"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := mem.New()
			id := mustEnqueue(t, q, tt.env, tt.body)
			got := export(t, q, id)
			golden(t, tt.name, got)
			env, data := takeIn(t, got)
			want := tt.want
			want.Size, want.Recipients = int64(len(tt.body)), tt.rcpt
			if want.Recipients == nil {
				want.Recipients = tt.env.Recipients
			}
			if !reflect.DeepEqual(*env, want) {
				t.Errorf("got envelope  %+v\nwant %+v", *env, want)
			}
			body := tt.body
			if body != "" && !strings.HasSuffix(body, "\r\n") {
				body += "\r\n"
			}
			if data != body {
				t.Errorf("got content %q, want %q", data, body)
			}
		})
	}
}

// TestExportRemaining exports to those who aren't settled, over all destinations, held and leased ones included. The one
// whose report waits is settled.
func TestExportRemaining(t *testing.T) {
	q := mem.New()
	env := smtp.NewEnvelope("ann@example.com", "a@one.example", "b@two.example", "c@one.example", "d@three.example", "e@four.example")
	id := mustEnqueue(t, q, env, "Subject: x\r\n\r\n")
	claim := func(destination string) queue.Task {
		var wants []queue.Want
		for d := range q.Lanes(t.Context()) {
			if d.Destination == destination {
				wants = append(wants, queue.Want{Lane: d.Lane, Max: 1})
			}
		}
		tasks, err := q.Claim(t.Context(), wants, time.Hour)
		if err != nil || len(tasks) != 1 {
			t.Fatalf("got %v and %v, want a task", tasks, err)
		}
		return tasks[0]
	}
	reply := smtp.NewReply(250, "", "ok")
	partly := queue.Settlement{Next: time.Now(), Results: []smtp.Result{{Outcome: smtp.Deferred, Reply: reply}, {Outcome: smtp.Rejected, Reply: reply}}}
	partly.Owed, partly.ReportAt = []queue.Owed{{Recipient: 1, Result: partly.Results[1]}}, time.Now().Add(time.Hour)
	if err := errors.Join(
		q.Settle(t.Context(), claim("one.example").Lease, partly),
		q.Settle(t.Context(), claim("three.example").Lease, queue.Settlement{}),
	); err != nil {
		t.Fatal(err)
	}
	claim("two.example")
	if err := q.Hold(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	got, _ := takeIn(t, export(t, q, id))
	var to []string
	for _, r := range got.Recipients {
		to = append(to, r.Address)
	}
	if want := []string{"a@one.example", "b@two.example", "e@four.example"}; !slices.Equal(to, want) {
		t.Errorf("got recipients %q, want %q", to, want)
	}
}

// TestExportStreams exports what wouldn't fit into the memory that it may take.
func TestExportStreams(t *testing.T) {
	const size, limit = 50_000_000, 4 << 20
	q, err := spool.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	body := io.LimitReader(&lines{line: strings.Repeat(".", 98) + "\r\n"}, size)
	env := smtp.NewEnvelope("ann@example.com", "bob@example.net")
	id, err := q.Enqueue(t.Context(), queue.Message{Envelope: env, Destinations: []string{"example.net"}, Body: body})
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	var n count
	runtime.ReadMemStats(&before)
	if err := queue.Export(t.Context(), q, id, &n); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; n < size+size/100 || used > limit {
		t.Errorf("got %d octets, and %d allocated; want at least %d, and at most %d", n, used, size+size/100, limit)
	}
}

// TestExportErrors writes nothing where there is nothing good to write.
func TestExportErrors(t *testing.T) {
	q := mem.New()
	env := smtp.NewEnvelope("ann@example.com", "bob@example.net")
	good := mustEnqueue(t, q, env, "Subject: x\r\n\r\n")
	bare := mustEnqueue(t, q, env, "Subject: x\n\n")
	bad := mustEnqueue(t, q, smtp.NewEnvelope("ann@example.com", "bob@example.net>\r\nDATA"), "Subject: x\r\n\r\n")
	closed := errors.New("closed")
	tests := []struct {
		name string
		q    queue.Queue
		id   queue.ID
		want func(error) bool
	}{
		{"no Lister", struct{ queue.Queue }{q}, good, func(err error) bool { return errors.Is(err, errors.ErrUnsupported) }},
		{"not there", q, "nosuch", func(err error) bool { return err == queue.ErrNotFound }},
		{"bare LF", q, bare, func(err error) bool { return errors.As(err, new(*smtp.Reply)) }},
		{"no address", q, bad, func(err error) bool { return err != nil && strings.Contains(err.Error(), "address") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := queue.Export(t.Context(), tt.q, tt.id, &b); !tt.want(err) || b.Len() > 0 {
				t.Errorf("got %v, and %d octets written", err, b.Len())
			}
		})
	}
	for n := range 3 {
		if err := queue.Export(t.Context(), q, good, &failingWriter{n, closed}); !errors.Is(err, closed) {
			t.Errorf("write %d fails: got %v, want its error", n, err)
		}
	}
}

func mustEnqueue(t *testing.T, q queue.Queue, env *smtp.Envelope, body string) queue.ID {
	t.Helper()
	var destinations []string
	for _, r := range env.Recipients {
		_, domain := smtp.SplitAddress(r.Address)
		destinations = append(destinations, domain)
	}
	id, err := q.Enqueue(t.Context(), queue.Message{Envelope: env, Destinations: destinations, Body: strings.NewReader(body)})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func export(t *testing.T, q queue.Queue, id queue.ID) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := queue.Export(t.Context(), q, id, &b); err != nil {
		t.Fatalf("Export: %v", err)
	}
	return b.Bytes()
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", "export", name+".bsmtp")
	if *update {
		if err := os.WriteFile(file, got, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// takeIn hands a batch to a server, which must answer each of its commands well, and gives what that got.
func takeIn(t *testing.T, batch []byte) (*smtp.Envelope, string) {
	t.Helper()
	conn, far := net.Pipe()
	var got taker
	srv := &server.Server{Hostname: "mx.test", Handler: &got}
	done := make(chan error, 1)
	l := &oneConn{conns: make(chan net.Conn, 1)}
	l.conns <- far
	go func() { done <- srv.Serve(context.Background(), l) }()
	defer func() {
		srv.Close()
		<-done
	}()
	in := bufio.NewReader(conn)
	answer := func(to string, want int) {
		t.Helper()
		if r, err := smtp.ReadReply(in); err != nil || r.Code/100 != want {
			t.Fatalf("%q: got %v and %v, want %dxx", to, r, err, want)
		}
	}
	answer("", 2)
	for data := false; len(batch) > 0; {
		line, rest, ok := bytes.Cut(batch, []byte("\r\n"))
		if !ok {
			t.Fatalf("got %q at the end, want a line", batch)
		}
		batch = rest
		if _, err := fmt.Fprintf(conn, "%s\r\n", line); err != nil {
			t.Fatal(err)
		}
		switch {
		case data && string(line) != ".":
		case string(line) == "DATA":
			answer("DATA", 3)
			data = true
		default:
			answer(string(line), 2)
			data = false
		}
	}
	if len(got.mails) != 1 || in.Buffered() > 0 {
		t.Fatalf("got %d mails, want 1", len(got.mails))
	}
	return got.envelope, got.mails[0]
}

// taker takes all mail.
type taker struct {
	envelope *smtp.Envelope
	mails    []string
}

func (h *taker) Handle(_ context.Context, _ *server.Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	data, err := io.ReadAll(body)
	h.envelope, h.mails = env, append(h.mails, string(data))
	return nil, err
}

// oneConn is a net.Listener with one connection.
type oneConn struct {
	conns chan net.Conn
	close sync.Once
}

func (l *oneConn) Accept() (net.Conn, error) {
	if c, ok := <-l.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error {
	l.close.Do(func() { close(l.conns) })
	return nil
}

func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// lines repeats a line.
type lines struct {
	line string
	off  int
}

func (l *lines) Read(p []byte) (n int, err error) {
	for n < len(p) {
		c := copy(p[n:], l.line[l.off:])
		n, l.off = n+c, (l.off+c)%len(l.line)
	}
	return n, nil
}

// count counts what is written.
type count int64

func (c *count) Write(p []byte) (int, error) {
	*c += count(len(p))
	return len(p), nil
}

// failingWriter fails after so many writes.
type failingWriter struct {
	left int
	err  error
}

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left == 0 {
		return 0, w.err
	}
	w.left--
	return len(p), nil
}

// TestExportRequireTLS: what a message demands of TLS goes along.
func TestExportRequireTLS(t *testing.T) {
	q := mem.New()
	env := smtp.NewEnvelope("ann@example.com", "bob@example.net")
	env.RequireTLS = true
	got := string(export(t, q, mustEnqueue(t, q, env, "Subject: x\r\n\r\n")))
	if want := "MAIL FROM:<ann@example.com> SIZE=14 REQUIRETLS\r\n"; !strings.Contains(got, want) {
		t.Errorf("got %q, want it with %q", got, want)
	}
}
