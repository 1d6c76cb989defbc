// Package quota counts messages as large receivers count them: how many of a party came in any period of some length.
// The hosts of smtptest and the inbox of package server have such quotas.
package quota

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/smtp"
)

// Party is what messages are counted by.
type Party uint8

// The parties.
const (
	Address    Party = iota // the IP address of the client
	DKIMDomain              // the d= of the first DKIM-Signature, which isn't verified
	SPFDomain               // the domain of the reverse-path, or of HELO if that is null (RFC 7208 §2.4)
	Parties                 // their number
)

// Refusal returns the reply to a message beyond a quota, as large receivers word it.
func (p Party) Refusal() *smtp.Reply {
	what := [Parties]string{
		"of mail from your IP address", "of mail signed by your DKIM domain", "of mail from your SPF domain",
	}
	return smtp.NewReply(421, "4.7.28", "unusual rate "+what[p]+", try again later")
}

// Names has the name of each party of a message. A name that is "" isn't counted.
type Names [Parties]string

// NamesOf returns the parties of a message: by the address of the client, its name in HELO, the reverse-path, and the
// content.
func NamesOf(client, hello, from string, data []byte) Names {
	_, domain := smtp.SplitAddress(from)
	if domain == "" {
		domain = hello
	}
	return Names{Address: client, DKIMDomain: signer(data), SPFDomain: strings.ToLower(domain)}
}

// signer returns the d= of the first DKIM-Signature of a message (RFC 6376 §3.5), in lower case.
func signer(data []byte) string {
	head, _, _ := bytes.Cut(data, []byte("\r\n\r\n"))
	text := strings.NewReplacer("\r\n ", " ", "\r\n\t", " ").Replace(string(head))
	for line := range strings.SplitSeq(text, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		if !strings.EqualFold(strings.TrimSpace(name), "DKIM-Signature") {
			continue
		}
		for tag := range strings.SplitSeq(value, ";") {
			if tag, domain, _ := strings.Cut(tag, "="); strings.TrimSpace(tag) == "d" {
				return strings.ToLower(strings.TrimSpace(domain))
			}
		}
	}
	return ""
}

// Limit lets N pass in any period of the length Per. If Per is zero, there is no limit.
type Limit struct {
	N   int
	Per time.Duration
}

// Window has the times that a limit let pass, N of them at most. The zero Window has none.
type Window struct{ past []time.Time }

// Full reports whether N passed within the period before now.
func (w *Window) Full(l Limit, now time.Time) bool {
	w.past = slices.DeleteFunc(w.past, func(t time.Time) bool { return now.Sub(t) >= l.Per })
	return len(w.past) >= l.N
}

// Add counts one.
func (w *Window) Add(now time.Time) { w.past = append(w.past, now) }

// maxWindows bounds the names that are counted. Beyond it, those without a message in their period are forgotten, and
// if there are none, all.
const maxWindows = 10_000

// Counter has a Limit for each party, and counts each name by itself. The zero Counter has no limits. It isn't safe for
// concurrent use.
type Counter struct {
	limits  [Parties]Limit
	windows map[key]*Window
}

type key struct {
	of   Party
	name string
}

// Set sets the limit of a party, and forgets what was counted for it.
func (c *Counter) Set(of Party, l Limit) {
	c.limits[of] = l
	for k := range c.windows {
		if k.of == of {
			delete(c.windows, k)
		}
	}
}

// Take counts a message. If a limit is reached, it returns the first party that has reached it, and counts nothing.
func (c *Counter) Take(names Names, now time.Time) (over Party, ok bool) {
	var used []*Window
	for of, l := range c.limits {
		of := Party(of)
		if l.Per == 0 || names[of] == "" {
			continue
		}
		w := c.window(key{of, names[of]}, now)
		if w.Full(l, now) {
			return of, false
		}
		used = append(used, w)
	}
	for _, w := range used {
		w.Add(now)
	}
	return 0, true
}

func (c *Counter) window(k key, now time.Time) *Window {
	w := c.windows[k]
	if w != nil {
		return w
	}
	if len(c.windows) >= maxWindows {
		for k, w := range c.windows {
			if w.Full(c.limits[k.of], now); len(w.past) == 0 {
				delete(c.windows, k)
			}
		}
	}
	if c.windows == nil || len(c.windows) >= maxWindows {
		c.windows = make(map[key]*Window)
	}
	w = new(Window)
	c.windows[k] = w
	return w
}
