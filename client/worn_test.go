package client

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// boundedHost takes a number of messages in a session, and refuses further ones. Without a bound it refuses all
// messages at a stage.
type boundedHost struct {
	bound      int // messages of a session; negative: none
	at         smtp.Stage
	refusal    string
	pipelining bool
	lmtp       bool
	took       time.Duration // to take a message

	mu       sync.Mutex
	sessions int
	refused  int // sessions that were refused something
	taken    map[string]int
}

func (h *boundedHost) serve(nc *pipeConn) {
	h.mu.Lock()
	h.sessions++
	h.mu.Unlock()
	in := bufio.NewReader(nc)
	say := func(s string) { io.WriteString(nc, s+"\r\n") }
	say("220 bounded")
	var rcpts []string
	messages, open, counted := 0, false, false
	full := func(stage smtp.Stage) bool {
		if stage != h.at || h.bound >= 0 && messages < h.bound {
			return false
		}
		if !counted {
			counted = true
			h.mu.Lock()
			h.refused++
			h.mu.Unlock()
		}
		say(h.refusal)
		if strings.HasPrefix(h.refusal, "421") {
			nc.Close()
		}
		return true
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		verb, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch verb {
		case "EHLO", "LHLO":
			say("250-bounded")
			if h.pipelining {
				say("250-PIPELINING")
			}
			say("250 ENHANCEDSTATUSCODES")
		case "MAIL":
			if open, rcpts = false, nil; !full(smtp.StageMail) {
				open = true
				say("250 ok")
			}
		case "RCPT":
			switch {
			case !open:
				say("503 5.5.1 no MAIL")
			case strings.HasPrefix(arg, "TO:<nobody"):
				say("550 5.1.1 no such user")
			case !full(smtp.StageRcpt):
				rcpts = append(rcpts, arg)
				say("250 ok")
			}
		case "DATA":
			if len(rcpts) == 0 {
				say("503 5.5.1 no RCPT")
				continue
			}
			if full(smtp.StageData) {
				continue
			}
			say("354 go")
			for line != ".\r\n" {
				if line, err = in.ReadString('\n'); err != nil {
					return
				}
			}
			time.Sleep(h.took)
			if full(smtp.StageFinal) {
				continue
			}
			h.mu.Lock()
			for _, rcpt := range rcpts {
				h.taken[rcpt]++
			}
			h.mu.Unlock()
			messages++
			for i := range rcpts {
				if h.lmtp || i == 0 {
					say("250 2.0.0 taken")
				}
			}
			open, rcpts = false, nil
		case "QUIT":
			say("221 bye")
			return
		default: // RSET
			open, rcpts = false, nil
			say("250 ok")
		}
	}
}

// transport has a route to the host. It notes each Try in tries.
func (h *boundedHost) transport(inet *internet, tries *[]string) *Transport {
	h.taken = make(map[string]int)
	inet.serve("127.0.0.1:25", h.serve)
	route := mustRoute(mx.Smarthost("127.0.0.1:25"))
	route.LMTP = h.lmtp
	return &Transport{Hostname: "client.test", DialContext: inet.DialContext,
		Router: &mx.Router{Routes: map[string]mx.Route{"*": route}},
		Tried: func(_ context.Context, try Try) {
			s := fmt.Sprintf("#%d reused=%t", try.Session.ID, try.Reused)
			for _, r := range try.Results {
				s += fmt.Sprintf(" %s %s", r.Outcome, r.Stage)
			}
			*tries = append(*tries, s)
		}}
}

