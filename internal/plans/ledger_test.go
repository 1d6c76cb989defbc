package plans

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// ledger knows what was accepted, hears what the relay tells of it, and sees what hosts got. From that it judges the run.
type ledger struct {
	plan *plan

	mu         sync.Mutex
	begin      time.Time
	fates      map[string]*fate // by the address of the recipient
	senders    map[string]*fate // by the reverse-path: what became of reports
	tries      map[string]*try  // by message and destination
	trace      []string
	found      []finding
	stopping   bool
	aways      []away // when the relay didn't run
	cancelling bool   // what is cancelled now is to be reported
	attempts   int
}

// fate is what is known of a recipient.
type fate struct {
	mail     *mail
	rcpt     smtp.Recipient
	accepted time.Time // zero: it wasn't
	settled  time.Time // when it was told as over

	delivered, unknown, rejected, expired, cancelled int // as was told
	noDSN                                            int // of the delivered, those at a host without DSN
	owed                                             int // of the cancelled, those that are to be reported

	copies  int
	first   time.Time       // when the first came
	reports map[string]int  // that name it, by their action
	purged  map[string]bool // by their action, those that a Purge took out before they were made
}

// away is a time from when the relay was told to stop until it started again; a zero end is never.
type away struct{ begin, end time.Time }

// finding is something that mustn't be.
type finding struct{ clause, who, what string }

func (f finding) String() string { return fmt.Sprintf("%s: %s: %s", f.clause, f.who, f.what) }

func newLedger(p *plan) *ledger {
	l := &ledger{plan: p, begin: time.Now(), fates: make(map[string]*fate), senders: make(map[string]*fate), tries: make(map[string]*try)}
	for _, m := range p.mails {
		for _, rcpt := range m.env.Recipients {
			l.fates[rcpt.Address] = &fate{mail: m, rcpt: rcpt, reports: make(map[string]int), purged: make(map[string]bool)}
		}
		if m.env.From != "" {
			l.senders[m.env.From] = &fate{mail: m}
		}
	}
	return l
}

// note writes a line of the trace.
func (l *ledger) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noteLocked(format, args...)
}

func (l *ledger) noteLocked(format string, args ...any) {
	l.trace = append(l.trace, fmt.Sprintf("%v ", time.Since(l.begin).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

func (l *ledger) find(clause, who, format string, args ...any) {
	l.found = append(l.found, finding{clause, who, fmt.Sprintf(format, args...)})
}

// history gives the steps, and what happened to those whom the findings are about, some of both.
func (l *ledger) history(found []finding) string {
	const most = 300
	var of []string
	for _, line := range l.trace {
		_, what, _ := strings.Cut(line, " ")
		about := func(f finding) bool { return f.who != "" && strings.Contains(line, f.who) }
		if strings.HasPrefix(what, "- ") || slices.ContainsFunc(found[:min(len(found), 5)], about) {
			of = append(of, line)
		}
	}
	if len(of) > most {
		of = slices.Concat(of[:most/2], []string{"..."}, of[len(of)-most/2:])
	}
	return "history:\n" + lines(of)
}

// accepted notes that the relay has taken a mail for these recipients.
func (l *ledger) accepted(env *smtp.Envelope, answered bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, rcpt := range env.Recipients {
		f := l.fates[rcpt.Address]
		switch {
		case f.accepted.IsZero() && answered:
			l.find("untold", rcpt.Address, "taken, and no Accepted was told")
			fallthrough
		case f.accepted.IsZero():
			f.accepted = time.Now()
		case !answered:
			l.find("untold", rcpt.Address, "Accepted was told twice")
		}
		l.noteLocked("%s: accepted, answered: %v", rcpt.Address, answered)
	}
}

func (l *ledger) cancel(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancelling = on
}

// purges notes that a task is about to be taken out without a report. A report task takes with it what it would have said.
func (l *ledger) purges(t queue.Task) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range t.Delayed {
		address := t.Envelope.Recipients[i].Address
		action := "failed"
		switch {
		case t.Delayed[i]:
			action = "delayed"
		case t.Last[i].Outcome == smtp.Delivered:
			action = "relayed"
		}
		l.fates[address].purged[action] = true
		l.noteLocked("%s: a report is purged: %s", address, action)
	}
}

// stops notes that the relay is told to stop.
func (l *ledger) stops() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopping = true
	l.aways = append(l.aways, away{begin: time.Now()})
	for _, a := range l.tries {
		a.cut = a.cut || a.open
	}
}

// starts notes that it is about to start.
func (l *ledger) starts() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopping = false
	if n := len(l.aways); n > 0 {
		l.aways[n-1].end = time.Now()
	}
}

func (l *ledger) missed(n uint64) {
	if n > 0 {
		l.find("untold", "", "%d events were dropped", n)
	}
}

// left notes a task that is in the queue when all should be over.
func (l *ledger) left(t queue.Task) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, rcpt := range t.Envelope.Recipients {
		l.find("unsettled", rcpt.Address, "in the queue still: %v, due %v, attempts %d, last %v", t.State, t.Due.Sub(l.begin), t.Attempts, t.Last[i].Reply)
	}
}

// received notes a message that a host got: one of ours, or a report.
func (l *ledger) received(host string, m smtptest.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, rcpt := range m.Envelope.Recipients {
		if f := l.fates[rcpt.Address]; f != nil {
			l.got(f, host, m)
			continue
		}
		sender := l.senders[rcpt.Address]
		if sender == nil || m.Envelope.From != "" {
			l.find("report", rcpt.Address, "%s got a mail from <%s> that nobody sent", host, m.Envelope.From)
			continue
		}
		l.gotReport(sender.mail, m)
	}
}

func (l *ledger) got(f *fate, host string, m smtptest.Message) {
	f.copies++
	if f.first.IsZero() || m.Time.Before(f.first) {
		f.first = m.Time
	}
	l.trace = append(l.trace, fmt.Sprintf("%v %s: a copy at %s", m.Time.Sub(l.begin), f.rcpt.Address, host))
	if m.Envelope.From != f.mail.env.From || !bytes.HasSuffix(m.Data, []byte(f.mail.body)) {
		l.find("damaged", f.rcpt.Address, "%s got it from <%s>, %d octets that aren't those sent", host, m.Envelope.From, len(m.Data))
	}
}

// gotReport notes whom a report is about that came for the sender of about.
func (l *ledger) gotReport(about *mail, m smtptest.Message) {
	named := false
	for part := range strings.SplitSeq(string(m.Data), "\r\n\r\n") {
		_, address, ok := strings.Cut(part, "Final-Recipient: rfc822; ")
		if !ok {
			continue
		}
		address, _, _ = strings.Cut(address, "\r\n")
		_, action, _ := strings.Cut(part, "Action: ")
		action, _, _ = strings.Cut(action, "\r\n")
		f := l.fates[address]
		if f == nil || f.mail != about {
			l.find("report", address, "a report to <%s> is about it", about.env.From)
			continue
		}
		named = true
		f.reports[action]++
		l.trace = append(l.trace, fmt.Sprintf("%v %s: reported as %s", m.Time.Sub(l.begin), address, action))
	}
	if !named {
		l.find("report", about.env.From, "a report names nobody: %.1000q", m.Data)
	}
}
