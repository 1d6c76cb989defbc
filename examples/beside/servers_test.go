//go:build unix

package beside

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	gosmtp "github.com/emersion/go-smtp"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// servers are ours, then the other. serve returns the func that stops it. Both hand each message to take.
var servers = []struct {
	name  string
	serve func(l net.Listener, take func(io.Reader) error) (stop func())
}{
	{"postrider", servePostrider},
	{"go-smtp", serveGoSMTP},
}

func servePostrider(l net.Listener, take func(io.Reader) error) (stop func()) {
	srv := &server.Server{Hostname: "sink.example", Handler: takes(take)}
	return background(srv.Close, func() error { return srv.Serve(context.Background(), l) })
}

// takes is a Handler of our server.
type takes func(io.Reader) error

func (t takes) Handle(_ context.Context, _ *server.Peer, _ *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	return nil, t(body)
}

func serveGoSMTP(l net.Listener, take func(io.Reader) error) (stop func()) {
	srv := gosmtp.NewServer(gosmtp.BackendFunc(func(*gosmtp.Conn) (gosmtp.Session, error) { return session{take}, nil }))
	srv.Domain = "sink.example"
	return background(srv.Close, func() error { return srv.Serve(l) })
}

// session is one of go-smtp's server.
type session struct{ take func(io.Reader) error }

func (session) Reset()                                 {}
func (session) Logout() error                          { return nil }
func (session) Mail(string, *gosmtp.MailOptions) error { return nil }
func (session) Rcpt(string, *gosmtp.RcptOptions) error { return nil }
func (s session) Data(body io.Reader) error            { return s.take(body) }

// background runs a server, and returns the func that closes it and waits for its end.
func background(closeServer, serve func() error) (stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		serve()
	}()
	return func() {
		closeServer()
		<-done
	}
}

func discard(body io.Reader) error {
	_, err := io.Copy(io.Discard, body)
	return err
}

// load is a client with one session. It sends the same message again and again, in as few round trips as the command for
// the content allows: one by BDAT, two by DATA.
type load struct {
	conn  net.Conn
	in    *bufio.Reader
	parts []loadPart
}

// loadPart is sent at once. Each reply to it must begin with its code.
type loadPart struct {
	text    []byte
	replies []string
}

const loadEnvelope = "MAIL FROM:<sender@example.com>\r\nRCPT TO:<recipient@example.net>\r\n"

func newLoad(addr, command, body string) (*load, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &load{conn: conn, in: bufio.NewReader(conn)}
	switch command {
	case "DATA":
		c.parts = []loadPart{
			{[]byte(loadEnvelope + "DATA\r\n"), []string{"250", "250", "354"}},
			{[]byte(strings.ReplaceAll(body, "\r\n.", "\r\n..") + ".\r\n"), []string{"250"}},
		}
	case "BDAT":
		text := fmt.Sprintf("%sBDAT %d LAST\r\n%s", loadEnvelope, len(body), body)
		c.parts = []loadPart{{[]byte(text), []string{"250", "250", "250"}}}
	}
	return c, c.exchange(loadPart{[]byte("EHLO client.example\r\n"), []string{"220", "250"}})
}