// TestSessionRefused: a message that a host refuses in a kept session, in a way that may be about the session, goes to
// it in a new one, at every stage before the body and with every code.
func TestSessionRefused(t *testing.T) {
	type kind struct {
		stage smtp.Stage
		reply string
	}
	var kinds []kind
	for _, reply := range []string{
		"452 4.5.3 Too many messages sent", "450 too many messages", "451 4.3.2 try another session", "450 4.3.0 enough",
		"451 enough", "452 enough", "550 5.5.0 too many transactions", "550 too many messages in this session",
		"554 5.3.2 session limit reached", "421 4.3.2 enough", "421 4.7.0 Error: too many errors",
	} {
		for _, stage := range []smtp.Stage{smtp.StageMail, smtp.StageRcpt, smtp.StageData} {
			kinds = append(kinds, kind{stage, reply})
		}
	}
	for _, reply := range []string{ // about a recipient, at RCPT
		"550 5.0.0 no", "550 no", "503 5.5.1 bad sequence", "500 what?", "451 4.4.5 congestion", "550 5.1.8 bad sender",
		"530 5.5.0 no", "521 no more", "498 4.9.9 no", "599 no",
	} {
		kinds = append(kinds, kind{smtp.StageMail, reply}, kind{smtp.StageData, reply})
	}
	for _, k := range kinds {
		for _, how := range []string{"", "pipelining", "lmtp"} {
			t.Run(fmt.Sprintf("%v/%s/%s", k.stage, k.reply, how), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := &boundedHost{bound: 2, at: k.stage, refusal: k.reply, pipelining: how == "pipelining", lmtp: how == "lmtp"}
					var tries []string
					tr := h.transport(newInternet(t), &tries)
					tr.RememberFor = -1
					const mails = 7
					for i := range mails {
						env := smtp.NewEnvelope("ann@client.test", fmt.Sprintf("bob%d@example.net", i), fmt.Sprintf("eve%d@example.net", i))
						results, err := tr.Send(t.Context(), env, smtp.Text("Hello.\n"))
						checkError(t, results, err)
						if err != nil {
							t.Errorf("message %d: got %s", i, show(results))
						}
					}
					tr.Close()
					for rcpt, n := range h.taken {
						if n != 1 {
							t.Errorf("%s: taken %d times, want once", rcpt, n)
						}
					}
					if len(h.taken) != 2*mails || h.sessions != 4 || h.refused != 3 {
						t.Errorf("got %d recipients, %d sessions, %d of them refused, want %d, 4, 3", len(h.taken), h.sessions, h.refused, 2*mails)
					}
					if len(tries) != mails+3 || !strings.HasPrefix(tries[2], "#1 reused=true ") || tries[3] != "#2 reused=false delivered final delivered final" {
						t.Errorf("got the tries %q, want one more for each of the 3 sessions", tries)
					}
				})
			})
		}
	}
}

