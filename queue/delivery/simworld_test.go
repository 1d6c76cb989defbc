package delivery

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// simWorld is the hosts, and what they make of mail.
type simWorld struct {
	r     *rand.Rand
	calm  time.Time
	hosts []simHost
	host  []int                // of each domain
	first map[string]time.Time // when a host that greylists first saw something
}

// simHost is what a site's hosts do now.
type simHost struct {
	mode   simMode
	until  time.Time
	better time.Time // since when it works; zero: it doesn't
}

type simMode uint8

const (
	simUp       simMode = iota
	simDown             // nobody answers
	simNoDNS            // nobody knows where it is
	simThrottle         // not so much
	simGreylist         // come again
	simBlock            // not from you
	simFull             // no room
	simReject           // not to anyone
	simCut              // the connection ends behind the final dot
	simMixed            // to each recipient something else
	simFlaky            // now this, now that
	simModes
)

const simDomains = 6

func simDomain(n int) string { return "d" + strconv.Itoa(n) + ".example" }

func newSimWorld(r *rand.Rand, now, calm time.Time) *simWorld {
	w := &simWorld{r: r, calm: calm, hosts: make([]simHost, 4), first: map[string]time.Time{}}
	for i := range w.hosts {
		w.hosts[i].until = now
	}
	for range simDomains {
		w.host = append(w.host, r.IntN(len(w.hosts)))
	}
	w.advance(now)
	return w
}

// advance has the hosts change as they do.
func (w *simWorld) advance(now time.Time) {
	for i := range w.hosts {
		h := &w.hosts[i]
		if !now.Before(w.calm) {
			h.set(simUp, w.calm)
			h.until = now.Add(ever)
		}
		for !h.until.After(now) {
			begun := h.until
			if h.mode != simUp || w.r.IntN(3) == 0 {
				h.set(simMode(w.r.IntN(int(simModes))), begun)
				h.until = begun.Add(simBetween(w.r, time.Minute, 30*time.Hour))
				continue
			}
			h.set(simUp, begun)
			h.until = begun.Add(simBetween(w.r, 10*time.Minute, 24*time.Hour))
		}
	}
}

func (h *simHost) set(mode simMode, now time.Time) {
	if mode != simUp {
		h.better = time.Time{}
	} else if h.better.IsZero() {
		h.better = now
	}
	h.mode = mode
}

// of gives the host of a domain.
func (w *simWorld) of(domain string) *simHost { return &w.hosts[w.number(domain)] }

func (w *simWorld) number(domain string) int { return w.host[domain[1]-'0'] }

// lookup says what site a domain has.
func (w *simWorld) lookup(domain string) (string, error) {
	if w.of(domain).mode == simNoDNS {
		return "", errors.New("no answer from any name server")
	}
	return "s" + strconv.Itoa(w.number(domain)), nil
}

// takes says how long a send takes.
func (w *simWorld) takes() time.Duration {
	if w.r.IntN(12) == 0 {
		return simBetween(w.r, time.Minute, 15*time.Minute)
	}
	return simBetween(w.r, 100*time.Millisecond, time.Minute)
}

// simAnswer is what a recipient came to in an attempt.
type simAnswer struct {
	smtp.Result
	has bool        // the host has the message
	why smtp.Reason // it is open
}

// answer says what the host makes of a message that was sent to it.
func (w *simWorld) answer(t *queue.Task, now time.Time) []simAnswer {
	w.advance(now)
	mode := w.of(t.Destination).mode
	if mode == simFlaky {
		mode = simChance(w.r, simUp, simUp, simDown, simThrottle, simCut)
	}
	taken := w.r.IntN(2) == 0 // should nobody hear
	answers := make([]simAnswer, len(t.Envelope.Recipients))
	for i, rcpt := range t.Envelope.Recipients {
		own := mode
		if mode == simMixed {
			own = simChance(w.r, simUp, simUp, simFull, simReject, simGreylist)
		}
		answers[i] = w.one(own, t.Ref+" "+rcpt.Address, now)
		if own == simCut {
			answers[i].has = taken
		}
		answers[i].Recipient = rcpt.Address
	}
	return answers
}

// one says what the host makes of a recipient.
func (w *simWorld) one(mode simMode, key string, now time.Time) simAnswer {
	switch mode {
	case simDown:
		return simOpenAnswer(smtp.StageConnect, smtp.Network, 451, "connection refused")
	case simNoDNS:
		return simOpenAnswer(smtp.StageRoute, smtp.Network, 451, "no answer from any name server")
	case simThrottle:
		return simOpenAnswer(smtp.StageMail, smtp.RateLimited, 421, "slow down")
	case simBlock:
		a := simOpenAnswer(smtp.StageMail, smtp.Blocklisted, 450, "your address is on a blocklist")
		a.Reply.Enhanced = smtp.EnhancedCode{4, 7, 1}
		return a
	case simFull:
		return simOpenAnswer(smtp.StageRcpt, smtp.Other, 452, "mailbox full")
	}
	if _, address, _ := strings.Cut(key, " "); mode == simReject || strings.HasPrefix(address, "nobody") {
		return simAnswer{Result: smtp.Result{Outcome: smtp.Rejected, Stage: smtp.StageRcpt, Reply: smtp.NewReply(550, "", "no such user")}}
	}
	if mode == simGreylist {
		if w.first[key].IsZero() {
			w.first[key] = now
		}
		if now.Sub(w.first[key]) < 4*time.Minute {
			return simOpenAnswer(smtp.StageRcpt, smtp.Greylisted, 451, "greylisted")
		}
	}
	if mode == simCut {
		a := simOpenAnswer(smtp.StageFinal, smtp.Other, 451, "the connection ended behind the final dot")
		a.Outcome = smtp.Unknown
		return a
	}
	reply := smtp.NewReply(250, "", "taken")
	return simAnswer{Result: smtp.Result{Outcome: smtp.Delivered, Stage: smtp.StageFinal, Reply: reply}, has: true}
}

func simOpenAnswer(stage smtp.Stage, why smtp.Reason, code int, text string) simAnswer {
	local := stage < smtp.StageMail || stage == smtp.StageFinal
	res := smtp.Result{Stage: stage, Reply: &smtp.Reply{Code: code, Text: text}, Local: local, Reason: why}
	return simAnswer{Result: res, why: why}
}

// simCutOff is what a send comes to that is cut off before it is answered.
func simCutOff(address string) simAnswer {
	a := simOpenAnswer(smtp.StageRoute, smtp.Other, 451, "cut off")
	a.Recipient = address
	return a
}