func (c *load) send(n int) error {
	for range n {
		for _, p := range c.parts {
			if err := c.exchange(p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *load) exchange(p loadPart) error {
	if _, err := c.conn.Write(p.text); err != nil {
		return err
	}
	for i := 0; i < len(p.replies); {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return err
		}
		if len(line) < 4 || line[:3] != p.replies[i] {
			return fmt.Errorf("got %q, want %s", line, p.replies[i])
		}
		if line[3] == ' ' {
			i++
		}
	}
	return nil
}

// TestServers checks that each server hands over the whole message, by DATA and by BDAT.
func TestServers(t *testing.T) {
	want := newMessages(1)[0].body + ".\r\n..\r\n.a dot ahead\r\nthe end.\r\n"
	for _, tt := range servers {
		for _, command := range []string{"DATA", "BDAT"} {
			t.Run(tt.name+"/"+command, func(t *testing.T) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				got := make(chan string, 3)
				stop := tt.serve(l, func(r io.Reader) error {
					b, err := io.ReadAll(r)
					got <- string(b)
					return err
				})
				defer stop()
				c, err := newLoad(l.Addr().String(), command, want)
				if err != nil {
					t.Fatal(err)
				}
				defer c.conn.Close()
				if err := c.send(cap(got)); err != nil {
					t.Fatal(err)
				}
				for range cap(got) {
					if text := <-got; text != want {
						t.Errorf("got %q, want %q", text, want)
					}
				}
			})
		}
	}
}

const (
	loadVar  = "BESIDE_LOAD" // "address command octets mails"
	sessions = 20
)

// TestMain is a client of BenchmarkServers if the variable is set: it sends so many mails for each line of its input, and
// then writes a line.
func TestMain(m *testing.M) {
	spec := os.Getenv(loadVar)
	if spec == "" {
		os.Exit(m.Run())
	}
	if err := loadWhenTold(spec); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func loadWhenTold(spec string) error {
	var addr, command string
	var octets, mails int
	if _, err := fmt.Sscan(spec, &addr, &command, &octets, &mails); err != nil {
		return err
	}
	const line = "A line of a message, as long as those of an attachment in base64 or longer, a\r\n"
	clients := make([]*load, sessions)
	for i := range clients {
		c, err := newLoad(addr, command, strings.Repeat(line, octets/len(line)))
		if err != nil {
			return err
		}
		clients[i] = c
	}
	for told := bufio.NewScanner(os.Stdin); told.Scan(); fmt.Println("sent") {
		errs := make([]error, sessions)
		var wg sync.WaitGroup
		for i, c := range clients {
			wg.Go(func() { errs[i] = c.send(mails / sessions) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkServers is explained in the package's doc.
func BenchmarkServers(b *testing.B) {
	for _, size := range []struct {
		name          string
		octets, mails int
	}{{"10KiB", 10 << 10, 2000}, {"1MiB", 1 << 20, 100}} {
		for _, command := range []string{"DATA", "BDAT"} {
			b.Run(size.name+"/"+command, func(b *testing.B) { compareServers(b, command, size.octets, size.mails) })
		}
	}
}

// compareServers has each server take mails, in turns.
func compareServers(b *testing.B, command string, octets, mails int) {
	turns := make([]func() (cpu, allocs float64), len(servers))
	for i, s := range servers {
		turns[i] = startTurns(b, s.serve, command, octets, mails)
		turns[i]() // what is done once doesn't count
	}
	cpus, allocs := make([][]float64, len(servers)), make([][]float64, len(servers))
	var ratios []float64
	for b.Loop() {
		for range rounds {
			for _, i := range rand.Perm(len(servers)) {
				cpu, n := turns[i]()
				cpus[i], allocs[i] = append(cpus[i], cpu), append(allocs[i], n)
			}
			last := len(cpus[0]) - 1
			ratios = append(ratios, cpus[1][last]/cpus[0][last])
		}
	}
	b.ReportMetric(0, "ns/op") // the time of all rounds means nothing
	for i, s := range servers {
		b.ReportMetric(median(cpus[i]), s.name+"-cpu-µs/mail")
		b.ReportMetric(median(allocs[i]), s.name+"-allocs/mail")
	}
	b.ReportMetric(median(ratios), "go-smtp/postrider")
}

// startTurns starts a server, and a client in a process of its own, so that the CPU time and the allocations of this
// process are those of the server. turn has the client send all mails once. It returns the figures for one mail.
func startTurns(b *testing.B, serve func(net.Listener, func(io.Reader) error) (stop func()), command string,
	octets, mails int) (turn func() (cpu, allocs float64)) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(serve(l, discard))
	client := exec.Command(os.Args[0])
	client.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d %d", loadVar, l.Addr(), command, octets, mails))
	tell, err := client.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	told, err := client.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := client.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		tell.Close()
		if err := client.Wait(); err != nil {
			b.Error(err)
		}
	})
	answers := bufio.NewReader(told)
	return func() (cpu, allocs float64) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		begin := cpuTime()
		fmt.Fprintln(tell)
		if line, err := answers.ReadString('\n'); line != "sent\n" {
			b.Fatalf("the client wrote %q: %v", line, err)
		}
		cpu = cpuTime() - begin
		runtime.ReadMemStats(&after)
		return cpu / float64(mails), float64(after.Mallocs-before.Mallocs) / float64(mails)
	}
}

// cpuTime returns the CPU time of this process in microseconds.
func cpuTime() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Sec+u.Stime.Sec)*1e6 + float64(u.Utime.Usec+u.Stime.Usec)
}