// TestRefusedOnce: what isn't about the session is refused once, and a new session that refuses too has the last word.
func TestRefusedOnce(t *testing.T) {
	tests := []struct {
		name     string
		stage    smtp.Stage
		refusal  string
		always   bool // not in old sessions only
		sessions int  // in all
		want     string
	}{
		{"policy at MAIL", smtp.StageMail, "550 5.7.1 no", false, 1, "rejected mail"},
		{"policy for now at MAIL", smtp.StageMail, "450 4.7.1 slow down", false, 1, "deferred mail"},
		{"policy at DATA", smtp.StageData, "554 5.7.1 no", false, 1, "rejected data"},
		{"policy in a code behind words", smtp.StageMail, "553 filtered (#5.7.1)", false, 1, "rejected mail"},
		{"a policy about the sender", smtp.StageMail, "550 SPF check failed", false, 1, "rejected mail"},
		{"a policy that ends the session", smtp.StageMail, "421 4.7.28 unusual amount of mail", false, 1, "deferred mail"},
		{"a policy that ends it at RCPT", smtp.StageRcpt, "421 4.7.0 try later", false, 1, "deferred rcpt"},
		{"a rate", smtp.StageMail, "550 too many messages this hour", false, 1, "rejected mail"},
		{"a rate for now", smtp.StageMail, "451 Rate limited", false, 1, "deferred mail"},
		{"a rate at DATA", smtp.StageData, "452 4.3.1 you send too fast", false, 1, "deferred data"},
		{"no such user at DATA", smtp.StageData, "550 5.1.1 who?", false, 1, "rejected data"},
		{"no such mailbox by 5.5.0", smtp.StageRcpt, "550 5.5.0 mailbox unavailable", false, 1, "rejected rcpt"},
		{"policy in words", smtp.StageMail, "550 refused by policy", false, 1, "rejected mail"},
		{"spam in words", smtp.StageData, "554 this is SPAM", false, 1, "rejected data"},
		{"greylisting at RCPT", smtp.StageRcpt, "450 4.2.0 greylisted", false, 1, "deferred rcpt"},
		{"greylisting in words at DATA", smtp.StageData, "451 Greylisted, come back later", false, 1, "deferred data"},
		{"no such user", smtp.StageRcpt, "550 5.1.1 who?", false, 1, "rejected rcpt"},
		{"no such user in words", smtp.StageRcpt, "550 no such user", false, 1, "rejected rcpt"},
		{"a plain 550 at RCPT", smtp.StageRcpt, "550 who?", false, 1, "rejected rcpt"},
		{"a full mailbox", smtp.StageRcpt, "452 4.2.2 full", false, 1, "deferred rcpt"},
		{"a full mailbox in words", smtp.StageRcpt, "452 mailbox full", false, 1, "deferred rcpt"},
		{"one that names the recipient", smtp.StageRcpt, "451 4.3.0 <Bob@example.net>: temporary lookup failure", false, 1, "deferred rcpt"},
		{"too big at MAIL", smtp.StageMail, "552 5.3.4 too big from you", false, 1, "rejected mail"},
		{"too big at MAIL, without a code", smtp.StageMail, "552 message size exceeds fixed limit", false, 1, "rejected mail"},
		{"too big at DATA, for now", smtp.StageData, "452 4.3.4 too big", false, 1, "deferred data"},
		{"a parameter at RCPT", smtp.StageRcpt, "501 5.5.4 what?", false, 1, "rejected rcpt"},
		{"the final dot", smtp.StageFinal, "451 4.5.3 too many messages", false, 1, "deferred final"},
		{"the final dot, for good", smtp.StageFinal, "554 too many messages", false, 1, "rejected final"},
		{"new sessions too, at MAIL", smtp.StageMail, "451 4.5.3 too many messages", true, 2, "deferred mail"},
		{"new sessions too, at RCPT", smtp.StageRcpt, "452 4.5.3 too many messages", true, 2, "deferred rcpt"},
		{"new sessions too, at DATA", smtp.StageData, "550 no", true, 2, "rejected data"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &boundedHost{bound: 1, at: tt.stage, refusal: tt.refusal, pipelining: true}
				var tries []string
				tr := h.transport(newInternet(t), &tries)
				defer tr.Close()
				sendBob(t, tr)
				if tt.always {
					h.mu.Lock()
					h.bound = -1
					h.mu.Unlock()
				}
				if got := sendBob(t, tr); got != tt.want || h.sessions != tt.sessions {
					t.Errorf("got %s in %d sessions, want %s in %d; %q", got, h.sessions, tt.want, tt.sessions, tries)
				}
				if n := tr.memory.of(mx.Host{Name: "127.0.0.1", Port: 25}).mails; n != 0 {
					t.Errorf("got a bound of %d messages, which no host has shown", n)
				}
			})
		})
	}
}

