package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// desk is an operator of a running relay, in an internet where next.test and other.test have a host each, and the host
// of source.test takes the reports.
type desk struct {
	*operator
	t                     *testing.T
	inet                  *smtptest.Network
	next, other, reported *smtptest.Host
}

// eachDesk runs a test in virtual time, with each of the queues.
func eachDesk(t *testing.T, test func(d *desk)) {
	for name, open := range map[string]func(t *testing.T) queue.Queue{
		"Mem": func(*testing.T) queue.Queue { return mem.New() },
		"Spool": func(t *testing.T) queue.Queue {
			q, err := spool.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { q.Close() })
			return q
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := open(t) // its Cleanup comes after that of the network
				inet := smtptest.NewNetwork(t)
				relay := &postrider.Relay{
					Hostname:    "relay.test",
					Queue:       q,
					Resolver:    inet,
					DialContext: inet.DialContext,
					Runner:      new(delivery.Runner),
					Logger:      slog.New(slog.NewTextHandler(t.Output(), nil)),
				}
				inet.Go(relay.Run)
				o := &operator{relay: relay, runner: relay.Runner, authorise: bearer("secret"), queue: q.(interface {
					queue.Lister
					queue.Stater
				})}
				test(&desk{
					operator: o,
					t:        t,
					inet:     inet,
					next:     inet.MX("next.test", "mx.next.test"),
					other:    inet.MX("other.test", "mx.other.test"),
					reported: inet.MX("source.test", "mx.source.test"),
				})
			})
		})
	}
}

func (d *desk) send(from string, to ...string) queue.ID {
	d.t.Helper()
	message := strings.NewReader("Subject: hello\n\nHello.\n")
	id, err := d.relay.Send(d.t.Context(), smtp.NewEnvelope(from, to...), message)
	if err != nil {
		d.t.Fatal(err)
	}
	synctest.Wait() // until it is delivered, or deferred
	return id
}

// defers sends a message to each host, which both hosts defer for 10 minutes.
func (d *desk) defers() (next, other queue.ID) {
	reply := smtp.NewReply(451, "4.2.0", "later")
	d.next.Defer(10*time.Minute, reply)
	d.other.Defer(10*time.Minute, reply)
	return d.send("ann@source.test", "bob@next.test"), d.send("eve@source.test", "bob@other.test")
}

// answered has the fields of all answers that the tests look at.
type answered struct {
	Tasks []struct {
		taskView
		Why   string
		Until time.Time
		Site  *siteView
	}
	After     queue.ID
	Messages  int
	Flushed   int // tasks
	Error     string
	Suspended map[string]time.Time
	Queue     struct{ Messages, Held int }
	Sites     []siteView
}

