package pgqueue

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/postrider/postrider/examples/pgqueue/pgtest"
)

// theServer returns the server that the tests share. Without PostgreSQL, the test is skipped.
func theServer(t testing.TB) *pgtest.Server {
	t.Helper()
	s, err := shared()
	pgtest.Need(t, err)
	return s
}

var (
	started bool
	shared  = sync.OnceValues(func() (*pgtest.Server, error) {
		started = true
		return pgtest.Start()
	})
)

func TestMain(m *testing.M) {
	if dsn := os.Getenv(inNode); dsn != "" {
		if err := node(dsn, os.Getenv(inNode+"_SCHEMA")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if direction := os.Getenv(inDrain); direction != "" {
		if err := drainAll(direction); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if addr := os.Getenv(inSender); addr != "" {
		if err := sendingNode(addr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if started {
		if s, err := shared(); err == nil {
			s.Remove()
		}
	}
	os.Exit(code)
}