// TestRateRefused: a message that a host refuses for its rate isn't sent again at once, but the next one goes in a new
// session, because the rate may be that of the session.
func TestRateRefused(t *testing.T) {
	for _, at := range []smtp.Stage{smtp.StageMail, smtp.StageRcpt, smtp.StageData} {
		for _, refusal := range []string{"450 4.7.1 Error: too much mail, rate limited", "452 4.3.1 you send too fast"} {
			synctest.Test(t, func(t *testing.T) {
				h := &boundedHost{bound: 3, at: at, refusal: refusal, pipelining: true}
				var tries []string
				tr := h.transport(newInternet(t), &tries)
				defer tr.Close()
				var refused []int
				for i := range 12 {
					if sendBob(t, tr) != "delivered final" {
						refused = append(refused, i)
					}
				}
				if !slices.Equal(refused, []int{3, 7, 11}) || h.sessions != 3 {
					t.Errorf("%v, %s: got the messages %d refused in %d sessions, want 3, 7 and 11 in 3", at, refusal, refused, h.sessions)
				}
			})
		}
	}
}

// TestOthersRefused: only those recipients go to a new session whose refusal may be about the old one.
func TestOthersRefused(t *testing.T) {
	for _, at := range []smtp.Stage{smtp.StageMail, smtp.StageRcpt, smtp.StageData} {
		synctest.Test(t, func(t *testing.T) {
			h := &boundedHost{bound: 1, at: at, refusal: "452 4.5.3 too many messages", pipelining: true}
			var tries []string
			tr := h.transport(newInternet(t), &tries)
			sendBob(t, tr)
			env := smtp.NewEnvelope("ann@client.test", "nobody@example.net", "eve@example.net")
			results, err := tr.Send(t.Context(), env, smtp.Text("Hello.\n"))
			tr.Close()
			checkError(t, results, err)
			got := fmt.Sprint(results[0].Outcome, results[0].Reason, results[1].Outcome, h.sessions)
			// At RCPT, the refusal of one of two recipients is about that one; the other one's is its own.
			want := map[bool]string{false: "rejected user-unknown delivered 2", true: "rejected user-unknown deferred 1"}[at == smtp.StageRcpt]
			if got != want {
				t.Errorf("%v: got %s, want %s; %s", at, got, want, show(results))
			}
		})
	}
}

// TestBoundRemembered: a host that says how many messages it takes in a session is asked for one more only once. One
// that doesn't say so has to do it often.
func TestBoundRemembered(t *testing.T) {
	tests := []struct {
		name     string
		refusal  string
		remember time.Duration
		wait     time.Duration // between two messages, the 30th and 31st
		mails    int
		refused  int
	}{
		{"said by code", "452 4.5.3 enough", 0, 0, 60, 1},
		{"said in words", "550 5.0.0 too many messages", 0, 0, 60, 1},
		{"not said", "450 4.3.0 enough", 0, 0, 60, coincidences},
		{"for an hour", "452 4.5.3 too many messages", time.Hour, time.Hour, 60, 2},
		{"for less than an hour", "452 4.5.3 too many messages", time.Hour, time.Hour - time.Minute, 60, 1},
		{"for a day", "452 4.5.3 too many messages", 0, 24 * time.Hour, 60, 2},
		{"not at all", "452 4.5.3 too many messages", -1, 0, 60, 19},
		{"a restart", "421 4.3.2 going down", 0, 0, 60, 19},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &boundedHost{bound: 3, at: smtp.StageMail, refusal: tt.refusal, pipelining: true}
				var tries []string
				tr := h.transport(newInternet(t), &tries)
				tr.RememberFor = tt.remember
				for i := range tt.mails {
					if i == tt.mails/2 {
						time.Sleep(tt.wait)
					}
					if got := sendBob(t, tr); got != "delivered final" {
						t.Errorf("message %d: got %s, want delivered final", i, got)
					}
				}
				tr.Close()
				if h.refused != tt.refused || h.sessions != tt.mails/3 {
					t.Errorf("got %d of %d sessions refused, want %d of %d", h.refused, h.sessions, tt.refused, tt.mails/3)
				}
			})
		})
	}
}

