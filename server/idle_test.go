//go:build unix

package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"
)

// BenchmarkIdle prints the memory of a connection that waits for a command after EHLO. The clients are in a second
// process. IDLE_CONNS is their number, 1000 without it; 10,000 need 20,000 file descriptors.
func BenchmarkIdle(b *testing.B) {
	conns := 1000
	fmt.Sscan(os.Getenv("IDLE_CONNS"), &conns)
	for _, secure := range []bool{false, true} {
		b.Run(fmt.Sprintf("tls=%t", secure), func(b *testing.B) {
			for b.Loop() {
				b.ReportMetric(idleMemory(b, conns, secure)/1024, "KiB/conn")
			}
		})
	}
}

// idleMemory returns the octets of heap and stacks for each of n connections.
func idleMemory(t testing.TB, n int, secure bool) float64 {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &Server{Hostname: "mx.test", Handler: discard{}, TLSConfig: testTLS(t), MaxConns: n + 1, MaxConnsPerIP: n + 1}
	srv.CommandTimeout = time.Hour
	stopped := make(chan error, 1)
	go func() { stopped <- srv.Serve(context.Background(), l) }()
	defer func() {
		srv.Close()
		<-stopped
	}()
	before := memoryInUse()
	idlers := exec.Command(os.Args[0])
	idlers.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %t", idleVar, l.Addr(), n, secure))
	idlers.Stderr = os.Stderr
	end, err := idlers.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	ready, err := idlers.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := idlers.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		end.Close()
		idlers.Wait()
	}()
	if _, err := io.ReadFull(ready, make([]byte, 1)); err != nil {
		t.Fatalf("the clients: %v", err)
	}
	time.Sleep(keepBuffers + keepBuffers/2)
	return float64(memoryInUse()-before) / float64(n)
}

const idleVar = "SERVER_TEST_IDLE" // "address connections tls"

// idleAll opens connections, says that they are ready, and keeps them until its input ends.
func idleAll(spec string) error {
	var address string
	var n int
	var secure bool
	if _, err := fmt.Sscan(spec, &address, &n, &secure); err != nil {
		return err
	}
	for range n {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := talk(c, "", "220 "); err != nil {
			return err
		}
		if secure {
			if err := talk(c, ehlo, "SMTPUTF8\r\n"); err != nil {
				return err
			}
			if err := talk(c, "STARTTLS\r\n", "220 "); err != nil {
				return err
			}
			t := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
			if err := t.Handshake(); err != nil {
				return err
			}
			c = t
		}
		if err := talk(c, ehlo, "SMTPUTF8\r\n"); err != nil {
			return err
		}
	}
	fmt.Print("x")
	io.Copy(io.Discard, os.Stdin)
	return nil
}
