package replies

import (
	"fmt"
	"math/bits"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/postrider/postrider/smtp"
)

// Meaning is what a reply means.
type Meaning struct {
	// Reason is the cause of the refusal. It is smtp.NoReason for a reply that isn't 4xx or 5xx.
	Reason smtp.Reason

	// By is the blocklist or the reputation service that the text names, "Spamhaus" or "bl.example.org" for example. If
	// empty, the text names none. Only a Meaning with the Reason smtp.Blocklisted has one.
	By string

	// Scope is the party that the host counts, if the Reason is smtp.RateLimited and the text states it. With the
	// Reason smtp.Blocklisted, SPFDomain means that the blocklist has senders' domains. It is Unknown otherwise.
	Scope Scope

	// Provider is the company that runs the host, by the host's name: one of [Providers], such as "google". If empty,
	// it isn't known.
	Provider string

	// Rule is the name of the rule that decided.
	Rule string

	// ByCode is true if that rule looks at no words: the Reason follows from the code, the enhanced code and the stage.
	// Words that stand elsewhere, around the reply in a bounce for example, may say more.
	ByCode bool
}

// Scope is the party whose messages, sessions or recipients a host counts, in order to bound their rate.
type Scope uint8

const (
	Unknown    Scope = iota
	Address          // our IP address
	Network          // the network of our IP address
	DKIMDomain       // the domain of the DKIM signature
	SPFDomain        // the domain of the reverse-path
	Connection       // this connection, or the number of connections
	Recipient        // the recipient, from all senders
	Message          // this message: it has too many recipients
)

var scopes = [...]string{
	Unknown: "unknown", Address: "address", Network: "network", DKIMDomain: "dkim-domain", SPFDomain: "spf-domain",
	Connection: "connection", Recipient: "recipient", Message: "message",
}

// String returns the name in lower case, "dkim-domain" for example.
func (s Scope) String() string {
	if int(s) < len(scopes) {
		return scopes[s]
	}
	return scopes[Unknown]
}

// Classifier classifies replies. The zero value and a nil Classifier have the default rules alone. It may be used by
// several goroutines at a time. Rules must not change after its first use. A used Classifier must not be copied.
type Classifier struct {
	// Rules are tried in order, before the default ones. A rule with an error is never tried, without a word: call
	// Check. Relay.Check, Runner.Check and Submission.Check call it.
	Rules []Rule

	once  sync.Once
	table *table
}

// Check returns an error if a rule can't be used. It names the rule and what is wrong.
func (c *Classifier) Check() error {
	if c == nil {
		return nil
	}
	t, err := newTable()
	if err == nil {
		err = t.add(c.Rules)
	}
	if err != nil {
		return fmt.Errorf("replies: %w", err)
	}
	return nil
}

// Rule is a rule of a [Classifier]. All of its conditions have to be met. An empty one is always met, so a Rule without
// conditions decides for every reply.
type Rule struct {
	Name string // becomes Meaning.Rule

	// The conditions. Each is met by any of its values.
	Codes     []int // 421; 4 stands for 4xx, 5 for 5xx
	Enhanced  []Enhanced
	Stages    []smtp.Stage
	Providers []string // see Meaning.Provider
	Hosts     []string // the name of a host, or a domain above it: "outlook.com"
	Says      []string // patterns: see the package's documentation

	// Regexps are matched with the reply on one line, of which 4096 octets are read: "421 4.7.0 [TS01] Messages …". For
	// expressions that another program has; Says is shorter, and forgives what hosts change in their texts.
	Regexps []*regexp.Regexp

	// The Meaning of a reply that meets them. Reason must be set.
	Reason smtp.Reason
	Scope  Scope  // if zero, the text decides
	By     string // if empty, the text decides

	unless string // what parseRules puts behind the patterns that follow
}

// Enhanced is an enhanced code without its class: {7, 26} for 4.7.26 and 5.7.26. The class is that of the code,
// whatever the enhanced code has: "421 5.7.32" is temporary.
type Enhanced struct {
	Subject, Detail int
}

// AnyDetail stands for all details of a Subject.
const AnyDetail = -1

// Classify returns the meaning of a reply by the default rules.
func Classify(reply *smtp.Reply, stage smtp.Stage, host string) Meaning {
	return (*Classifier)(nil).Classify(reply, stage, host)
}

// Classify returns the meaning of a reply that a host gave at a stage. If host is empty, the host isn't known. A nil
// reply, and one that isn't 4xx or 5xx, has the zero Meaning.
func (c *Classifier) Classify(reply *smtp.Reply, stage smtp.Stage, host string) Meaning {
	if reply == nil || reply.Code < 400 || reply.Code > 599 {
		return Meaning{}
	}
	t := defaults()
	provider := t.provider(host)
	if c != nil && len(c.Rules) > 0 {
		c.once.Do(func() {
			c.table, _ = newTable()
			for _, r := range c.Rules {
				if (&Classifier{Rules: []Rule{r}}).Check() == nil {
					_ = c.table.add([]Rule{r})
				}
			}
		})
		if m, ok := c.table.classify(reply, stage, host, provider); ok {
			return m
		}
	}
	m, _ := t.classify(reply, stage, host, provider)
	return m
}