// TestBoundedSubmission: 300 messages of one Submission, from 10 goroutines, at a host with the defaults of OpenSMTPD.
func TestBoundedSubmission(t *testing.T) {
	for _, sessions := range []int{1, 0, -1} {
		synctest.Test(t, func(t *testing.T) {
			h := &boundedHost{bound: 100, at: smtp.StageMail, refusal: "452 4.5.3 localhost Too many messages sent", took: time.Second, taken: make(map[string]int)}
			inet := newInternet(t)
			inet.serve("127.0.0.1:25", h.serve)
			sub := &Submission{LeaveIncomplete: true, Addr: "127.0.0.1:25", TLS: mx.TLSNone, Hostname: "client.test", DialContext: inet.DialContext, MaxSessions: sessions}
			var wg sync.WaitGroup
			for i := range 10 {
				wg.Go(func() {
					for k := range 30 {
						env := smtp.NewEnvelope("ann@client.test", fmt.Sprintf("bob%d.%d@example.net", i, k))
						if results, err := sub.Send(t.Context(), env, smtp.Text("Hello.\n")); err != nil {
							t.Errorf("got %s", show(results))
						}
					}
				})
			}
			wg.Wait()
			sub.Close()
			if len(h.taken) != 300 {
				t.Errorf("MaxSessions %d: got %d of 300 messages", sessions, len(h.taken))
			}
			for rcpt, n := range h.taken {
				if n != 1 {
					t.Errorf("%s: taken %d times", rcpt, n)
				}
			}
		})
	}
}

// TestBoundWithinSend: a message for many recipients, in transactions of one recipient each, of which a session takes
// three.
func TestBoundWithinSend(t *testing.T) {
	for _, refusal := range []string{"452 4.5.3 too many messages", "550 5.5.0 too many messages"} {
		synctest.Test(t, func(t *testing.T) {
			inet := newInternet(t)
			const ehlo = "S: 220 hi\nC: EHLO client.test\nS: 250-host\nS: 250 LIMITS RCPTMAX=1\n"
			one := func(i int) string {
				return fmt.Sprintf("C: MAIL FROM:<ann@client.test>\nS: 250 ok\nC: RCPT TO:<r%d@example.net>\nS: 250 ok\nC: DATA\nS: 354 go\nC: Hello.\nC: .\nS: 250 ok\n", i)
			}
			full := "C: MAIL FROM:<ann@client.test>\nS: " + refusal + "\n" + quit
			inet.scripts("127.0.0.1:25", ehlo+one(0)+one(1)+one(2)+full, ehlo+one(3)+one(4)+one(5)+quit, ehlo+one(6)+quit)
			tr := &Transport{Hostname: "client.test", DialContext: inet.DialContext,
				Router: &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost("127.0.0.1:25"))}}}
			env := smtp.NewEnvelope("ann@client.test")
			for i := range 7 {
				env.Recipients = append(env.Recipients, smtp.Recipient{Address: fmt.Sprintf("r%d@example.net", i)})
			}
			results, err := tr.Send(t.Context(), env, smtp.Text("Hello.\n"))
			tr.Close()
			checkError(t, results, err)
			if err != nil {
				t.Errorf("got\n%s", show(results))
			}
		})
	}
}

// TestMemoryEnds: a bound that is seen again doesn't make an extension that failed once unused for ever.
func TestMemoryEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m memory
		h := mx.Host{Name: "mx.example.net", Port: 25}
		m.add(h, habits{broken: kwDSN}, 2*time.Hour, 10)
		for _, want := range []habits{
			{broken: kwDSN, mails: 5, said: true}, {mails: 5, said: true}, {broken: kwPipelining, mails: 5, said: true},
		} {
			time.Sleep(time.Hour)
			n := habits{mails: 5, said: true}
			n.broken = want.broken &^ kwDSN
			m.add(h, n, 2*time.Hour, 10)
			if got := m.of(h); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		}
		time.Sleep(2 * time.Hour)
		if got := m.of(h); got != (habits{}) {
			t.Errorf("got %+v, want nothing", got)
		}
	})
}
