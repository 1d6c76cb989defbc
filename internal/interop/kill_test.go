package interop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	netmail "net/mail"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// ledger is a next host that counts what arrives, by the id and the checksum in each header.
type ledger struct {
	busy atomic.Bool // it takes nothing for now

	mu      sync.Mutex
	arrived map[string]int
	broken  []string
}

// startLedger starts one, until the test ends.
func startLedger(t *testing.T, listen string) (next *ledger, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	next = &ledger{arrived: make(map[string]int)}
	srv := &server.Server{Hostname: "next.test", Handler: next, MaxConnsPerIP: 1000}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(t.Context(), l) }()
	t.Cleanup(func() {
		srv.Close()
		<-served
	})
	return next, l.Addr().String()
}

// ledgerMail is a mail of about that many octets, as a ledger wants it.
func ledgerMail(id string, size int) []byte {
	body := bytes.Repeat([]byte(id+" 0123456789\r\n"), size/(len(id)+13)+1)
	return fmt.Appendf(nil, "X-Id: %s\r\nX-Sum: %x\r\n\r\n%s", id, sha256.Sum256(body), body)
}

func (l *ledger) CheckRcpt(context.Context, *server.Peer, *smtp.Envelope, smtp.Recipient) error {
	if l.busy.Load() {
		return smtp.NewReply(450, "4.3.2", "not now")
	}
	return nil
}

func (l *ledger) Handle(_ context.Context, _ *server.Peer, _ *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	m, err := netmail.ReadMessage(body)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(m.Body)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	id := m.Header.Get("X-Id")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrived[id]++
	if hex.EncodeToString(sum[:]) != m.Header.Get("X-Sum") {
		l.broken = append(l.broken, id)
	}
	return nil, nil
}

func (l *ledger) has(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.arrived[id] > 0
}

// count says how many of the messages have arrived.
func (l *ledger) count(ids []string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if l.arrived[id] > 0 {
			n++
		}
	}
	return n
}

// TestKill kills the relay at random moments under load from 20 sessions. Every message that got its
// 250 must arrive, whole. The processes' writes outlive them, so a copy too many can only be of a
// message that was under way when the relay was killed: at most as many as it delivers at once.
func TestKill(t *testing.T) {
	const sessions, perDestination = 20, 20
	rounds := 10
	if n, err := strconv.Atoi(os.Getenv("POSTRIDER_KILLS")); err == nil {
		rounds = n
	}
	next, addr := startLedger(t, "127.0.0.1:0")
	var mu sync.Mutex
	var acked []string
	spool := t.TempDir()
	start := func() *relay { return startRelay(t, spool, "-smarthost", addr, "-retry", "100ms") }
	for round := range rounds {
		r := start()
		var stop atomic.Bool
		var wg sync.WaitGroup
		var took atomic.Int64
		for session := range sessions {
			wg.Go(func() {
				for i := 0; !stop.Load(); i++ {
					prefix := fmt.Sprintf("%d-%d-%d", round, session, i)
					offer(r.addr, prefix, &stop, func(id string) {
						mu.Lock()
						acked = append(acked, id)
						mu.Unlock()
						took.Add(1)
					})
				}
			})
		}
		// After a first message, so that each round has some; then whenever it happens.
		eventually(t, "a first 250", func() bool { return took.Load() > 0 })
		time.Sleep(rand.N(300 * time.Millisecond))
		r.kill()
		stop.Store(true)
		wg.Wait()
	}

	r := start()
	if n := grows(len(acked), func() int { return next.count(acked) }); n < len(acked) {
		t.Fatalf("of %d messages that got 250, %d have arrived", len(acked), n)
	}
	r.stop(t)
	next.mu.Lock()
	defer next.mu.Unlock()
	copies := 0
	for _, n := range next.arrived {
		copies += n - 1
	}
	if len(next.broken) > 0 {
		t.Errorf("got %d broken messages, want none: %q", len(next.broken), next.broken)
	}
	if limit := rounds * perDestination; copies > limit {
		t.Errorf("got %d copies too many, want at most %d", copies, limit)
	}
	t.Logf("%d kills, %d messages got 250, %d arrived, %d copies too many", rounds, len(acked), len(next.arrived), copies)
}

// offer sends messages over one session until it breaks or stop is set, and tells the ids that got 250.
func offer(addr, prefix string, stop *atomic.Bool, acked func(id string)) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		time.Sleep(5 * time.Millisecond) // it is dead; the round ends soon
		return
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	expect := func(code string) bool {
		for {
			line, err := r.ReadString('\n')
			if err != nil || !strings.HasPrefix(line, code) {
				return false
			}
			if line[3] == ' ' {
				return true
			}
		}
	}
	if !expect("220") {
		return
	}
	fmt.Fprint(conn, "EHLO source.test\r\n")
	if !expect("250") {
		return
	}
	for i := 0; !stop.Load(); i++ {
		id := fmt.Sprintf("%s-%d", prefix, i)
		size := 100 + rand.IntN(20_000)
		if rand.IntN(20) == 0 {
			size += 300_000 // such a body has a file of its own
		}
		fmt.Fprintf(conn, "MAIL FROM:<a@source.test>\r\nRCPT TO:<b@next.test>\r\nDATA\r\n")
		for _, code := range []string{"250", "250", "354"} {
			if !expect(code) {
				return
			}
		}
		fmt.Fprintf(conn, "%s.\r\n", ledgerMail(id, size))
		if !expect("250") {
			return
		}
		acked(id)
	}
}