// input is a reply as the rules of a table see it.
type input struct {
	table    *table
	reply    *smtp.Reply
	stage    smtp.Stage
	host     string
	provider string
	enhanced [2]int // subject and detail; zero if there are none
	line     string // all of it, for Regexps; empty until it is needed

	// The words of the text. Word i has the places 2i and 2i+1, for its number and for that of its kind. first has the
	// first place of each number, next the place after each; both count from 1.
	n        int
	from, to [maxWords]uint16
	first    [maxVocabulary]uint16
	next     [2 * maxWords]uint16

	steps int // the work done, for tests
}

// add adds a word with a number and a kind.
func (in *input) add(id uint16, k kind, from, to int) {
	if in.n == maxWords {
		return
	}
	in.from[in.n], in.to[in.n] = uint16(from), uint16(to)
	in.place(id, 2*in.n)
	in.place(in.table.marks[k], 2*in.n+1)
	in.n++
}

func (in *input) place(id uint16, at int) {
	if id != 0 {
		in.next[at], in.first[id] = in.first[id], uint16(at+1)
	}
}

// classify returns the Meaning by the first rule of t that matches.
func (t *table) classify(reply *smtp.Reply, stage smtp.Stage, host, provider string) (Meaning, bool) {
	in := input{table: t, reply: reply, stage: stage, host: host, provider: provider}
	in.enhanced = [2]int{reply.Enhanced[1], reply.Enhanced[2]}
	in.scan(reply.Text)
	return in.classify()
}

func (in *input) classify() (Meaning, bool) {
	t := in.table
	var candidates [maxPatterns / 64]uint64
	for _, i := range t.always {
		candidates[i/64] |= 1 << (i % 64)
	}
	for id, patterns := range t.byWord {
		if in.first[id] != 0 {
			for _, i := range patterns {
				candidates[i/64] |= 1 << (i % 64)
			}
		}
	}
	for k, set := range candidates {
		for ; set != 0; set &= set - 1 {
			p := &t.patterns[k*64+bits.TrailingZeros64(set)]
			if r := &t.rules[p.rule]; in.meets(r) && in.matches(p) {
				return in.meaning(r), true
			}
		}
	}
	return Meaning{Provider: in.provider}, false
}

// meets reports whether the reply meets the conditions of r, except for Says.
func (in *input) meets(r *Rule) bool {
	code := in.reply.Code
	return (len(r.Codes) == 0 || slices.Contains(r.Codes, code) || slices.Contains(r.Codes, code/100)) &&
		(len(r.Enhanced) == 0 || slices.Contains(r.Enhanced, Enhanced{in.enhanced[0], in.enhanced[1]}) ||
			slices.Contains(r.Enhanced, Enhanced{in.enhanced[0], AnyDetail})) &&
		(len(r.Stages) == 0 || slices.Contains(r.Stages, in.stage)) &&
		(len(r.Providers) == 0 || slices.Contains(r.Providers, in.provider)) &&
		(len(r.Hosts) == 0 ||
			slices.ContainsFunc(r.Hosts, func(domain string) bool { return isBelow(in.host, domain) })) &&
		(len(r.Regexps) == 0 || slices.ContainsFunc(r.Regexps, in.matchesRegexp))
}

func (in *input) matchesRegexp(re *regexp.Regexp) bool {
	if in.line == "" {
		in.line = in.reply.Error()
		in.line = in.line[:min(len(in.line), maxText)]
	}
	return re.MatchString(in.line)
}

// isBelow reports whether host is domain, or in it.
func isBelow(host, domain string) bool {
	host, domain = strings.TrimSuffix(host, "."), strings.Trim(domain, ".")
	rest := len(host) - len(domain)
	return rest >= 0 && strings.EqualFold(host[rest:], domain) && (rest == 0 || host[rest-1] == '.')
}

// meaning returns what r says of the reply.
func (in *input) meaning(r *Rule) Meaning {
	m := Meaning{
		Reason: r.Reason, Scope: r.Scope, By: r.By,
		Provider: in.provider, Rule: r.Name, ByCode: len(r.Says)+len(r.Regexps) == 0,
	}
	switch {
	case m.Reason == smtp.RateLimited && m.Scope == Unknown:
		for i := range in.table.scopes {
			if p := &in.table.scopes[i]; in.matches(p) {
				m.Scope = Scope(p.rule)
				break
			}
		}
	case m.Reason == smtp.Blocklisted && m.By == "":
		m.By = in.by()
	}
	return m
}

// by returns the name of the list in the text: one that is known, or the host that stands behind a word like "using".
func (in *input) by() string {
	t := in.table
	name, at := "", maxWords
	for id, known := range t.lists {
		for s := in.first[id]; s != 0; s = in.next[s-1] {
			if i := int(s-1) / 2; i < at {
				name, at = known, i
			}
		}
	}
	if name != "" {
		return name
	}
	using, hosts := in.positions(t.using), in.positions(t.marks[isHost:isHost+1])
	using.next()
	for k := range hosts {
		if both := hosts[k] & using[k]; both != 0 {
			i := k*64 + bits.TrailingZeros64(both)
			return in.reply.Text[in.from[i]:in.to[i]]
		}
	}
	return ""
}

// provider returns who runs a host, by the longest end of its name that is known.
func (t *table) provider(host string) string {
	var lower [256]byte
	if host = strings.TrimSuffix(host, "."); len(host) > len(lower) {
		return ""
	}
	for i := range len(host) {
		c := host[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	for name := lower[:len(host)]; len(name) > 0; {
		if p, ok := t.providers[string(name)]; ok {
			return p
		}
		i := slices.Index(name, '.')
		if i < 0 {
			return ""
		}
		name = name[i+1:]
	}
	return ""
}
