package client

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// slowHost answers each RCPT after a time, and reads a message at a rate.
type slowHost struct {
	ehlo  string
	rcpt  time.Duration
	reply string // to each RCPT; if empty, 250
	rate  int    // octets a second; zero: at once
	chunk time.Duration

	rcpts, datas, taken int
}

func (h *slowHost) serve(nc *pipeConn) {
	in := bufio.NewReader(nc)
	say := func(s string) { io.WriteString(nc, s+"\r\n") }
	say("220 slow")
	for accepted := 0; ; {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		verb, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch verb {
		case "EHLO":
			say("250-slow\r\n250 " + h.ehlo)
		case "RCPT":
			h.rcpts++
			time.Sleep(h.rcpt)
			if h.reply != "" && h.rcpts%2 == 0 {
				say(h.reply)
				continue
			}
			accepted++
			say("250 ok")
		case "DATA":
			h.datas++
			say("354 go")
			for line != ".\r\n" {
				if line, err = in.ReadString('\n'); err != nil {
					return
				}
				if h.rate > 0 {
					time.Sleep(time.Duration(len(line)) * time.Second / time.Duration(h.rate))
				}
			}
			h.taken, accepted = h.taken+accepted, 0
			say("250 taken")
		case "BDAT":
			var n int
			fmt.Sscan(arg, &n)
			if _, err := io.CopyN(io.Discard, in, int64(n)); err != nil {
				return
			}
			time.Sleep(h.chunk)
			if strings.HasSuffix(arg, "LAST") {
				h.taken, accepted = h.taken+accepted, 0
			}
			say("250 ok")
		case "QUIT":
			say("221 bye")
			return
		default: // MAIL, RSET
			accepted = 0
			say("250 ok")
		}
	}
}

func (h *slowHost) transport(inet *internet, times Timeouts) *Transport {
	inet.serve("127.0.0.1:25", h.serve)
	return &Transport{Hostname: "client.test", DialContext: inet.DialContext, Timeouts: times,
		Router: &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost("127.0.0.1:25"))}}}
}

// TestEnvelopeTime: how long a host may take for all recipients together, and what becomes of them.
func TestEnvelopeTime(t *testing.T) {
	const rcpt = 290 * time.Second // each in time
	tests := []struct {
		name     string
		ehlo     string
		each     time.Duration
		reply    string // to every second RCPT
		rcpts    int
		times    Timeouts
		taken    int // recipients with the message
		rejected int
		datas    int
		most     time.Duration
	}{
		{"100 recipients", "HELP", rcpt, "", 100, Timeouts{}, 4, 0, 1, 24 * time.Minute},
		{"100 recipients by PIPELINING", "PIPELINING", rcpt, "", 100, Timeouts{}, 0, 0, 1, 24 * time.Minute},
		{"some refused", "HELP", rcpt, "550 5.1.1 who?", 100, Timeouts{}, 2, 2, 1, 24 * time.Minute},
		{"some refused, by PIPELINING", "PIPELINING", rcpt, "550 5.1.1 who?", 100, Timeouts{}, 0, 2, 1, 24 * time.Minute},
		{"one recipient", "HELP", rcpt, "", 1, Timeouts{}, 1, 0, 1, rcpt},
		{"3 recipients", "PIPELINING", rcpt, "", 3, Timeouts{}, 3, 0, 1, 3 * rcpt},
		{"1000 recipients, 2 s each", "PIPELINING", 2 * time.Second, "", 1000, Timeouts{}, 1000, 0, 1, 34 * time.Minute},
		{"1000 recipients, 2 s each, one by one", "HELP", 2 * time.Second, "", 1000, Timeouts{}, 1000, 0, 1, 34 * time.Minute},
		{"Envelope", "HELP", time.Minute, "", 10, Timeouts{Envelope: 150 * time.Second, Attempt: time.Hour}, 10, 0, 4, 11 * time.Minute},
		{"Envelope and Attempt", "HELP", time.Minute, "", 10, Timeouts{Envelope: 150 * time.Second, Attempt: 4 * time.Minute}, 6, 0, 2, 7 * time.Minute},
		{"Envelope of a nanosecond", "HELP", time.Second, "", 3, Timeouts{Envelope: 1}, 3, 0, 3, time.Minute},
		{"Envelope without end", "HELP", rcpt, "", 10, Timeouts{Envelope: math.MaxInt64, Rcpt: math.MaxInt64}, 10, 0, 1, 10 * rcpt},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &slowHost{ehlo: tt.ehlo, rcpt: tt.each, reply: tt.reply}
				inet := newInternet(t)
				tr := h.transport(inet, tt.times)
				env := smtp.NewEnvelope("ann@client.test")
				for i := range tt.rcpts {
					env.Recipients = append(env.Recipients, smtp.Recipient{Address: fmt.Sprintf("r%d@example.net", i)})
				}
				begun := time.Now()
				results, err := tr.Send(t.Context(), env, smtp.Text("Hello.\n"))
				took := time.Since(begun)
				tr.Close()
				inet.wg.Wait() // the host is done
				checkError(t, results, err)
				count := make(map[smtp.Outcome]int)
				for _, r := range results {
					count[r.Outcome]++
				}
				rest := tt.rcpts - tt.taken - tt.rejected
				if h.taken != tt.taken || count[smtp.Delivered] != tt.taken || count[smtp.Rejected] != tt.rejected || count[smtp.Deferred] != rest || h.datas != tt.datas {
					t.Errorf("got %d taken, %v, in %d transactions, want %d taken, %d rejected, %d deferred, in %d", h.taken, count, h.datas, tt.taken, tt.rejected, rest, tt.datas)
				}
				if took > tt.most {
					t.Errorf("took %v, want %v at most", took, tt.most)
				}
			})
		})
	}
}