// call makes a request as an operator does, and fails the test unless the answer has the status.
func (d *desk) call(request string, status int) (body answered) {
	d.t.Helper()
	method, target, _ := strings.Cut(request, " ")
	r := httptest.NewRequest(method, target, nil).WithContext(d.t.Context())
	r.Header.Set("Authorization", "Bearer secret")
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	if w.Code != status {
		d.t.Fatalf("%s: got status %d, want %d:\n%s", request, w.Code, status, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		d.t.Fatalf("%s: %v in\n%s", request, err, w.Body)
	}
	if (body.Error == "") != (status == http.StatusOK) {
		d.t.Errorf("%s: got status %d with the error %q", request, status, body.Error)
	}
	synctest.Wait()
	return body
}

// delivered checks, after some time, how many messages the hosts have.
func (d *desk) delivered(after time.Duration, next, other int) {
	d.t.Helper()
	time.Sleep(after)
	synctest.Wait()
	if n, o := len(d.next.Messages()), len(d.other.Messages()); n != next || o != other {
		d.t.Errorf("after %v: next.test has %d messages and other.test %d, want %d and %d", after, n, o, next, other)
	}
}

func TestList(t *testing.T) {
	eachDesk(t, func(d *desk) {
		next, other := d.defers()
		both := d.send("", "bob@next.test", "bob@other.test")
		tests := []struct {
			query string
			want  []queue.ID
			after queue.ID
		}{
			{"", []queue.ID{next, other, both, both}, ""},
			{"?limit=1", []queue.ID{next}, next},
			{"?limit=1&after=" + string(next), []queue.ID{other}, other},
			{"?limit=1&after=" + string(other), []queue.ID{both, both}, ""}, // a message isn't split
			{"?destination=other.test", []queue.ID{other, both}, ""},
			{"?domain=OTHER.test", []queue.ID{other, both}, ""},
			{"?recipient=bob@next.test", []queue.ID{next, both}, ""},
			{"?ref=order-17", nil, ""},
			{"?tenant=shop", nil, ""},
			{"?sender=eve@source.test", []queue.ID{other}, ""},
			{"?sender=%3C%3E", []queue.ID{both, both}, ""},
			{"?id=" + string(next), []queue.ID{next}, ""},
			{"?state=held", nil, ""},
			{"?state=waiting&newer=1h&limit=4", []queue.ID{next, other, both, both}, ""},
			{"?older=1h", nil, ""},
			{"?older=2100-01-01T00:00:00Z&limit=3", []queue.ID{next, other, both, both}, ""},
		}
		for _, test := range tests {
			got := d.call("GET /queue"+test.query, 200)
			var ids []queue.ID
			for _, task := range got.Tasks {
				ids = append(ids, task.ID)
			}
			if len(ids) != len(test.want) || got.After != test.after {
				d.t.Errorf("%q: got %q after %q, want %q after %q", test.query, ids, got.After, test.want, test.after)
				continue
			}
			for i, id := range ids {
				if id != test.want[i] {
					d.t.Errorf("%q: got %q, want %q", test.query, ids, test.want)
				}
			}
		}
		got := d.call("GET /queue?limit=1", 200).Tasks[0]
		rcpt := recipientView{Address: "bob@next.test", Last: "451 4.2.0 later", Host: "mx.next.test"}
		if got.Sender != "ann@source.test" || got.Destination != "next.test" || got.State != "waiting" ||
			got.Attempts != 1 || got.Recipients[0] != rcpt {
			d.t.Errorf("got %+v, want a waiting task with %+v", got, rcpt)
		}
	})
}

func TestExplain(t *testing.T) {
	eachDesk(t, func(d *desk) {
		next, _ := d.defers()
		got := d.call("GET /queue/"+string(next), 200).Tasks
		if len(got) != 1 || got[0].Why != "It was deferred: 451 4.2.0 later" ||
			got[0].Until.Before(time.Now().Add(4*time.Minute)) {
			d.t.Errorf("got %+v, want one that was deferred", got)
		}
		d.call("POST /hold?id="+string(next), 200)
		got = d.call("GET /queue/"+string(next), 200).Tasks
		if len(got) != 1 || got[0].State != "held" || got[0].Why != "It is held until it is released." {
			d.t.Errorf("got %+v, want one that is held", got)
		}
		d.call("GET /queue/nothing", 404)
	})
}

func TestHoldAndRelease(t *testing.T) {
	eachDesk(t, func(d *desk) {
		d.defers()
		if got := d.call("POST /hold?destination=next.test", 200); got.Messages != 1 {
			d.t.Errorf("hold: got %d messages, want 1", got.Messages)
		}
		d.delivered(time.Hour, 0, 1)
		if got := d.call("GET /status", 200); got.Queue.Messages != 1 || got.Queue.Held != 1 {
			d.t.Errorf("got %+v in the queue, want one held message", got.Queue)
		}
		if got := d.call("POST /release?state=held", 200); got.Messages != 1 {
			d.t.Errorf("release: got %d messages, want 1", got.Messages)
		}
		d.delivered(time.Second, 1, 1)
	})
}

func TestPurge(t *testing.T) {
	eachDesk(t, func(d *desk) {
		d.defers()
		if got := d.call("POST /purge?sender=ann@source.test", 200); got.Messages != 1 {
			d.t.Errorf("got %d messages, want 1", got.Messages)
		}
		d.delivered(time.Hour, 0, 1)
		if got := d.reported.Messages(); len(got) > 0 {
			d.t.Errorf("got a report on a purged message:\n%s", got[0].Data)
		}
		if got := d.call("POST /purge?all=true", 200); got.Messages != 0 {
			d.t.Errorf("got %d messages of an empty queue, want 0", got.Messages)
		}
	})
}

func TestCancel(t *testing.T) {
	eachDesk(t, func(d *desk) {
		d.defers()
		if got := d.call("POST /cancel?destination=next.test&reason=not+today", 200); got.Messages != 1 {
			d.t.Errorf("got %d messages, want 1", got.Messages)
		}
		report := d.reported.Wait(1)[0]
		for _, want := range []string{
			"\r\nFinal-Recipient: rfc822; bob@next.test\r\n", "\r\nAction: failed\r\n", "\r\nStatus: 5.3.0\r\n",
			"not today",
		} {
			if !bytes.Contains(report.Data, []byte(want)) {
				d.t.Errorf("no %q in the report:\n%s", want, report.Data)
			}
		}
		if got := report.Envelope.Recipients[0].Address; got != "ann@source.test" {
			d.t.Errorf("the report goes to %s, want ann@source.test", got)
		}
		d.delivered(time.Hour, 0, 1)
	})
}

func TestFlush(t *testing.T) {
	eachDesk(t, func(d *desk) {
		d.next.Down()
		d.other.Down()
		d.send("ann@source.test", "bob@next.test")
		d.send("ann@source.test", "bob@other.test")
		d.next.Up()
		d.other.Up()
		if _, ok := d.relay.Queue.(queue.Flusher); !ok {
			d.call("POST /flush/next.test", http.StatusNotImplemented)
			return
		}
		if got := d.call("POST /flush/next.test", 200); got.Flushed != 1 {
			d.t.Errorf("got %d tasks flushed, want 1", got.Flushed)
		}
		d.delivered(time.Second, 1, 0)
		d.call("POST /flush/", 200)
		d.delivered(time.Second, 1, 1)
	})
}

func TestSuspend(t *testing.T) {
	eachDesk(t, func(d *desk) {
		got := d.call("POST /suspend/next.test?until=3h", 200).Suspended["next.test"]
		if !got.Equal(time.Now().Add(3 * time.Hour)) {
			d.t.Errorf("it is suspended until %v, want three hours from now", got)
		}
		id := d.send("ann@source.test", "bob@next.test")
		d.send("ann@source.test", "bob@other.test")
		d.delivered(2*time.Hour, 0, 1)
		tasks := d.call("GET /queue/"+string(id), 200).Tasks
		if len(tasks) != 1 || !strings.Contains(tasks[0].Why, "suspended") {
			d.t.Errorf("got %+v, want one of a suspended destination", tasks)
		}
		d.delivered(61*time.Minute, 1, 1)

		// A suspension can be ended. This name is a site: mx.other.test is the only host of other.test.
		d.call("POST /suspend/mx.other.test?until="+time.Now().Add(time.Hour).UTC().Format(time.RFC3339), 200)
		d.send("ann@source.test", "bob@other.test")
		d.delivered(time.Minute, 1, 1)
		if got := d.call("DELETE /suspend/mx.other.test", 200).Suspended; len(got) > 0 {
			d.t.Errorf("got %v suspended, want nothing", got)
		}
		d.delivered(time.Second, 1, 2)
	})
}

func TestRedirect(t *testing.T) {
	eachDesk(t, func(d *desk) {
		spare := d.inet.Host("spare.test")
		d.next.Down()
		d.send("ann@source.test", "bob@next.test")
		d.call("POST /redirect/next.test?to=spare.test:25", 200)
		d.send("ann@source.test", "jim@next.test")
		if _, ok := d.relay.Queue.(queue.Flusher); !ok {
			time.Sleep(6 * time.Minute) // the next try
		}
		time.Sleep(time.Second)
		if n := len(spare.Messages()); n != 2 {
			d.t.Errorf("the other host has %d messages, want 2: one was queued already", n)
		}
		d.next.Up()
		d.call("DELETE /redirect/next.test", 200)
		d.send("ann@source.test", "zoe@next.test")
		d.delivered(time.Second, 1, 0)
		if n := len(spare.Messages()); n != 2 {
			d.t.Errorf("the other host has %d messages, want 2", n)
		}
	})
}

func TestStatus(t *testing.T) {
	eachDesk(t, func(d *desk) {
		d.next.Down()
		for range 5 { // as many failures take a site down
			d.send("ann@source.test", "bob@next.test")
		}
		got := d.call("GET /status", 200)
		if len(got.Sites) != 1 || got.Sites[0].Name != "mx.next.test" || got.Sites[0].Down.IsZero() ||
			!strings.Contains(got.Sites[0].Last, "refused") {
			d.t.Errorf("got %+v, want mx.next.test down", got.Sites)
		}
	})
}

func TestBadRequests(t *testing.T) {
	eachDesk(t, func(d *desk) {
		d.defers()
		for request, status := range map[string]int{
			"POST /purge":                      400, // without a filter it would be all mail
			"POST /purge?destinaton=next.test": 400,
			"POST /purge?destination=":         400,
			"POST /purge?id=1&id=2":            400,
			"POST /purge?all=true&state=held":  400,
			"POST /purge?all=yes":              400,
			"POST /purge?%zz":                  400,
			"POST /purge?after=1":              400,
			"POST /cancel?all=true&reason=" + strings.Repeat("no", 101): 400,
			"POST /hold?state=asleep":                                   400,
			"POST /hold?older=yesterday":                                400,
			"POST /suspend/next.test":                                   400,
			"POST /suspend/next.test?until=-2h":                         400,
			"POST /suspend/?until=2h":                                   400,
			"POST /redirect/next.test":                                  400,
			"POST /redirect/next.test?to=nowhere":                       400,
			"POST /redirect/a..b?to=spare.test:25":                      400,
			"GET /queue?limit=0":                                        400,
			"GET /queue?limit=9999999":                                  400,
			"GET /queue?after=nothing!":                                 404,
			"GET /purge?all=true":                                       405,
			"DELETE /queue":                                             405,
			"GET /":                                                     404,
		} {
			d.call(request, status)
		}
		if got := d.call("GET /status", 200).Queue.Messages; got != 2 {
			d.t.Errorf("got %d messages afterwards, want 2", got)
		}
	})
}

func TestAuthorise(t *testing.T) {
	tests := []struct {
		name      string
		authorise func(*http.Request) error
		header    string
		status    int
	}{
		{"the token", bearer("secret"), "Bearer secret", 404},
		{"another one", bearer("secret"), "Bearer Secret", 401},
		{"part of it", bearer("secret"), "Bearer secre", 401},
		{"no header", bearer("secret"), "", 401},
		{"another scheme", bearer("secret"), "Basic secret", 401},
		{"one's own func", func(*http.Request) error { return nil }, "", 404},
		{"one that says no", func(*http.Request) error { return errors.New("no") }, "Bearer secret", 401},
		{"none", nil, "Bearer secret", 401},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/nothing", nil)
			r.Header.Set("Authorization", test.header)
			w := httptest.NewRecorder()
			(&operator{authorise: test.authorise}).ServeHTTP(w, r)
			if w.Code != test.status {
				t.Errorf("got status %d, want %d", w.Code, test.status)
			}
		})
	}
}
