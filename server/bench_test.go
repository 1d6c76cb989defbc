//go:build unix

package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/postrider/postrider/smtp"
)

// discard is a Handler that reads and discards each message.
type discard struct{}

func (discard) Handle(ctx context.Context, p *Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	_, err := io.Copy(io.Discard, body)
	return nil, err
}

const loadVar = "SERVER_TEST_LOAD" // "address sessions mails"

// BenchmarkServer receives messages of 10 KiB over loopback. The clients run in a second process, so cpu-µs/mail is the
// cost of the server, system calls included.
func BenchmarkServer(b *testing.B) {
	for _, sessions := range []int{1, 20} {
		b.Run(fmt.Sprintf("sessions=%d", sessions), func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			srv := &Server{Hostname: "mx.test", Handler: discard{}}
			stopped := make(chan error, 1)
			go func() { stopped <- srv.Serve(context.Background(), l) }()
			defer func() {
				srv.Close()
				<-stopped
			}()

			load := exec.Command(os.Args[0])
			load.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d", loadVar, l.Addr(), sessions, b.N))
			b.ReportAllocs()
			before := cpu()
			b.ResetTimer()
			if out, err := load.CombinedOutput(); err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
			b.StopTimer()
			b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-µs/mail")
		})
	}
}

// cpu returns the CPU time of this process in microseconds.
func cpu() int64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Sec*1e6 + int64(u.Utime.Usec) + u.Stime.Sec*1e6 + int64(u.Stime.Usec)
}

// TestMain runs the clients of BenchmarkServer or BenchmarkIdle if their variable is set, and the tests otherwise.
func TestMain(m *testing.M) {
	run, spec := loadAll, os.Getenv(loadVar)
	if idle := os.Getenv(idleVar); idle != "" {
		run, spec = idleAll, idle
	}
	if spec == "" {
		os.Exit(m.Run())
	}
	if err := run(spec); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func loadAll(spec string) error {
	var address string
	var sessions, mails int
	if _, err := fmt.Sscan(spec, &address, &sessions, &mails); err != nil {
		return err
	}
	errs := make([]error, sessions)
	var wg sync.WaitGroup
	for i := range sessions {
		wg.Go(func() {
			share := mails / sessions
			if i < mails%sessions {
				share++
			}
			errs[i] = load(address, share)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// load sends messages in one session, with pipelined envelopes.
func load(address string, mails int) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	r := bufio.NewReader(c)
	expect := func(code string) error {
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return err
			}
			if !strings.HasPrefix(line, code) {
				return fmt.Errorf("got %q, want %s", line, code)
			}
			if line[3] == ' ' {
				return nil
			}
		}
	}
	content := []byte(strings.Repeat(strings.Repeat("x", 78)+"\r\n", 128) + ".\r\n")
	envelope := []byte(mail + rcpt + data)
	io.WriteString(c, ehlo)
	for _, code := range []string{"220", "250"} {
		if err := expect(code); err != nil {
			return err
		}
	}
	for range mails {
		c.Write(envelope)
		for _, code := range []string{"250", "250", "354"} {
			if err := expect(code); err != nil {
				return err
			}
		}
		c.Write(content)
		if err := expect("250"); err != nil {
			return err
		}
	}
	return nil
}