// TestDataRate: how slowly a host may take a message. Nothing is committed if it was too slow.
func TestDataRate(t *testing.T) {
	tests := []struct {
		name  string
		size  int
		rate  int
		chunk time.Duration // by BDAT
		times Timeouts
		want  string
		most  time.Duration
	}{
		{"as fast as it has to be", 1 << 20, 1100, 0, Timeouts{}, "delivered final", 17 * time.Minute},
		{"slower", 1 << 20, 700, 0, Timeouts{}, "deferred body", 12 * time.Minute},
		{"a trickle", 10 << 20, 400, 0, Timeouts{}, "deferred body", 7 * time.Minute},
		{"a small message", 16 << 10, 100, 0, Timeouts{}, "delivered final", 4 * time.Minute},
		{"slower than MinDataRate", 1 << 20, 1100, 0, Timeouts{MinDataRate: 4096}, "deferred body", 7 * time.Minute},
		{"MinDataRate negative", 1 << 20, 400, 0, Timeouts{MinDataRate: -1}, "delivered final", time.Hour},
		{"MinDataRate without end", 1 << 20, 1100, 0, Timeouts{MinDataRate: math.MaxInt64}, "deferred body", 4 * time.Minute},
		{"DataBlock without end", 1 << 20, 100, 0, Timeouts{DataBlock: math.MaxInt64}, "delivered final", 4 * time.Hour},
		{"chunks", 640 << 10, 0, time.Minute, Timeouts{}, "delivered final", 11 * time.Minute},
		{"slow chunks", 10 << 20, 0, 5 * time.Minute, Timeouts{}, "deferred body", 15 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &slowHost{ehlo: "PIPELINING", rate: tt.rate, chunk: tt.chunk}
				if tt.chunk > 0 {
					h.ehlo = "CHUNKING"
				}
				inet := newInternet(t)
				tr := h.transport(inet, tt.times)
				tr.ChunkSize = 64 << 10
				begun := time.Now()
				results, err := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), lines(tt.size))
				took := time.Since(begun)
				tr.Close()
				inet.wg.Wait() // the host is done
				checkError(t, results, err)
				if got := fmt.Sprint(results[0].Outcome, " ", results[0].Stage); got != tt.want || h.taken != map[bool]int{true: 1}[tt.want == "delivered final"] {
					t.Errorf("got %s and %d messages, want %s", got, h.taken, tt.want)
				}
				if took > tt.most {
					t.Errorf("took %v, want %v at most", took, tt.most)
				}
			})
		})
	}
}

// slowContent takes a time for each read after the first one, which is that of the check.
type slowContent struct {
	smtp.Content
	took  time.Duration
	reads int
}

func (s *slowContent) ReadAt(p []byte, off int64) (int, error) {
	if s.reads++; s.reads > 1 {
		time.Sleep(s.took)
	}
	return s.Content.ReadAt(p, off)
}

// TestSlowContent: a host isn't blamed for the time in which the content is read, and nothing is remembered of it.
func TestSlowContent(t *testing.T) {
	for _, ehlo := range []string{"PIPELINING", "CHUNKING"} {
		t.Run(ehlo, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &slowHost{ehlo: ehlo}
				tr := h.transport(newInternet(t), Timeouts{})
				tr.ChunkSize = 8 << 10
				content := &slowContent{Content: lines(16 << 10), took: 4 * time.Minute}
				results, err := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), content)
				checkError(t, results, err)
				if err != nil || h.taken != 1 {
					t.Errorf("got %s and %d messages, want it delivered", show(results), h.taken)
				}
				if len(tr.memory.hosts) > 0 {
					t.Errorf("got %+v remembered, want nothing", tr.memory.hosts)
				}
				tr.Close()
			})
		})
	}
}
